"""The program that talks to jtop, and how the station lives with it: it hangs, dies, and says None and old things."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from simulated_board import SimulatedBoard

from edge_inspector.errors import PowerError, RebootNeededError
from edge_inspector.health.power import jtop_child, jtop_process
from edge_inspector.health.power.jtop_control import STALE_S, JtopControl
from edge_inspector.health.power.jtop_process import JtopProcess
from edge_inspector.interfaces import PowerMode, PowerState

MODES = ["15W", "25W", "MAXN_SUPER", "7W"]
MODE_25W = PowerMode(1, "25W")
FULL: dict[str, Any] = {
    "uptime_s": 0.0,
    "mode": 1,
    "locked": True,
    "loads": [50.0],
    "total_mw": 7000,
    "rails_mw": {"VDD_SOC": 2000},
    "celsius": {"cpu": 61.0},
}


def program(tmp_path: Path, body: str) -> list[str]:
    """A stand-in for the program that talks to jtop: `said` is a request, `say` answers; `uptime` is now."""
    path = tmp_path / "stand_in.py"
    path.write_text(
        "import json, os, sys, time\n"
        "def say(said): print(json.dumps(said), flush=True)\n"
        "def uptime(): return time.clock_gettime(time.CLOCK_BOOTTIME)\n" + body
    )
    return [sys.executable, "-IS", str(path)]


def answering(tmp_path: Path, **changed: object) -> list[str]:
    """One that answers each request with these readings."""
    said = json.dumps({**FULL, **changed})
    fresh = "" if "uptime_s" in changed else "    said['uptime_s'] = uptime()\n"
    return program(
        tmp_path,
        f"said = json.loads({said!r})\nsay({{'ready': True}})\nfor line in sys.stdin:\n{fresh}    say(said)\n",
    )


def first_said(control: JtopControl) -> PowerState:
    """The state once the program has got through."""
    deadline = time.monotonic() + 20
    while not control._jtop._ready and time.monotonic() < deadline:
        control.state()
        time.sleep(0.005)
    return control.state()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A board of which only the table can be read."""
    board = SimulatedBoard(tmp_path)
    (tmp_path / "bare").mkdir()
    (board.root / "etc").rename(tmp_path / "bare/etc")
    return tmp_path / "bare"


def test_what_jtop_says_is_told_where_the_machine_says_nothing(bare: Path, tmp_path: Path) -> None:
    with closing(JtopControl(bare, 5.0, answering(tmp_path))) as control:
        assert control.state() == PowerState()  # it is not waited for
        assert first_said(control) == PowerState(
            mode=MODE_25W,
            clocks_locked=True,
            gpu_load=0.5,
            total_w=7.0,
            rails_w={"VDD_SOC": 2.0},
            temperatures_c={"cpu": 61.0},
        )


def test_the_mode_in_nvpmodels_own_file_goes_before_jtops_which_is_older(tmp_path: Path) -> None:
    board = SimulatedBoard(tmp_path)
    with closing(JtopControl(board.root, 5.0, answering(tmp_path, mode=1))) as control:
        state = first_said(control)
    assert (state.mode, state.clocks_locked, state.gpu_load) == (PowerMode(0, "15W"), True, 0.5)
    assert state.rails_w == {"VDD_IN": 9.0, "VDD_CPU_GPU_CV": 4.5}


@pytest.mark.parametrize(
    "changed",
    [
        dict.fromkeys(FULL) | {"uptime_s": None},
        {"uptime_s": float("nan")},
        {"uptime_s": 1e12},  # another machine's, or none that could be
        {"uptime_s": 1.0},  # since a second after boot it has read nothing
        {name: None for name in FULL if name != "uptime_s"},
        {
            "mode": 9,
            "locked": "yes",
            "loads": [-1, 101, "x", None],
            "total_mw": 0,
            "rails_mw": [],
            "celsius": {"a": -256},
        },
        {"mode": True, "locked": 1, "loads": None, "total_mw": float("nan"), "rails_mw": {"a": -1}, "celsius": 5},
    ],
    ids=["nothing", "no time", "the future", "stale", "None", "impossible", "wrong kinds"],
)
def test_none_old_and_impossible_values_are_unknown(bare: Path, tmp_path: Path, changed: Mapping[str, object]) -> None:
    with closing(JtopControl(bare, 5.0, answering(tmp_path, **changed))) as control:
        state = first_said(control)
    assert state == PowerState()


