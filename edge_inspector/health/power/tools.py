"""NVIDIA's nvpmodel and jetson_clocks, run by root. Nothing but the standard library."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.errors import PowerError, RebootNeededError
from edge_inspector.health.power.sysfs import clocks_locked
from edge_inspector.health.power.table import TABLE, Table, TableMode, disagreements, kept_mode, read_table

SWITCH_S = 15.0
"""For a whole change; nvpmodel takes 1 to 3 s where it works."""
LOCK_S = 8.0
"""For locking the clocks again afterwards, whatever came before."""
_KILLED_S = 2.0
_KEEP = "var/lib/edge-inspector-power"
_QUERY = re.compile(r"NV Power Mode: *(\S+)\s*\n\s*(\d{1,4})\s*$", re.MULTILINE)
_REBOOT = re.compile("reboot", re.IGNORECASE)
_NO = "no\n"
"""The answer to 'DO YOU WANT TO REBOOT NOW?'; nvpmodel waits for one."""


@dataclass(frozen=True)
class _Said:
    code: int
    text: str

    def __str__(self) -> str:
        lines = ("".join(c if c.isprintable() else " " for c in line).strip() for line in self.text.splitlines())
        last = [line for line in lines if line][-2:]
        return f"exit code {self.code}, {' / '.join(last) or 'nothing said'}"


class BoardTools:
    """A board's modes and clocks through NVIDIA's own tools, found on PATH. As root, one call at a time."""

    def __init__(self, root: Path, keep: Path | None = None) -> None:
        """`keep`: the folder for the clocks that jetson_clocks will restore."""
        self._root = root
        self._keep = root / _KEEP if keep is None else keep

    def query(self, limit_s: float) -> tuple[int, str]:
        """Number and name of the mode in which nvpmodel says the board is. PowerError."""
        said = _run(["nvpmodel", "-q"], limit_s)
        found = _QUERY.search(said.text)
        if said.code != 0 or not found:
            raise PowerError(
                f"nvpmodel -q did not tell the power mode ({said}); expected 'NV Power Mode: NAME' and a number"
            )
        return int(found[2]), found[1]

    def set_mode(self, wanted: int, limit_s: float = SWITCH_S) -> None:
        """As `PowerControl.set_mode`. Clocks that were locked are unlocked meanwhile."""
        deadline = time.monotonic() + limit_s
        table, mode = self._known(wanted)
        before, _ = self.query(_left(deadline))
        if before == wanted and not disagreements(table, mode, self._root):
            return
        locked = clocks_locked(self._root) is True
        if locked or self._store.exists():
            self._unlock(_left(deadline))
        try:
            self._switch(table, mode, before, deadline)
        finally:
            if locked:
                self._lock(LOCK_S)

    def set_clocks(self, locked: bool, limit_s: float = SWITCH_S) -> None:
        """As `PowerControl.set_clocks`."""
        found = clocks_locked(self._root)
        if locked and found is not True:
            self._lock(limit_s)
        elif not locked and (found is True or self._store.exists()):  # a lock that failed may have set some
            self._unlock(limit_s)

    @property
    def _store(self) -> Path:
        """The clocks before they were locked in the present mode: in another one they would be wrong."""
        return self._keep / f"clocks-mode-{kept_mode(self._root)}.conf"

    def _known(self, wanted: int) -> tuple[Table, TableMode]:
        table = read_table(self._root)
        if table is None:
            raise PowerError(f"/{TABLE} is not there: this machine has no power modes, or nvpmodel is not installed")
        mode = table.mode(wanted)
        if mode is None:
            known = ", ".join(f"{mode.number} {mode.name}" for mode in table.modes)
            raise PowerError(f"power mode {wanted} is not in /{TABLE}; it has {known or 'none'}")
        return table, mode

    def _switch(self, table: Table, mode: TableMode, before: int, deadline: float) -> None:
        title = f"power mode {mode.number} {mode.name}"
        said = _run(["nvpmodel", "-m", str(mode.number)], _left(deadline), _NO)
        now, name = self.query(_left(deadline))
        if _REBOOT.search(said.text):
            if now != before:
                raise PowerError(f"{title} needs a reboot, and nvpmodel says that the board is in {now} {name} already")
            raise RebootNeededError(
                f"{title} needs a reboot, nothing was changed; at a good moment: sudo nvpmodel -m"
                f" {mode.number}, and answer yes"
            )
        if now != mode.number:
            how = "was reported as set, but" if said.code == 0 else "was not taken,"
            raise PowerError(f"{title} {how} the board is in {now} {name}: nvpmodel -m {mode.number}: {said}")
        wrong = disagreements(table, mode, self._root)
        if said.code != 0:
            wrong.insert(0, f"nvpmodel -m {now} ended with {said}")
        if wrong:
            raise PowerError(f"{title} is what nvpmodel says, but {'; '.join(wrong)}")

    def _lock(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        store = self._store
        self._keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        store.unlink(missing_ok=True)  # jetson_clocks asks before it overwrites
        for command in (["jetson_clocks", "--store", str(store)], ["jetson_clocks"]):
            said = _run(command, _left(deadline), _NO)
            if said.code != 0:
                raise PowerError(f"{' '.join(command)} failed: {said}")
        if clocks_locked(self._root) is not True:
            raise PowerError(
                "jetson_clocks has ended without a complaint, but the clocks of GPU and processors are not locked"
            )

    def _unlock(self, limit_s: float) -> None:
        store = self._store
        if not store.exists():
            raise PowerError(
                "the clocks were locked by somebody else, so what they were before is not known here; switch off what"
                " calls jetson_clocks at boot and start the board again, or `sudo jetson_clocks --restore FILE`"
            )
        said = _run(["jetson_clocks", "--restore", str(store)], limit_s)
        if said.code != 0:
            raise PowerError(f"jetson_clocks --restore {store} failed: {said}")
        if clocks_locked(self._root) is True:
            raise PowerError("jetson_clocks --restore has ended without a complaint, but the clocks are still locked")
        store.unlink(missing_ok=True)


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)


def _run(command: list[str], limit_s: float, answer: str = "") -> _Said:
    """Run a tool, and all that it started, for at most `limit_s`. PowerError: not there, or not ended in time."""
    title = " ".join(command)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/root"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as exc:
        raise PowerError(f"{title} cannot be run: {exc}; expected NVIDIA's own tool on PATH") from exc
    try:
        output, _ = process.communicate(answer.encode(), limit_s)
    except subprocess.TimeoutExpired as exc:
        raise PowerError(f"{title} had not ended after {limit_s:.1f} s and was killed{_killed(process)}") from exc
    return _Said(process.returncode, output.decode(errors="replace"))


def _killed(process: subprocess.Popen[bytes]) -> str:
    """End a tool and all that it started; what stays in the kernel for ever is left behind."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=_KILLED_S)
    except subprocess.TimeoutExpired:
        process.poll()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return ", but it hangs in the kernel: the board must be started again"
    return ""
