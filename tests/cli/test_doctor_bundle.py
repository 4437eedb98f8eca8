"""The support bundle of `edge-inspector doctor`: whole, private, without secrets, and never written over anything."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_inspector import config
from edge_inspector.cli.doctor_bundle import LOG_BYTES, Asked, write_bundle
from edge_inspector.cli.main import app
from edge_inspector.health.finding import judged
from edge_inspector.store.ledger import Ledger

SECRET = "hunter2-of-the-plant"
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
host = "127.0.0.1"
port = 1
username = "s"
password_file = "mqtt.password"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A station that has run: with a book, a log, a password, and programs that talk of it."""
    (tmp_path / "state").mkdir()
    with Ledger(tmp_path / "state" / "ledger.sqlite", ["plant"]):
        pass
    (tmp_path / "mqtt.password").write_text(f"{SECRET}\n")
    (tmp_path / "station.toml").write_text(STATION)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "station.log").write_text(f"old {'x' * LOG_BYTES}\nlogin with {SECRET} refused\n")
    monkeypatch.setenv("LOGS_DIRECTORY", str(tmp_path / "logs"))
    (tmp_path / "bin").mkdir()
    for name, line in (("journalctl", f'echo "journal: {SECRET} $*"'), ("systemctl", "exit 3")):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "station.toml"


def written(file: Path, name: str = "support.zip", unit: str = "edge-inspector@s.service") -> dict[str, str]:
    path = file.parent / name
    found = [judged("broker.connect", "plant", "fail", f"refused {SECRET}", "e", "w", "r")]
    write_bundle(path, Asked(Path("/"), file, config.draft(file), unit, found))
    with zipfile.ZipFile(path) as made:
        assert made.testzip() is None
        return {one.partition("/")[2]: made.read(one).decode() for one in made.namelist()}


def test_a_bundle_holds_what_helps_and_no_secret(file: Path) -> None:
    found = written(file)
    assert set(found) == {
        *("README.txt", "doctor.txt", "doctor.json", "versions.json", "machine.txt", "kernel.txt", "station.json"),
        *("journal.txt", "logs/station.log", "ledger.json"),
    }
    assert not [name for name, text in found.items() if SECRET in text]
    assert json.loads(found["station.json"])["publishers"]["plant"]["password_file"] == "mqtt.password"
    assert json.loads(found["doctor.json"])[0]["found"] == "refused ***"
    assert found["logs/station.log"].endswith("login with *** refused\n")
    assert len(found["logs/station.log"]) <= LOG_BYTES
    assert found["journal.txt"].startswith("journal: *** --unit edge-inspector@s.service --lines 5000")
    versions = json.loads(found["versions.json"])
    assert any(one.startswith("numpy==") for one in versions["packages"])
    book = json.loads(found["ledger.json"])["the whole book"]
    assert (book["balanced"], book["summary"]["parts"]) == (True, {})


def test_the_readme_names_what_is_in_it_and_what_was_left_out(file: Path) -> None:
    found = written(file)
    inside, out = found["README.txt"].split("Left out, and why:")
    assert all(f"  {name}\n" in inside for name in found if name != "README.txt")
    assert [line.split(":")[0].strip() for line in out.strip().splitlines()] == [
        "unit.txt",
        "status.json",
        "metrics.txt",
    ]
    assert "ended with 3" in out


def test_only_its_owner_may_read_a_bundle(file: Path) -> None:
    written(file)
    assert stat.S_IMODE((file.parent / "support.zip").stat().st_mode) == 0o600


def test_a_station_file_that_is_no_toml_is_left_out_whole(file: Path) -> None:
    file.write_text(f'password = "{SECRET}\n')
    path = file.parent / "support.zip"
    write_bundle(path, Asked(Path("/"), file, None, "", []))
    with zipfile.ZipFile(path) as made:
        texts = {name: made.read(name).decode() for name in made.namelist()}
    assert "support/station.json" not in texts
    assert "station.json: " in texts["support/README.txt"]
    assert SECRET not in texts["support/README.txt"] + texts["support/doctor.txt"]


