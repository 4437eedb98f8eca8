"""`edge-inspector status` against the daemon's own control socket."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from typer.testing import CliRunner, Result

from edge_inspector.cli.main import app
from edge_inspector.control import Control

DEMO = Path(__file__).parents[2] / "deploy" / "examples" / "demo"


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """The example station, with its socket in a folder of the test."""
    text = (DEMO / "station.toml").read_text().replace('"/run/edge-inspector/demo"', '"run"')
    text = text.replace('"/var/lib/edge-inspector/demo"', '"state"').replace('"pictures"', f'"{DEMO / "pictures"}"')
    (tmp_path / "station.toml").write_text(text)
    (tmp_path / "run").mkdir()
    return tmp_path / "station.toml"


def asked(station: Path, status: dict[str, object], *options: str) -> Result:
    """What the command says to a station with this status."""
    control = Control(station.parent / "run" / "control.sock")
    control.status = lambda: status
    control.facts = lambda: {"version": "9.9.9"}

    async def run() -> Result:
        async with anyio.create_task_group() as tasks:
            await tasks.start(control.serve)
            command = partial(CliRunner().invoke, app, ["status", str(station), *options])
            found = await anyio.to_thread.run_sync(command)
            tasks.cancel_scope.cancel()
        return found

    return anyio.run(run)


def test_ready_station_gives_0(station):
    found = asked(station, {"ready": True, "recipe": "pcb"})
    assert (found.exit_code, found.stdout) == (0, "demo: READY, recipe pcb\n")


def test_station_that_is_not_ready_gives_4_and_its_reason(station):
    found = asked(station, {"ready": False, "error_code": 101, "error_text": "camera top is away"})
    assert (found.exit_code, found.stdout) == (4, "demo: not READY: error 101: camera top is away\n")


def test_json_holds_all_that_the_station_told(station):
    found = asked(station, {"ready": False, "halted": True}, "--json")
    told = json.loads(found.stdout)
    assert (found.exit_code, told["alive"], told["ready"], told["version"]) == (4, True, False, "9.9.9")
    assert told["status"] == {"ready": False, "halted": True}


def test_station_that_does_not_run_gives_5(station):
    found = CliRunner().invoke(app, ["status", str(station)])
    assert (found.exit_code, "no station answers" in found.stdout) == (5, True)


def test_wrong_station_file_gives_2(tmp_path):
    assert CliRunner().invoke(app, ["status", str(tmp_path / "none.toml")]).exit_code == 2
