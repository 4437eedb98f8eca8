"""What the service manager hears, over a real AF_UNIX datagram socket."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_inspector.health.notify import STATUS_MAX, Notifier, ServiceManager, one_line, service_manager


class Manager:
    """Hears what a service says."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(8192).decode())
            except BlockingIOError:
                return found

    def flood(self) -> int:
        """Leave no room for one more message; gives how many that took."""
        address, sent = self._socket.getsockname(), 0
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, kind) as other, contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"FLOOD=1", address)
                sent += 1
        return sent

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@edge-inspector-test-{os.getpid()}"
    made = Manager(address)
    yield made
    made.close()


def test_each_message_is_one_datagram_as_sd_notify_has_it(manager: Manager) -> None:
    notifier = Notifier(ServiceManager(manager.address, 20.0))
    notifier.starting("waits", 30.0)
    notifier.ready()
    notifier.status("READY; recipe ä")
    notifier.alive()
    notifier.stopping("the end", 25.0)
    assert manager.heard() == [
        "STATUS=waits\nEXTEND_TIMEOUT_USEC=30000000",
        "READY=1",
        "STATUS=READY; recipe ä",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=the end\nEXTEND_TIMEOUT_USEC=25000000",
    ]


def test_a_reload_tells_its_moment_on_the_monotonic_clock(manager: Manager) -> None:
    before = time.monotonic_ns() // 1000
    Notifier(ServiceManager(manager.address)).reloading()
    (message,) = manager.heard()
    first, second = message.split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_nobody_listens_and_nothing_is_sent(tmp_path: Path) -> None:
    listening = Manager(str(tmp_path / "notify"))
    Notifier().ready()
    assert listening.heard() == []
    listening.close()


def test_what_found_no_room_goes_out_with_the_next_message_but_never_a_watchdogs(manager: Manager) -> None:
    notifier = Notifier(ServiceManager(manager.address))
    flood = manager.flood()
    notifier.ready()
    notifier.alive()
    notifier.status("READY")
    assert manager.heard() == ["FLOOD=1"] * flood
    notifier.repeat()
    notifier.repeat()
    assert manager.heard() == ["READY=1\nSTATUS=READY"]


def test_the_newest_state_replaces_one_that_was_never_sent(tmp_path: Path) -> None:
    notifier = Notifier(ServiceManager(str(tmp_path / "notify")))
    notifier.reloading()
    notifier.ready()
    listening = Manager(str(tmp_path / "notify"))
    notifier.repeat()
    assert listening.heard() == ["READY=1"]
    listening.close()


def test_a_manager_that_is_gone_is_logged_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notifier = Notifier(ServiceManager(str(tmp_path / "gone")))
    notifier.ready()
    notifier.status("READY")
    assert capsys.readouterr().out.count("service_manager_not_told") == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ServiceManager()),
        ({"NOTIFY_SOCKET": "/run/s"}, ServiceManager("/run/s")),
        ({"NOTIFY_SOCKET": "@s", "WATCHDOG_USEC": "20000000"}, ServiceManager("@s", 20.0)),
        ({"WATCHDOG_USEC": "20000000"}, ServiceManager()),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}, ServiceManager("/s")),
        (
            {"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "5000", "WATCHDOG_PID": str(os.getpid())},
            ServiceManager("/s", 5e-3),
        ),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "soon"}, ServiceManager("/s")),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "0"}, ServiceManager("/s")),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, ServiceManager()),
    ],
)
def test_who_started_the_process_stands_in_its_environment_and_no_child_inherits_it(
    given: dict[str, str], expected: ServiceManager
) -> None:
    environ = {**given, "PATH": "/bin"}
    assert service_manager(environ) == expected
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("READY", "READY"),
        ("a\nWATCHDOG=1\x1b[2J\x00b", "a WATCHDOG=1 [2J b"),
        ("\ud800", "?"),
        ("x" * (STATUS_MAX + 1), "x" * (STATUS_MAX - 3) + "..."),
        ("ä" * STATUS_MAX, "ä" * ((STATUS_MAX - 3) // 2) + "..."),
    ],
    ids=["as it is", "controls", "surrogate", "too long", "between characters"],
)
def test_a_status_is_one_line_of_printable_characters(text: str, line: str) -> None:
    assert one_line(text) == line
