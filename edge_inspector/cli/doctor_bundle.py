"""`edge-inspector doctor --bundle`: one file with all that somebody needs who helps from afar, and no secret."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import sqlite3
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edge_inspector import __version__
from edge_inspector.cli import doctor_page
from edge_inspector.cli.doctor_known import end_of, read_toml, secrets_in
from edge_inspector.cli.doctor_scrub import Scrub
from edge_inspector.cli.doctor_time import in_time
from edge_inspector.config import Draft, last_good
from edge_inspector.control.client import ControlClient
from edge_inspector.errors import EdgeInspectorError, StorageError
from edge_inspector.health.asking import ask
from edge_inspector.health.finding import Finding, text
from edge_inspector.health.jetson import board, jetson_release
from edge_inspector.store.opening import open_book
from edge_inspector.store.periods import Period, between
from edge_inspector.store.reading import utc_text
from edge_inspector.store.reconcile import reconcile
from edge_inspector.store.summary import summarise

LOG_LINES = 5000
"""Of the journal: about a day of a station on which nothing is wrong, minutes of one that talks."""
LOG_BYTES = 1_000_000
"""Of each log file, its end."""
SAID_CHARS = 10_000_000
LOG_FILES = 10
DAYS = 7
LEDGER_S = 60.0
"""A book of ten million parts is not added up for longer."""
ANSWER_S = 20.0
ENTRY_S = 90.0
"""Of each file in it: a folder on a server that has gone away never answers."""
_MACHINE = ("proc/meminfo", "proc/loadavg", "proc/uptime", "proc/self/mounts", "proc/swaps", "etc/os-release")
_PRIVATE = 0o600
_STEPS = 100  # of SQLite's machine between two looks at the clock: about a microsecond

Entry = tuple[str, Callable[[], object]]
"""Name in the bundle, and what makes it: text, or what JSON can have."""


@dataclass(frozen=True)
class Asked:
    """What the bundle is about: `unit` empty = none runs the file; `draft` None = the file could not be read."""

    root: Path
    file: Path | None
    draft: Draft | None
    unit: str
    found: Sequence[Finding]


def write_bundle(path: Path, asked: Asked, ledger_s: float = LEDGER_S, limit_s: float = ENTRY_S) -> None:
    """A new file that only its owner may read: with sudo, who called it. Its README names what could not be had.

    What takes longer than `limit_s` is left out. OSError: it cannot be made.
    """
    scrub, entries, left_out = _scrub(asked), list[tuple[str, str]](), list[str]()
    for name, made in _entries(asked, scrub, ledger_s):
        try:
            (content,) = in_time((one() for one in [made]), limit_s)
            entries.append((name, _content(content, scrub)))
        except (OSError, ValueError, EdgeInspectorError, sqlite3.Error) as exc:
            left_out.append(scrub.text(f"{name}: {exc}"))
    entries.insert(0, ("README.txt", _readme([name for name, _ in entries], left_out)))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    try:
        with suppress(KeyError, ValueError, OSError):
            os.fchown(descriptor, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
        with open(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made_zip:
            for name, content in entries:
                made_zip.writestr(_info(f"{path.stem}/{name}"), content.encode("utf-8", "replace"))
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def _entries(asked: Asked, scrub: Scrub, ledger_s: float) -> Iterator[Entry]:
    clean = [Finding(**scrub.document(asdict(one))) for one in asked.found]  # a line that is wrapped hides a secret
    yield "doctor.txt", lambda: "\n".join(doctor_page.page(clean, 0)) + "\n"
    yield "doctor.json", lambda: [asdict(one) for one in asked.found]
    yield "versions.json", lambda: _versions(asked.root)
    yield "machine.txt", lambda: "".join(f"== /{one}\n{text(asked.root, one) or '-'}\n\n" for one in _MACHINE)
    yield "kernel.txt", lambda: _said("journalctl", "--dmesg", "--lines", "1000", "--no-pager")
    if asked.file is not None:
        file = asked.file
        yield "station.json", lambda: read_toml(file)
    if asked.unit:
        yield "unit.txt", lambda: _unit(asked.unit)
        unit_lines = ("--unit", asked.unit, "--lines", str(LOG_LINES))
        yield "journal.txt", lambda: _said("journalctl", *unit_lines, "--no-pager", "--output", "short-iso-precise")
    for number, log in enumerate(_logs(), 1):
        plain = re.sub(r"[^\w.+-]", "_", log.name, flags=re.ASCII)
        name = plain if plain == log.name else f"{number}_{plain}"
        yield f"logs/{name}", lambda log=log: _end_of(log)  # type: ignore[misc]
    if asked.draft is None or asked.draft.station is None:
        return
    station = asked.draft.station.station
    client = ControlClient(station.runtime / "control.sock")
    yield "status.json", lambda: {"status": client.status(), "counters": client.counters()}
    yield "metrics.txt", client.metrics
    yield "ledger.json", lambda: _ledger(station.state_dir / "ledger.sqlite", ledger_s)
    kept = station.state_dir / last_good.NAME
    if os.path.exists(kept):
        yield "station.last-good.json", lambda: read_toml(kept)


def _scrub(asked: Asked) -> Scrub:
    """Of the file and of the one that the station last ran with: logs are older than a new password."""
    if asked.file is None:
        return Scrub()
    kept = last_good.find(asked.file)
    return Scrub(secrets_in(asked.file) | (frozenset() if kept is None else secrets_in(kept, beside=asked.file)))


def _versions(root: Path) -> dict[str, object]:
    installed = sorted({f"{one.name}=={one.version}" for one in importlib.metadata.distributions() if one.name})
    return {
        "edge_inspector": __version__,
        "program": sys.prefix,
        "python": sys.version,
        "machine": platform.machine(),
        "kernel": f"{platform.system()} {platform.release()} {platform.version()}",
        "board": board(root),
        "jetson_linux": jetson_release(root),
        "utc": utc_text(datetime.now(timezone.utc)),
        "packages": installed,
    }


def _ledger(path: Path, limit_s: float) -> dict[str, object]:
    """All of the book, and its last days: sums and the balance, no part by its id."""
    end = time.monotonic() + limit_s
    now = datetime.now(timezone.utc)
    told: dict[str, object] = {"file_bytes": path.stat().st_size}
    with closing(open_book(path)) as book:
        book.set_progress_handler(lambda: int(time.monotonic() > end), _STEPS)
        try:
            for period in (between(now - timedelta(days=DAYS), None), Period("the whole book")):
                balance = reconcile(book, [period], utc_text(now), 0)[0]
                told[period.label] = {"summary": asdict(summarise(book, period)), "balanced": balance.balanced}
        except StorageError as exc:
            if time.monotonic() <= end:
                raise
            raise StorageError(f"{path} could not be added up within {limit_s:g} s") from exc
    return told


def _logs() -> list[Path]:
    """The newest files of systemd's LogsDirectory."""
    folder = Path(os.environ.get("LOGS_DIRECTORY", "").partition(":")[0] or "/nowhere")
    files: list[tuple[float, Path]] = []
    with suppress(OSError):
        for one in folder.iterdir():
            with suppress(OSError):  # gone meanwhile
                files.append((one.lstat().st_mtime, one))
    return [one for _, one in sorted(files, reverse=True)[:LOG_FILES]]


