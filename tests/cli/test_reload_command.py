"""`edge-inspector reload` as a person or a program meets it, and the last good file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner, Result

from edge_inspector import config
from edge_inspector.assembly import assemble
from edge_inspector.cli.main import app
from edge_inspector.config import LARGEST, StationFileError, last_good
from edge_inspector.station.reload import hangups

GOOD = """\
schema = 1
[station]
name = "s"
recipe = "r"
[cameras.a]
type = "folder"
path = "."
[backend]
type = "onnxruntime"
[recipes.r]
number = 1
trigger = "timer"
period_s = 1.0
bundle = "b"
views = [{ camera = "a" }]
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "station.toml"
    path.write_text(GOOD)
    return path


def ordered(file: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["reload", str(file), *more])


def test_a_program_is_told_the_mistakes_of_the_file_in_json_too(file: Path) -> None:
    file.write_text(GOOD.replace("number = 1", "number = 0"))
    told = ordered(file, "--json")
    assert (told.exit_code, told.stderr) == (2, "")
    answer = json.loads(told.stdout)
    assert not answer["done"]
    assert [one.partition(": ")[2].partition(" = ")[0] for one in answer["problems"]] == ["recipes.r.number"]


def test_a_person_is_told_that_nothing_was_taken_over_and_every_mistake_on_its_line(file: Path) -> None:
    file.write_text(GOOD.replace("number = 1", "number = 0").replace('trigger = "timer"', 'trigger = "\\u001b[2J"'))
    told = ordered(file)
    assert (told.exit_code, told.stdout) == (2, "")
    first, *mistakes = told.stderr.splitlines()
    assert first == "nothing was taken over, the station goes on as before: the file has mistakes"
    assert len(mistakes) == 2
    assert "\x1b" not in told.stderr


def test_where_no_station_runs_a_program_is_told_so_in_json(file: Path) -> None:
    told = ordered(file, "--json")
    assert told.exit_code == 2
    assert "no station answers at" in json.loads(told.stdout)["text"]


def test_a_pipe_is_not_waited_for_and_a_large_file_is_not_read_to_its_end(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)
    for read in (config.load, assemble):
        with pytest.raises(StationFileError, match="is a pipe or a device"):
            read(file)
    file.unlink()
    file.write_text(f"{GOOD}#{'x' * LARGEST}")
    with pytest.raises(StationFileError, match="is larger than 1 MB"):
        config.load(file)
    file.write_text(f"{GOOD}#{'x' * (LARGEST - len(GOOD) - 1)}")
    assert config.load(file).station.name == "s"


def test_a_file_whose_lines_end_as_windows_writes_them_is_no_mistake(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert config.load(file).station.name == "s"


@pytest.mark.parametrize("folder", ["x" * 5000, "a\\u0000b", "/proc/1/root", "~nobody-at-all"])
def test_the_last_good_file_is_looked_for_wherever_a_broken_file_points(file: Path, folder: str) -> None:
    file.write_text(f'{GOOD.replace("number = 1", "number = 0")}\nstate_dir = "{folder}"\n')
    assert last_good.find(file) is None
    (file.parent / "state").mkdir()
    last_good.keep(file.parent / "state", GOOD.encode())
    assert last_good.find(file) == file.parent.resolve() / "state" / last_good.NAME
    file.write_text(GOOD)
    assert last_good.find(file) is None, "it is this very content"


def test_the_last_good_file_is_the_owners_alone_and_no_half_of_it_is_ever_there(tmp_path: Path) -> None:
    last_good.keep(tmp_path, b"one")
    path = tmp_path / last_good.NAME
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_ino
    last_good.keep(tmp_path, b"one")
    assert path.stat().st_ino == before, "nothing to write"
    last_good.keep(tmp_path, b"another")
    assert path.read_bytes() == b"another"
    assert path.stat().st_ino != before, "renamed over it"
    assert [one.name for one in tmp_path.iterdir()] == [last_good.NAME]


@pytest.fixture
def as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.heavy
def test_a_hangup_that_comes_before_the_station_listens_does_not_end_it(tmp_path: Path) -> None:
    """systemd takes it for a clean end, and would not start it again."""
    program = """
import signal, sys
from pathlib import Path
import typer
from edge_inspector.cli.run import run
try:
    run(Path(sys.argv[1]))
except typer.Exit as end:
    print(end.exit_code, signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "none.toml"], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.split() == ["2", "True"]


@pytest.mark.anyio
@pytest.mark.usefixtures("as_before")
async def test_a_hangup_that_comes_while_the_station_ends_does_not_cut_it_short() -> None:
    heard: list[str] = []

    class Ordered:
        def order(self, who: str, _asked: object, _done: object) -> None:
            heard.append(who)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # whoever hears it too early lives on
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hangups, Ordered(), lambda: None)  # type: ignore[arg-type]
        with anyio.fail_after(10):
            while signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # noqa: ASYNC110 - the loop tells nobody that it listens
                await anyio.sleep(0.005)
        os.kill(os.getpid(), signal.SIGHUP)
        with anyio.fail_after(10):
            while not heard:  # noqa: ASYNC110 - the signal's turn of the loop
                await anyio.sleep(0.005)
        tasks.cancel_scope.cancel()
    assert heard == ["signal"]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
