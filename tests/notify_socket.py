"""The service manager's end of NOTIFY_SOCKET: hears a station as systemd would, and ends it as systemd would."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class Heard:
    """One datagram; `ns` is CLOCK_MONOTONIC."""

    ns: int
    fields: Mapping[str, str]


class NotifySocket:
    """`env` is what systemd gives a unit with `WatchdogSec` and a runtime folder."""

    def __init__(self, folder: Path, watchdog_s: float = 2.0) -> None:
        self.watchdog_s = watchdog_s
        self.runtime = folder / "runtime"
        self.runtime.mkdir(exist_ok=True)
        self.env = {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": str(round(watchdog_s * 1e6)),
            "RUNTIME_DIRECTORY": str(self.runtime),
        }
        self.heard: list[Heard] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.env["NOTIFY_SOCKET"])
        self._thread = threading.Thread(target=self._listen, name="notify-socket")

    def __enter__(self) -> NotifySocket:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"", self.env["NOTIFY_SOCKET"])
        self._thread.join()
        self._socket.close()

    def first(self, name: str, value: str | None = None) -> Heard | None:
        """The first message with this field, of that value if one is given; None = not heard yet."""
        return next((one for one in self._all(name) if value in (None, one.fields[name])), None)

    def count(self, name: str) -> int:
        return len(self._all(name))

    @property
    def statuses(self) -> list[str]:
        return [one.fields["STATUS"] for one in self._all("STATUS")]

    @property
    def silent_s(self) -> float:
        """How long the watchdog has not been fed."""
        fed = self._all("WATCHDOG") or self._all("READY")
        return (time.monotonic_ns() - fed[-1].ns) / 1e9 if fed else 0.0

    def bites(self, pid: int) -> bool:
        """What systemd does when the watchdog was not fed in time; False = it was."""
        if self.silent_s <= self.watchdog_s:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGABRT)
        return True

    def _all(self, name: str) -> list[Heard]:
        return [one for one in list(self.heard) if name in one.fields]

    def _listen(self) -> None:
        while data := self._socket.recv(8192):
            lines = data.decode().split("\n")
            self.heard.append(Heard(time.monotonic_ns(), dict(line.split("=", 1) for line in lines)))