def _end_of(log: Path) -> str:
    """Whole lines: half a secret is not known any more. ValueError: packed, a memory image, or one endless line."""
    end = end_of(log, LOG_BYTES, follow=False)
    if b"\0" in end:
        raise ValueError("not a text")
    if len(end) == LOG_BYTES:
        end = end.partition(b"\n")[2]
    return end.decode("utf-8", "replace")


def _unit(name: str) -> str:
    """What a unit sets for its program may hold whatever somebody wrote there."""
    told = _said("systemctl", "cat", name) + _said("systemctl", "show", name)
    return re.sub(r"(?m)^(\s*(?:Environment|SetCredential\w*)=)(?:.*\\\n)*.+", r"\1***", told)


def _said(*command: str) -> str:
    """What a program says, the end of it; ValueError when it fails, or is not there. TimeoutError."""
    try:
        code, out, err = ask(command, ANSWER_S)
    except FileNotFoundError as exc:
        raise ValueError(f"there is no {command[0]} here") from exc
    if code:
        raise ValueError(f"`{' '.join(command)}` ended with {code}: {err[-1000:]}")
    return out if len(out) <= SAID_CHARS else out[-SAID_CHARS:].partition("\n")[2]


def _content(made: object, scrub: Scrub) -> str:
    return scrub.text(made) if isinstance(made, str) else json.dumps(scrub.document(made), indent=2)


def _info(name: str) -> zipfile.ZipInfo:
    """ZIP knows no time before 1980, and a Jetson without a clock battery starts in 1970."""
    now = time.localtime()
    info = zipfile.ZipInfo(name, now[:6] if now.tm_year >= 1980 else (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = _PRIVATE << 16
    return info


def _readme(names: Sequence[str], left_out: Sequence[str]) -> str:
    lines = [
        f"Support bundle of edge-inspector {__version__}.",
        "",
        "Passwords, keys and tokens of the station file and of the files that it names were replaced by ***, and so",
        "was what looks like one. Names of hosts, users, recipes and cameras are in it. No picture is in it, and no",
        "part of the ledger; logs may name parts. Look it over before you send it.",
        "",
        "In it:",
        *(f"  {name}" for name in names),
    ]
    if left_out:
        lines += ["", "Left out, and why:", *(f"  {' '.join(one.split())}" for one in left_out)]
    return "\n".join(lines) + "\n"
