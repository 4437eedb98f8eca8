"""`edge-inspector doctor` on a station: its file, whether it answers, its books, whose files they are."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_inspector import config
from edge_inspector.cli import doctor_station
from edge_inspector.cli.doctor_checks import examined, guarded
from edge_inspector.cli.doctor_time import left_behind
from edge_inspector.config import StationConfig, last_good
from edge_inspector.datatypes import Event, OutboxMessage
from edge_inspector.health.finding import Finding, judged
from edge_inspector.health.ownership import Account
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.records import BookEvent

STATION = """\
schema = 1
[station]
name = "s"
recipe = "r"
state_dir = "state"
runtime_dir = "run"
[cameras.top]
type = "folder"
path = "."
[backend]
type = "onnxruntime"
[recipes.r]
number = 1
trigger = "timer"
period_s = 1.0
bundle = "pcb-demo"
views = [{ camera = "top" }]
[publishers.plant]
type = "mqtt"
username = "s"
password_file = "mqtt.password"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "mqtt.password").write_text("word\n")
    (tmp_path / "station.toml").write_text(STATION)
    return tmp_path / "station.toml"


def settings(file: Path) -> StationConfig:
    return config.load(file)


def of_file(file: Path) -> dict[str, Finding]:
    return {one.check: one for one in doctor_station.file_findings(file, config.draft(file))}


def test_a_right_file_is_said_to_be(file: Path) -> None:
    found = of_file(file)
    assert {name: one.level for name, one in found.items()} == {"station.file": "ok", "station.last_good": "note"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('bundle = "pcb-demo"', 'bundle = "no-such-bundle"', "no-such-bundle"),
        ('trigger = "timer"', 'trigger = "tmer"', "recipes.r.trigger"),
        ("[publishers.plant]", '[web]\nhost = "0.0.0.0"\n[publishers.plant]', "TLS is required"),
    ],
)
def test_what_check_refuses_fails_here_too(file: Path, old: str, new: str, words: str) -> None:
    file.write_text(STATION.replace(old, new))
    one = of_file(file)["station.file"]
    assert (one.level, one.remedy) == ("fail", f"edge-inspector check {file}")
    assert words in one.found
    assert one.found.startswith("1 problem; the first: ")


def test_a_file_that_was_changed_since_the_station_took_it_is_noted(file: Path) -> None:
    kept = file.parent / "state" / last_good.NAME
    kept.write_text(STATION)
    assert of_file(file)["station.last_good"].level == "ok"
    kept.write_text(STATION + "# older\n")
    one = of_file(file)["station.last_good"]
    assert one.level == "note"
    assert one.found.startswith(f"the station last took another one, kept in {kept}; this one comes with")
    file.write_text(STATION.replace('trigger = "timer"', 'trigger = "tmer"'))
    assert of_file(file)["station.last_good"].found.endswith(f"; the way back: cp {kept} {file}")