def test_values_are_told_until_they_are_stale(bare: Path, tmp_path: Path) -> None:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    with closing(JtopControl(bare, 5.0, answering(tmp_path, uptime_s=now - STALE_S + 3))) as control:
        assert first_said(control).gpu_load == 0.5
    with closing(JtopControl(bare, 5.0, answering(tmp_path, uptime_s=now - STALE_S - 0.1))) as control:
        assert first_said(control).gpu_load is None


@pytest.mark.heavy
@pytest.mark.parametrize(
    "body",
    [
        "say({'ready': True})\nsys.stdin.readline()\ntime.sleep(600)",
        "say({'ready': True})\nsys.stdin.readline()\nsys.exit(1)",
        "say({'ready': True})\nsys.stdin.readline()\nprint('no JSON', flush=True)\ntime.sleep(600)",
        "say({'ready': True})\nsys.stdin.readline()\nsay([1])\ntime.sleep(600)",
        "say({'ready': True})\nsys.stdin.readline()\nsay({'trouble': 'service gone', 'lost': True})\ntime.sleep(600)",
        "say({'ready': True})\nsys.stdin.close()\ntime.sleep(600)",
    ],
    ids=["hangs", "dies", "no JSON", "a list", "lost", "deaf"],
)
def test_a_program_that_fails_is_ended_and_the_board_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr("edge_inspector.health.power.jtop_control.READ_S", 0.1)
    board = SimulatedBoard(tmp_path)
    with closing(JtopControl(board.root, 5.0, program(tmp_path, body))) as control:
        assert first_said(control).gpu_load == 0.423
        assert control._jtop._process is None
        assert control.state().mode == PowerMode(0, "15W")
        assert control._jtop._process is None  # not started again at each reading


def test_a_program_that_was_lost_is_started_again_after_a_while(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jtop_process, "AGAIN_S", 0.05)
    again = tmp_path / "again"
    body = (
        f"say({{'ready': True}})\nif not os.path.exists({str(again)!r}):\n"
        f"    open({str(again)!r}, 'w').close()\n    sys.exit(1)\n"
        f"for line in sys.stdin:\n    say({{**{FULL!r}, 'uptime_s': uptime()}})\n"
    )
    with closing(JtopControl(bare, 5.0, program(tmp_path, body))) as control:
        deadline = time.monotonic() + 20
        while control.state().gpu_load is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_program_that_never_gets_through_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jtop_process, "START_S", 0.05)
    with closing(JtopProcess(program(tmp_path, "time.sleep(600)"))) as jtop:
        assert jtop.reading(0.1) is None
        time.sleep(0.06)
        assert jtop.reading(0.1) is None
        assert jtop._process is None
        with pytest.raises(PowerError, match="hangs at the start"):
            jtop.order({"clocks": True}, 5.0)


def test_an_order_waits_for_a_program_that_is_still_starting_within_its_own_time(tmp_path: Path) -> None:
    with closing(JtopProcess(program(tmp_path, "time.sleep(600)"))) as jtop:
        with pytest.raises(PowerError, match="has not got through to jtop's service"):
            jtop.order({"clocks": True}, 0.1)
        assert jtop._process is None


def test_an_order_that_is_not_carried_out_says_why_and_the_program_stays(tmp_path: Path) -> None:
    body = "say({'ready': True})\nfor line in sys.stdin:\n    say({'trouble': 'jetson_clocks is booting'})\n"
    with closing(JtopProcess(program(tmp_path, body))) as jtop:
        with pytest.raises(PowerError, match=r"^jetson_clocks is booting$"):
            jtop.order({"clocks": True}, 5.0)
        assert jtop._process is not None


def test_a_program_that_has_lost_the_service_is_not_kept(tmp_path: Path) -> None:
    body = "say({'ready': True})\nfor line in sys.stdin:\n    say({'trouble': 'service gone', 'lost': True})\n"
    with closing(JtopProcess(program(tmp_path, body))) as jtop:
        with pytest.raises(PowerError, match=r"^service gone$"):
            jtop.order({"clocks": True}, 20.0)
        assert jtop._process is None


def test_an_order_does_not_meet_a_program_that_has_died_since_the_last_reading(tmp_path: Path) -> None:
    """jtop's service was restarted by an upgrade, say: the first order after it must not fail for that."""
    second = tmp_path / "second"
    body = (
        f"say({{'ready': True}})\nsys.stdin.readline()\nsay({FULL!r})\n"
        f"if not os.path.exists({str(second)!r}):\n    open({str(second)!r}, 'w').close()\n    sys.exit(1)\n"
        f"for line in sys.stdin:\n    say({FULL!r})\n"
    )
    with closing(JtopProcess(program(tmp_path, body))) as jtop:
        jtop.order({"clocks": True}, 20.0)
        assert jtop._process is not None
        jtop._process.wait(20)
        jtop.order({"clocks": False}, 20.0)


