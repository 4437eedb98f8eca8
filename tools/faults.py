"""Run every test of the fault table and write docs/reference/faults.md from what they have seen.

python tools/faults.py            all of them, from the beginning (some 15 minutes)
python tools/faults.py --resume   those that have not passed yet, after a run that was broken off
python tools/faults.py --page     no test: only the page, from the last run's records
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "build" / "faults.jsonl"
PAGE = ROOT / "docs" / "reference" / "faults.md"
ROWS: Sequence[str] = (
    "Camera unplugged while grabbing",
    "A driver call hangs for ever",
    "Silent stall: no pictures, no error",
    "Incomplete or failed buffer",
    "Picture of size zero or of a wrong shape",
    "Frozen, black, saturated or blurred picture",
    "Gap in the picture numbers, late picture, wrong order",
    "Exclusive access after a crash",
    "Phantom removal while idle",
    "Model file missing, truncated, bit-flipped; engine of another kind",
    "Model with wrong inputs, outputs or classes; NaN",
    "GPU error, lost context, hang",
    "Out of memory, on the GPU or the machine",
    "Inference slower than the deadline",
    "Thermal or over-current throttling",
    "jtop absent or stuck",
    "A power mode fails or asks for a reboot",
    "MQTT broker down, slow, half-open, reset, refusing",
    "MQTT broker back after a long outage",
    "OPC UA clients flood, read slowly, hang up",
    "PLC handshake lost or late",
    "Event loop blocked",
    "One task or thread dies",
    "Crash loop",
    "kill -9 at any point",
    "Power cut, un-synchronised data lost",
    "Disk full, EIO, read-only",
    "Wear of flash",
    "Wall clock steps",
    "No processor time",
    "Pauses of Python: GIL, garbage collection",
    "Station file edited to nonsense while running",
    "Leaks of memory, descriptors, threads",
    "SIGTERM during an inspection",
    "PLC restarts",
    "Station and PLC restart together",
    "Line trigger bounces, is missed or doubled on one camera of three",
    "Two cameras swapped",
    "PLC orders a recipe that is not there or does not load",
    "Clock not set at boot, then a jump by years",
)
"""By row of the fault table, from 1 on."""
_HEAD = """\
# Faults

Every row is injected into the real program, in a process of its own, with a PLC that keeps its own log; the page is
written from what PLC, panel and books have told (`make faults`). The PLC's words are those of
[tags.md](tags.md) and [reasons.md](reasons.md).

- **What the PLC saw**: verdicts that it read, with the reasons of those that are UNDEFINED (each of them is a reject),
  and what the station told of itself meanwhile. Nothing of it was ever an OK for a part that had not been judged.
- **Recovery**: from the fault, or from the trigger of the first part that it met, until the PLC read a verdict again.
  Upper bounds: {machine}. A start of the program is part of it wherever the process has to end.
- **Books**: after the run, accepted parts against results in the ledger, and results in the ledger against the PLC's
  log. A lost, doubled or contradicted verdict fails the test.

| # | Fault | Injected | What the PLC saw | Recovery | Books |
|---|---|---|---|---|---|
"""


def main() -> int:
    asked = argparse.ArgumentParser(description="The fault table, from its tests.")
    asked.add_argument("--resume", action="store_true", help="run only what has not passed yet")
    asked.add_argument("--page", action="store_true", help="run nothing, write the page from the last records")
    asked.add_argument("pytest", nargs="*", help="further arguments of pytest, after --")
    given = asked.parse_args()
    RECORDS.parent.mkdir(exist_ok=True)
    if not (given.resume or given.page):
        RECORDS.unlink(missing_ok=True)
    code = 0 if given.page else run(given.pytest)
    records = (
        [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()] if RECORDS.exists() else []
    )
    missing = without_record(records)
    if code or missing:
        names = "".join(f"\n  {row} {ROWS[row - 1]}" for row in missing)
        print(f"{PAGE} is not written: pytest ended with {code}, and no test has shown{names or ' nothing less'}")
        return 1
    PAGE.write_text(page(records, machine()), encoding="utf-8")
    print(f"{PAGE}: {len(ROWS)} rows from {len(records)} tests")
    return 0


def run(arguments: Sequence[str]) -> int:
    """The tests, one after the other: times on a machine that is busy with other tests would say nothing."""
    command = [sys.executable, "-m", "pytest", "-m", "not gpu", "-p", "no:xdist", "tests/system", *arguments]
    return subprocess.run(
        command, check=False, cwd=ROOT, env={**os.environ, "EDGE_INSPECTOR_FAULTS": str(RECORDS)}
    ).returncode


def without_record(records: Iterable[dict[str, Any]]) -> list[int]:
    """The rows that no test has shown."""
    shown = {record["row"] for record in records}
    return [row for row in range(1, len(ROWS) + 1) if row not in shown]


def page(records: Sequence[dict[str, Any]], on: str) -> str:
    """The whole page; `on` says on what machine."""
    lines = [_line(record) for record in sorted(records, key=lambda one: (one["row"], one["test"]))]
    return _HEAD.format(machine=on) + "".join(lines)


def machine() -> str:
    return (
        f"measured with Python {platform.python_version()} on {os.cpu_count()} cores of {platform.machine()}, without a"
        " GPU, beside all that the tests themselves need"
    )


def _line(record: dict[str, Any]) -> str:
    took = "" if record["recovery_s"] is None else f"{record['recovery_s']:.1f} s"
    cells = (record["row"], ROWS[record["row"] - 1], record["injected"], record["saw"], took, record["books"])
    return "| " + " | ".join(_cell(str(cell)) for cell in cells) + " |\n"


def _cell(text: str) -> str:
    """On one line, and nothing in it that Markdown or HTML would take for its own."""
    plain = " ".join(text.split())
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("*", "\\*"), ("`", "\\`")):
        plain = plain.replace(sign, instead)
    return plain


if __name__ == "__main__":
    sys.exit(main())