@contextmanager
def answering(path: Path, answer: dict[str, Any]) -> Iterator[None]:
    """A control socket that gives one answer to one caller."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(json.dumps(answer).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        ({"ready": True}, "ok", "READY; recipe r, mode 1"),
        ({"ready": True, "warning": True}, "note", "READY with a warning"),
        ({"ready": False, "error_text": "halted by plc"}, "warn", "not READY: halted by plc; recipe r, mode 1"),
        ({"ready": False, "error_code": 201, "error_text": "top: no camera"}, "fail", "error 201: top: no camera"),
        (None, "note", "it is just starting"),
    ],
)
def test_a_station_that_runs_says_how_it_is(file: Path, status: dict[str, Any] | None, level: str, words: str) -> None:
    known = None if status is None else {"recipe": "r", "mode": 1, **status}
    with answering(file.parent / "run" / "control.sock", {"status": known}):
        (one,) = doctor_station.running_findings(settings(file), "start it")
    assert one.level == level
    assert one.found.startswith(words)


def test_a_station_that_does_not_run_names_what_starts_it(file: Path) -> None:
    (one,) = doctor_station.running_findings(settings(file), "sudo systemctl start edge-inspector@s.service")
    assert (one.level, one.remedy) == ("warn", "sudo systemctl start edge-inspector@s.service")


def test_the_flight_record_is_looked_at_and_never_touched(file: Path) -> None:
    folder = file.parent / "run"
    assert [one.level for one in doctor_station.flight_findings(file, folder)] == ["note"]
    assert list(folder.iterdir()) == []
    (folder / "flight.bin").write_bytes(bytes(3 * 2**20))
    (one,) = doctor_station.flight_findings(file, folder)
    assert (one.level, one.found) == ("ok", "3 MB")
    (folder / "flight.bin.set-aside").touch()
    (one,) = doctor_station.flight_findings(file, folder)
    assert (one.level, "ledger reconcile" in one.remedy) == ("warn", True)


def ledger(folder: Path, waiting: int = 0) -> None:
    with Ledger(folder / "ledger.sqlite", ["plant"]) as book:
        for number in range(waiting):
            message = OutboxMessage("plant", "event", "vision.event/1", b"{}", 0)
            book.submit(BookEvent(Event("info", f"code{number}", "text", "2026-11-22T06:30:00.000Z"), (message,)))
        book.close()
        book.run()


def test_a_book_tells_its_parts_and_what_waits_for_brokers(file: Path) -> None:
    state = file.parent / "state"
    assert [one.level for one in doctor_station.ledger_findings(state)] == ["note"]
    ledger(state, waiting=2)
    book, outbox = doctor_station.ledger_findings(state)
    assert (book.level, book.found) == ("ok", "0 parts, 0 MB")
    assert (outbox.subject, outbox.level, outbox.found) == ("plant", "ok", "2 messages wait for it")
    (outbox,) = [one for one in doctor_station.ledger_findings(state, many=2) if one.check == "ledger.outbox"]
    assert outbox.level == "warn"


@pytest.mark.parametrize("content", [b"", b"no book", b"SQLite format 3\x00" + bytes(100)])
def test_a_book_that_cannot_be_read_fails(file: Path, content: bytes) -> None:
    (file.parent / "state" / "ledger.sqlite").write_bytes(content)
    (one,) = doctor_station.ledger_findings(file.parent / "state")
    assert (one.check, one.level) == ("ledger.book", "fail")
    assert str(file.parent / "state" / "ledger.sqlite") in one.found


def test_everything_that_the_service_reads_or_writes_is_asked_for_its_user(file: Path) -> None:
    (file.parent / "mqtt.password").chmod(0o600)
    nobody = Account("edge-inspector", os.getuid() + 1, frozenset({os.getgid() + 1}))
    for parent in file.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    found = list(doctor_station.owner_findings(file, settings(file), nobody))
    assert [(one.check, one.subject, one.level) for one in found] == [
        ("files.owner", str(file.parent / "state"), "fail"),
        ("files.owner", str(file.parent / "run"), "fail"),
        ("files.readable", str(file.parent / "mqtt.password"), "fail"),
    ]


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({"StateDirectory": "edge-inspector/line1"}, "/var/lib/edge-inspector/line1"),
        ({"StateDirectory": "a b"}, "/var/lib/a"),
        ({}, "state"),
        ("there is no systemd here", "state"),
    ],
)
def test_a_file_without_folders_means_those_of_its_unit(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str] | str, state: str
) -> None:
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "LOGS_DIRECTORY"):
        monkeypatch.setenv(name, "x")  # so that the test leaves none behind
        monkeypatch.delenv(name)
    doctor_station.installed_folders(told)
    assert os.environ.get("STATE_DIRECTORY", "state") == state
    assert os.environ.get("RUNTIME_DIRECTORY", "state") == state.replace("/var/lib", "/run")


def test_a_unit_decides_for_whom_the_station_runs(file: Path) -> None:
    pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
    (file.parent / "proc").mkdir()
    unit = {"LoadState": "loaded", "User": "no-such-user", "ActiveState": "failed", "FragmentPath": "/etc/x.service"}
    found = {
        one.check: one for one in examined(file.parent, file, config.draft(file), "edge-inspector@s.service", unit)
    }
    assert (found["unit.active"].level, found["unit.active"].subject) == ("fail", "edge-inspector@s.service")
    assert (found["files.user"].level, found["files.user"].subject) == ("fail", "no-such-user")
    assert found["station.ready"].remedy == "sudo systemctl start edge-inspector@s.service"
    assert "files.owner" not in found


def test_what_this_user_may_not_see_ends_those_checks_and_not_the_page(tmp_path: Path) -> None:
    def closed() -> Iterator[Finding]:
        yield judged("station.file", "", "ok", "right")
        raise PermissionError(13, "Permission denied", "/etc/edge-inspector")

    found = list(guarded("station", tmp_path / "s.toml", closed()))
    assert [(one.check, one.level) for one in found] == [("station.file", "ok"), ("station.not_seen", "warn")]
    assert found[1].remedy == f"sudo edge-inspector doctor --config {tmp_path / 's.toml'}"


def test_what_hangs_ends_those_checks_and_not_the_page(tmp_path: Path) -> None:
    goes_on = threading.Event()

    def hanging() -> Iterator[Finding]:
        yield judged("disk.free", "", "ok", "right")
        goes_on.wait()

    try:
        found = list(guarded("disk", tmp_path / "s.toml", hanging(), limit_s=0.2))
        assert [(one.check, one.level) for one in found] == [("disk.free", "ok"), ("disk.not_seen", "warn")]
        assert "within 0.2 s" in found[1].found
        assert left_behind()
    finally:
        goes_on.set()


def test_what_cannot_be_understood_ends_those_checks_and_a_bug_ends_all(tmp_path: Path) -> None:
    def odd(value: str) -> Iterator[Finding]:
        yield judged("a", "", "ok", f"{int(value)} {value[5]}")

    assert [one.check for one in guarded("a", tmp_path, odd("many"))] == ["a.not_seen"]
    with pytest.raises(IndexError):
        list(guarded("a", tmp_path, odd("1")))