def test_an_order_that_hangs_ends_with_its_time(tmp_path: Path) -> None:
    body = "say({'ready': True})\nsys.stdin.readline()\ntime.sleep(600)"
    with closing(JtopProcess(program(tmp_path, body))) as jtop:
        with pytest.raises(PowerError, match="has not answered within"):
            jtop.order({"mode": 1, "name": "25W"}, 0.3)
        assert jtop._process is None


def test_a_python_without_jtop_says_what_to_install() -> None:
    jtop = JtopProcess([sys.executable, "-IS", jtop_child.__file__])
    with closing(jtop), pytest.raises(PowerError, match=r"pip install 'edge-inspector\[jetson\]'"):
        jtop.order({"clocks": True}, 20.0)


def test_a_program_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    with closing(JtopProcess([str(tmp_path / "nothing")])) as jtop:
        assert jtop.reading(0.1) is None
        with pytest.raises(PowerError, match="cannot be started"):
            jtop.order({"clocks": True}, 1.0)


def test_the_program_ends_with_the_station_that_asked_it(tmp_path: Path) -> None:
    jtop = JtopProcess(program(tmp_path, "say({'ready': True})\nsys.stdin.read()\n"))
    jtop.reading(0.0)
    process = jtop._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0
    jtop.close()
    jtop.close()


def test_a_mode_that_switches_other_parts_of_the_gpu_off_is_never_ordered(tmp_path: Path) -> None:
    board = SimulatedBoard(tmp_path)
    control = JtopControl(board.root, 5.0, program(tmp_path, f"open({str(tmp_path / 'asked')!r}, 'w')"))
    with closing(control), pytest.raises(RebootNeededError, match="power mode 3 7W needs a reboot"):
        control.set_mode(PowerMode(3, "7W"))
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    ("status", "gpu", "says"),
    [
        ("pmode:0000", "612000000", "was reported as set, but the board is in 0 15W"),
        ("pmode:0001", "1020000000", "is what jtop says, but .*17000000.gpu/max_freq is 1020000000"),
    ],
)
def test_what_jtop_reports_as_set_must_be_so(tmp_path: Path, status: str, gpu: str, says: str) -> None:
    board = SimulatedBoard(tmp_path)
    board.write("var/lib/nvpmodel/status", status)
    board.write("sys/class/devfreq/17000000.gpu/max_freq", gpu)
    with closing(JtopControl(board.root, 5.0, answering(tmp_path))) as control, pytest.raises(PowerError, match=says):
        control.set_mode(MODE_25W)


class FakeClient:
    """jtop's client as the program sees it: a service that is `slow` readings behind, and that may refuse."""

    def __init__(self, *, slow: int = 1, refuses: bool = False, locked: bool = False, config: bool = True) -> None:
        self.slow, self.refuses = slow, refuses
        self.readings, self.wanted, self.wanted_at = 0, 0, 0
        self.nvpmodel: Any = SimpleNamespace(
            models=list(MODES), id=0, is_running=lambda: False, set_nvpmodel_id=self._order
        )
        self.jetson_clocks: Any = _Clocks(locked, config)
        self.power: Any = {"rail": {"VDD_SOC": {"power": 2000}}, "tot": {"power": 7000}}
        self.temperature: Any = {"cpu": {"temp": 61.0, "online": True}, "cv0": {"temp": -256, "online": False}}
        self.gpu: Any = {"gpu": {"status": {"load": 50.0}}}
        self.uptime = timedelta(seconds=12.5)
        self.silent = False

    def ok(self, spin: bool = False) -> bool:
        if not spin:
            self.readings += 1
        if not self.refuses and self.readings >= self.wanted_at + self.slow:
            self.nvpmodel.id = self.wanted
            self.jetson_clocks.arrive()
        return not self.silent

    def _order(self, number: int) -> None:
        self.wanted, self.wanted_at = number, self.readings


class _Clocks:
    def __init__(self, locked: bool, config: bool) -> None:
        self.locked, self.wanted, self.config, self.status = locked, locked, config, "inactive"

    def __bool__(self) -> bool:
        return self.locked

    def is_config(self) -> bool:
        return self.config

    def set_enable(self, locked: bool) -> None:
        self.wanted = locked

    def arrive(self) -> None:
        self.locked = self.wanted


READ = {
    "uptime_s": 12.5,
    "mode": 0,
    "locked": False,
    "loads": [50.0],
    "total_mw": 7000,
    "rails_mw": {"VDD_SOC": 2000},
    "celsius": {"cpu": 61.0},
}