@pytest.fixture
def in_1970(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(time, "localtime", lambda: time.struct_time((1970, 1, 1, 0, 0, 7, 3, 1, 0)))
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("in_1970")
def test_a_jetson_without_a_clock_can_write_one(file: Path) -> None:
    assert "README.txt" in written(file)


def test_no_file_is_written_over_and_no_half_one_stays(file: Path) -> None:
    before = file.read_text()
    done = CliRunner().invoke(app, ["doctor", "--config", str(file), "--bundle", str(file)])
    assert (done.exit_code, file.read_text()) == (2, before)
    assert "is there already" in done.stderr
    with pytest.raises(FileExistsError):
        written(file, "station.toml")
    with pytest.raises(FileNotFoundError):
        written(file, "no/such/folder.zip")
    assert not (file.parent / "no").exists()


def test_a_book_that_takes_too_long_is_left_out(file: Path) -> None:
    path = file.parent / "support.zip"
    write_bundle(path, Asked(Path("/"), file, config.draft(file), "", []), ledger_s=-1.0)
    with zipfile.ZipFile(path) as made:
        assert "ledger.sqlite could not be added up within -1 s" in made.read("support/README.txt").decode()


def test_the_command_writes_the_bundle_beside_its_page_and_exits_by_what_it_found(file: Path) -> None:
    pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
    path, owner = file.parent / "b.zip", os.geteuid() or 4242
    for one in (file.parent / "state", *(file.parent / "state").iterdir()):
        os.chown(one, owner, -1)
    done = CliRunner().invoke(app, ["doctor", "--config", str(file), "--json", "--bundle", str(path)])
    findings = json.loads(done.stdout)
    assert done.exit_code == 1, "its broker cannot be reached"
    assert {one["subject"] for one in findings if one["check"] == "broker.connect"} == {"plant"}
    assert f"{path}: written" in done.stderr
    with zipfile.ZipFile(path) as made:
        assert json.loads(made.read("b/doctor.json")) == findings
    left = {one.name: one.stat().st_uid for one in (file.parent / "state").iterdir()}
    assert left.keys() <= {"ledger.sqlite", "ledger.sqlite-shm", "ledger.sqlite-wal"}
    assert set(left.values()) == {owner}, "what SQLite needs beside a book belongs to the book's owner"


def in_bundle(file: Path, name: str = "support.zip") -> dict[str, str]:
    path = file.parent / name
    write_bundle(path, Asked(Path("/"), file, None, "edge-inspector@s.service", []), limit_s=30.0)
    with zipfile.ZipFile(path) as made:
        return {one.partition("/")[2]: made.read(one).decode() for one in made.namelist()}


def test_secrets_of_a_broken_file_and_of_the_one_before_are_taken_out_of_logs(file: Path) -> None:
    (file.parent / "state" / "station.last-good.toml").write_text(STATION.replace("mqtt.password", "old.password"))
    (file.parent / "old.password").write_text("older-word-of-the-plant\n")
    (file.parent / "logs" / "station.log").write_text("tried older-word-of-the-plant\n")
    file.write_text(STATION + "[broken\n")
    found = in_bundle(file)
    assert found["journal.txt"].startswith("journal: *** ")
    assert found["logs/station.log"] == "tried ***\n"


def test_a_terminal_that_wraps_hides_no_secret(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    (file.parent / "mqtt.password").write_text("seven words of one long pass\u00adphrase\n")
    path = file.parent / "support.zip"
    found = [judged("a.b", "", "fail", f"{'x' * 90} seven words of one long pass\u00adphrase", "e", "w", "r")]
    write_bundle(path, Asked(Path("/"), file, None, "", found))
    with zipfile.ZipFile(path) as made:
        assert f"fail  a.b: {'x' * 90} ***\n" in made.read("support/doctor.txt").decode()


def test_what_a_unit_sets_for_its_program_is_not_in_it(file: Path) -> None:
    line = "printf '[Service]\\nEnvironment=\"PLANT=hunter3\" \\\\\\n  B=hunter4\\nUser=a\\nSetCredential=x:hunter5\\n'"
    (file.parent / "bin" / "systemctl").write_text(f"#!/bin/sh\n{line}\n")
    told = in_bundle(file)["unit.txt"]
    assert told == "[Service]\nEnvironment=***\nUser=a\nSetCredential=***\n" * 2


@pytest.mark.timeout(60)
def test_hostile_files_among_the_logs_neither_stop_the_bundle_nor_get_into_it(file: Path) -> None:
    logs = file.parent / "logs"
    (logs / "station.log").write_text(f"{SECRET}\n" * (LOG_BYTES // len(SECRET) + 7))
    (logs / "shadow.log").symlink_to(file)
    (logs / "loop.log").symlink_to("loop.log")
    os.mkfifo(logs / "pipe.log")
    (logs / "core").write_bytes(b"\x7fELF\0\0word")
    Path(os.fsdecode(bytes(logs) + b"/\xff\x1b[2J.log")).write_text("a\x1b[2Jb\n")
    (logs / "..\\..\\evil").write_text("c\n")
    found = written(file)
    inside = sorted(name for name in found if name.startswith("logs/"))
    assert [name.removeprefix("logs/").lstrip("0123456789") for name in inside] == [
        "_.._.._evil",
        "____2J.log",
        "station.log",
    ]
    assert set(found["logs/station.log"].splitlines()) == {"***"}, "not even half of one at its beginning"
    out = found["README.txt"].split("Left out, and why:")[1]
    assert all(f"logs/{name}: " in out for name in ("shadow.log", "loop.log", "pipe.log", "core"))


def test_with_sudo_the_bundle_belongs_to_who_called_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    monkeypatch.setenv("SUDO_UID", "4242")
    monkeypatch.setenv("SUDO_GID", "4243")
    written(file)
    made = (file.parent / "support.zip").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (4242, 4243, 0o600)
