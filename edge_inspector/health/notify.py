"""What the service manager is told: sd_notify(3), in a datagram a message."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

import structlog

log = structlog.get_logger()
STATUS_MAX = 1000
"""Bytes of a status line; systemd cuts a whole message at 4096."""
_WATCHDOG = "WATCHDOG"


@dataclass(frozen=True)
class ServiceManager:
    """Where it listens, and how often it wants to hear of us; an empty `address` = nobody listens."""

    address: str = ""
    watchdog_s: float | None = None


def service_manager(environ: MutableMapping[str, str] = os.environ) -> ServiceManager:
    """Who started this process. The variables are taken out: a child of ours shall not speak for us."""
    address = environ.pop("NOTIFY_SOCKET", "")
    usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    mine = not pid or pid == str(os.getpid())
    watched = usec.isascii() and usec.isdigit() and int(usec) > 0
    if address and not address.startswith(("/", "@")):
        log.warning("notify_socket_unknown", address=address, expected="a path, or @name")
        address = ""
    return ServiceManager(address, int(usec) / 1e6 if address and mine and watched else None)


class Notifier:
    """Never waits and never fails: a message that finds no room goes out with the next one, and a watchdog's is lost.

    On the event loop.
    """

    def __init__(self, manager: ServiceManager | None = None) -> None:
        self.manager = ServiceManager() if manager is None else manager
        self._owed: dict[str, str] = {}
        self._refused = ""

    def ready(self) -> None:
        """The sockets are served and the books are open."""
        self._send({"READY": "1"})

    def status(self, text: str) -> None:
        """One line for a person; `systemctl status` shows it."""
        self._send({"STATUS": one_line(text)})

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send({_WATCHDOG: "1"})

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends it, whatever came of it."""
        self._send({"RELOADING": "1", "MONOTONIC_USEC": str(time.monotonic_ns() // 1000)})

    def stopping(self, text: str, within_s: float) -> None:
        """The station ends; it needs no longer than that, whatever the unit's own time-out is."""
        self._send({"STOPPING": "1", "STATUS": one_line(text), **_longer(within_s)})

    def starting(self, text: str, within_s: float) -> None:
        """Not ready yet, and why; the start may take so much longer."""
        self._send({"STATUS": one_line(text), **_longer(within_s)})

    def repeat(self) -> None:
        """Try again what found no room."""
        if self._owed:
            self._send({})

    def _send(self, fields: Mapping[str, str]) -> None:
        if not self.manager.address:
            return
        if fields.keys() & {"READY", "RELOADING", "STOPPING"}:  # the newest of them is what holds
            for name in ("READY", "RELOADING", "MONOTONIC_USEC", "STOPPING"):
                self._owed.pop(name, None)
        self._owed |= fields
        message = "\n".join(f"{name}={value}" for name, value in self._owed.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as out:
                out.sendto(message.encode(), _sockaddr(self.manager.address))
        except OSError as exc:
            self._owed.pop(_WATCHDOG, None)  # a loop that stands still later must not be called alive then
            if str(exc) != self._refused:
                self._refused = str(exc)
                log.warning("service_manager_not_told", address=self.manager.address, error=str(exc))
            return
        self._owed.clear()
        self._refused = ""


def one_line(text: str) -> str:
    """Without control characters, and at most `STATUS_MAX` bytes of UTF-8."""
    words = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode())
    encoded = words.encode()
    return words if len(encoded) <= STATUS_MAX else encoded[: STATUS_MAX - 3].decode("utf-8", "ignore") + "..."


def _longer(within_s: float) -> Mapping[str, str]:
    return {"EXTEND_TIMEOUT_USEC": str(round(within_s * 1e6))}


def _sockaddr(address: str) -> bytes:
    """A leading @ stands for the abstract name space."""
    name = os.fsencode(address)
    return b"\0" + name[1:] if name.startswith(b"@") else name