def test_the_program_tells_what_the_client_has() -> None:
    assert jtop_child.answer(FakeClient(), {}) == READ


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("nvpmodel", None, {"mode": None}),
        ("jetson_clocks", None, {"locked": None}),
        ("power", {}, {"total_mw": None, "rails_mw": {}}),
        ("power", None, {"total_mw": None, "rails_mw": {}}),
        ("temperature", {}, {"celsius": {}}),
        ("gpu", {}, {"loads": []}),
        ("gpu", {"gpu": {}}, {"loads": [None]}),
    ],
)
def test_what_the_client_does_not_have_is_none(name: str, value: object, changed: dict[str, object]) -> None:
    client = FakeClient()
    setattr(client, name, value)
    said = jtop_child.reading(client)
    assert said == {**READ, **changed}
    json.dumps(said)


def test_a_mode_is_set_when_the_service_says_so_some_readings_later() -> None:
    client = FakeClient(slow=3)
    assert jtop_child.answer(client, {"mode": 1, "name": "25W"})["mode"] == 1


def test_a_service_that_is_at_it_is_waited_for_however_long_it_takes() -> None:
    client = FakeClient(slow=2 * jtop_child.SETTLED)
    client.nvpmodel.is_running = lambda: client.readings < client.slow
    assert jtop_child.answer(client, {"mode": 1, "name": "25W"})["mode"] == 1


def test_clocks_that_are_locked_already_need_nobody() -> None:
    client = FakeClient(locked=True)
    client.jetson_clocks.status = "uncontrolled"
    assert jtop_child.answer(client, {"clocks": True})["locked"] is True


@pytest.mark.parametrize(
    ("client", "request_", "says"),
    [
        (FakeClient(), {"mode": 1, "name": "30W"}, "jtop's service has the modes ['15W', '25W'"),
        (FakeClient(), {"mode": 4, "name": "25W"}, "expected '25W' at 4"),
        (FakeClient(refuses=True), {"mode": 1, "name": "25W"}, "has not set power mode 1 25W"),
        (FakeClient(locked=True, config=False), {"mode": 1, "name": "25W"}, "locked by somebody else"),
        (FakeClient(refuses=True), {"clocks": True}, "has not locked the clocks"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_told(
    client: FakeClient, request_: Mapping[str, Any], says: str
) -> None:
    assert says in jtop_child.answer(client, request_)["trouble"]


@pytest.mark.parametrize("status", ["booting", "activating", "deactivating", "uncontrolled"])
def test_clocks_that_the_service_does_not_touch_now_are_told(status: str) -> None:
    client = FakeClient()
    client.jetson_clocks.status = status
    assert f"jetson_clocks is {status}" in jtop_child.answer(client, {"clocks": True})["trouble"]


def test_a_machine_without_clocks_or_modes_says_so() -> None:
    client = FakeClient()
    client.jetson_clocks = None
    assert "no jetson_clocks" in jtop_child.answer(client, {"clocks": True})["trouble"]
    client.nvpmodel = None
    assert "the modes []" in jtop_child.answer(client, {"mode": 0, "name": "15W"})["trouble"]


def test_a_service_that_does_not_know_its_mode_is_not_ordered() -> None:
    client = FakeClient()
    del client.nvpmodel.id  # jtop: 'NoneType' object is not subscriptable
    assert "does not know" in jtop_child.answer(client, {"mode": 1, "name": "25W"})["trouble"]


def test_a_service_that_falls_silent_during_a_change_is_a_lost_one() -> None:
    client = FakeClient(slow=2)
    client.silent = True
    with pytest.raises(EOFError):
        jtop_child.answer(client, {"mode": 1, "name": "25W"})


def test_the_program_itself_runs_with_a_client_and_keeps_its_answers_apart_from_what_that_prints(
    tmp_path: Path,
) -> None:
    (tmp_path / "jtop.py").write_text(
        "class JtopException(Exception): pass\n"
        "class jtop:\n"
        "    def __init__(self, interval): print('hello from a library')\n"
        "    def start(self): raise JtopException('The jtop.service is not active.\\nPlease run')\n"
    )
    command = (
        f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r});"
        f" runpy.run_path({jtop_child.__file__!r}, run_name='__main__')"
    )
    jtop = JtopProcess([sys.executable, "-IS", "-c", command])
    with closing(jtop), pytest.raises(PowerError, match=r"^jtop: The jtop\.service is not active\. Please run$"):
        jtop.order({"clocks": True}, 20.0)
