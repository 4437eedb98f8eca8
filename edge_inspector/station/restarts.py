"""Starts that fail one after the other: they are counted, and each waits longer than the one before, for ever."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from edge_inspector.errors import EdgeInspectorError
from edge_inspector.health.notify import Notifier

log = structlog.get_logger()
FILE = "starts.json"
AT_ONCE = 2
"""So many starts wait for nothing: a station that died once shall be back soon."""
LONGEST_S = 60.0
HEALTHY_S = 60.0
"""A station that has served for so long was started well."""
NO_WORD = "it was killed, or the watchdog ended it"
_STEP_S = 1.0


def wait_s(failed: int) -> float:
    """Before a start that comes after so many failed ones in a row: 0, 0, 1, 2, 4 and so on up to `LONGEST_S`."""
    return 0.0 if failed < AT_ONCE else min(2.0 ** min(failed - AT_ONCE, 30), LONGEST_S)


class Restarts:
    """The count is kept in the runtime folder, which systemd empties at a boot. Without a folder nothing is counted.

    A file that cannot be read or written costs the wait, never the start.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self.failed, self.why = self._past()
        """Failed starts in a row before this one, and how the last run ended; empty = as it was told to, or unknown."""

    @classmethod
    def of_service(cls, notifier: Notifier, environ: Mapping[str, str] = os.environ) -> Restarts:
        """Under systemd, which starts a failed station again by itself; anybody else may start it when he likes."""
        folder = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        return cls(Path(folder) if folder and notifier.manager.address else None)

    def begin(self, notifier: Notifier, pause: Callable[[float], None] = time.sleep) -> None:
        """Wait as long as is due, then count this start as failed until it turns out well."""
        due_s = wait_s(self.failed)
        if due_s:
            until = datetime.now().astimezone() + timedelta(seconds=due_s)
            text = f"start {self.failed + 1} in a row waits until {until:%H:%M:%S %Z}; the last one failed: {self.why}"
            log.warning("start_waits", seconds=due_s, failed=self.failed, error=self.why)
            left_s = due_s
            while left_s > 0:
                notifier.starting(text, within_s=30.0)
                pause(min(_STEP_S, left_s))
                left_s -= _STEP_S
        self._write(self.failed + 1, NO_WORD)

    def healthy(self) -> None:
        """The station has served for `HEALTHY_S`: its next failure is the first one."""
        self.failed = 0
        self._write(0, NO_WORD)

    def clean(self) -> None:
        """The station ends because somebody wants it to."""
        if self._path is not None:
            try:
                self._path.unlink(missing_ok=True)
            except OSError as exc:
                log.warning("starts_not_counted", error=str(exc))

    def ended(self, why: str) -> None:
        """The process ends with an error."""
        self._write(self._past()[0], why)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """An error ends the start."""
        try:
            yield
        except Exception as exc:
            expected = isinstance(exc, (EdgeInspectorError, OSError))
            name, text = type(exc).__name__, str(exc)
            self.ended((text if expected else f"{name}: {text}") if text else name)
            raise

    def _past(self) -> tuple[int, str]:
        if self._path is None:
            return 0, ""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return max(0, int(kept["failed"])), str(kept["why"])
        except FileNotFoundError:
            return 0, ""
        except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as exc:
            log.warning("starts_not_counted", error=str(exc))
            return 0, ""

    def _write(self, failed: int, why: str) -> None:
        """Whole or not at all; not synchronised, because the count ends with the boot."""
        if self._path is None:
            return
        part = self._path.with_suffix(".part")
        try:
            part.write_text(json.dumps({"failed": failed, "why": why[:2000]}), encoding="utf-8")
            os.replace(part, self._path)
        except OSError as exc:
            log.warning("starts_not_counted", error=str(exc))
