"""The real jtop service and client of jetson-stats on a simulated board: `make test-all SUITE=jtop`, as root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import site
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from simulated_board import CPU_KHZ, GPU_HZ, SimulatedBoard

from edge_inspector.errors import PowerError, RebootNeededError
from edge_inspector.health.power.jtop_control import JtopControl
from edge_inspector.health.power.jtop_process import JtopProcess, child_command
from edge_inspector.interfaces import PowerMode, PowerState

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]
TESTS = Path(__file__).parents[1]
VERSION = "7.2.2"
UP_S = 20.0
MODE_25W = PowerMode(1, "25W")
NOBODY = 65534


@pytest.fixture(scope="session")
def python() -> Path:
    """A Python with jetson-stats beside everything that this one has: installed once into a cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-inspector"
    folder = cache / f"jtop-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    made = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=120)
        command = [str(made), "-m", "pip", "install", "-q", "--no-input", f"jetson-stats=={VERSION}"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        if "No matching distribution" in done.stderr or "Could not find" in done.stderr:
            pytest.skip(f"jetson-stats {VERSION} cannot be had here: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr[-2000:]
        (folder / "installed").touch()
    ours = next((folder / "lib").glob("python*")) / "site-packages" / "station.pth"
    ours.write_text("\n".join([str(TESTS.parent), *site.getsitepackages()]) + "\n")
    return made


class Room:
    """A machine that is a Jetson; whatever is run in it meets the real jtop service."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.board = SimulatedBoard(folder)
        self.folder, self.python = folder, python
        _as_jtop_has_it(self.board)
        command = ["unshare", "-m", "bash", str(TESTS / "jtop_room.sh"), str(folder), str(python)]
        self._log = (folder / "room.log").open("w")
        self._room = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, bufsize=1
        )
        self.inside = ["nsenter", "-t", str(self._room.pid), "-m"]
        assert self._said() == "up", (folder / "room.log").read_text()

    def service(self) -> int:
        """Start jtop's service and wait until it serves; its process number."""
        assert self._room.stdin is not None
        self._room.stdin.write("service\n")
        pid = int(self._said().split()[1])
        deadline = time.monotonic() + UP_S
        while subprocess.run([*self.inside, "test", "-S", "/run/jtop.sock"], check=False).returncode != 0:
            assert time.monotonic() < deadline, (self.folder / "service.log").read_text()[-3000:]
            time.sleep(0.1)
        return pid

    def control(self, timeout_s: float = 40.0) -> JtopControl:
        """A control outside, whose program for jtop runs inside."""
        return JtopControl(self.board.root, timeout_s, [*self.inside, *child_command(str(self.python))])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The real program, inside."""
        command = [*self.inside, str(self.python), "-m", "edge_inspector", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=90)

    def close(self) -> None:
        _end_group(self.folder / "service.pid")
        self._room.communicate(timeout=20)
        self._log.close()

    def _said(self) -> str:
        assert self._room.stdout is not None
        return self._room.stdout.readline().strip()


def _end_group(file: Path) -> None:
    if file.exists():
        try:
            os.killpg(int(file.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            return


def _as_jtop_has_it(board: SimulatedBoard) -> None:
    """What jtop reads besides, in the places where it looks."""
    for name in ("sys_vendor", "product_name", "board_name", "board_vendor", "bios_version"):
        board.write(f"sys/devices/virtual/dmi/id/{name}", "Simulated")
    board.write("sys/devices/system/cpu/online", "0-5")
    policy = board.root / "sys/devices/system/cpu/cpufreq/policy0"
    for name, value in (("scaling_cur_freq", 729_600), ("cpuinfo_min_freq", 115_200), ("cpuinfo_cur_freq", 729_600)):
        (policy / name).write_text(f"{value}\n")
    (policy / "cpuinfo_max_freq").write_text(f"{CPU_KHZ['MAXN_SUPER']}\n")
    (policy / "scaling_governor").write_text("schedutil\n")
    for core in range(6):
        (board.root / f"sys/devices/system/cpu/cpu{core}/cpufreq").symlink_to("../cpufreq/policy0")
    (board.root / "sys/devices/virtual/thermal").symlink_to("../../class/thermal")
    monitor = board.root / "sys/bus/i2c/devices/1-0040"
    board.write("sys/bus/i2c/devices/1-0040/name", "ina3221")
    shutil.copytree(board.root / "sys/class/hwmon/hwmon1", monitor / "hwmon" / "hwmon1")


@pytest.fixture
def room(tmp_path: Path, python: Path) -> Iterator[Room]:
    if os.geteuid() != 0:
        pytest.skip("a mount namespace takes root")
    made = Room(tmp_path, python)
    try:
        yield made
    finally:
        made.close()


def said_by_jtop(control: JtopControl) -> PowerState:
    """The first state in which jtop has a part: its GPU load is one that /sys has not."""
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline:
        state = control.state()
        if state.temperatures_c.get("cpu") is not None:
            return state
        time.sleep(0.1)
    raise AssertionError("jtop has said nothing")


def test_what_the_real_service_reads_fills_in_what_this_machine_does_not_say(room: Room) -> None:
    room.service()
    own = SimulatedBoard(room.folder / "bare")
    shutil.rmtree(own.root / "sys")
    with closing(JtopControl(own.root, 30.0, [*room.inside, *child_command(str(room.python))])) as control:
        state = said_by_jtop(control)
    assert state.mode == PowerMode(0, "15W")
    assert state.clocks_locked is False
    assert state.gpu_load == 0.423
    assert state.total_w == 9.0
    assert state.rails_w == {"VDD_CPU_GPU_CV": 4.5}
    assert state.temperatures_c == {"cpu": 51.687, "gpu": 48.5}


def test_modes_and_clocks_are_set_through_the_real_service(room: Room) -> None:
    room.service()
    with closing(room.control()) as control:
        control.set_mode(MODE_25W)
        assert room.board.mode == "25W"
        control.set_clocks(True)
        assert room.board.clocks == (str(GPU_HZ["25W"]), str(GPU_HZ["25W"]))
        control.set_mode(PowerMode(2, "MAXN_SUPER"))
        assert room.board.mode == "MAXN_SUPER"
        control.set_clocks(False)
        assert control.state().mode == PowerMode(2, "MAXN_SUPER")


def test_the_real_program_sets_and_shows_the_mode_of_the_board(room: Room) -> None:
    room.service()
    done = room.run("power", "set", "25W", "--through", "jtop")
    assert (done.returncode, done.stdout) == (0, "power mode 1 25W, clocks follow the load\n"), done.stderr
    shown = json.loads(room.run("power", "show", "--json").stdout)
    assert shown["mode"] == {"number": 1, "name": "25W"}
    assert shown["set"] == "jtop"
    refused = room.run("power", "set", "7W")
    assert refused.returncode == 2
    assert "7W needs a reboot" in refused.stderr


def test_a_mode_with_another_mask_is_told_as_a_reboot_which_the_service_drops_in_silence(room: Room) -> None:
    room.service()
    with closing(room.control()) as control, pytest.raises(RebootNeededError, match="3 7W needs a reboot"):
        control.set_mode(PowerMode(3, "7W"))
    assert room.board.mode == "15W"


@pytest.mark.parametrize("fault", ["exit", "reboot", "reverts"])
def test_a_change_that_the_real_service_could_not_make_is_told(room: Room, fault: str) -> None:
    room.service()
    room.board.fault(fault)
    with closing(room.control()) as control:
        with pytest.raises(PowerError, match="jtop's service has not set power mode 1 25W"):
            control.set_mode(MODE_25W)
        room.board.fault()
        control.set_mode(MODE_25W)
    assert room.board.mode == "25W"


def test_a_tool_that_lies_to_the_real_service_does_not_lie_to_us(room: Room) -> None:
    room.service()
    room.board.fault("lies")
    with closing(room.control()) as control, pytest.raises(PowerError, match="is what jtop says, but /sys/"):
        control.set_mode(MODE_25W)


def test_a_tool_that_hangs_in_the_real_service_holds_the_caller_for_its_time_out_only(room: Room) -> None:
    room.service()
    with closing(room.control(timeout_s=4.0)) as control:
        said_before = control.state()
        room.board.fault("hang")
        began = time.monotonic()
        with pytest.raises(PowerError, match="has not answered within"):
            control.set_mode(MODE_25W)
        assert time.monotonic() - began < 30
        assert control.state().mode == said_before.mode


def test_a_service_that_was_killed_leaves_the_board_readable_and_is_used_again_when_it_is_back(room: Room) -> None:
    pid = room.service()
    with closing(room.control()) as control:
        control.set_mode(MODE_25W)
        os.killpg(pid, signal.SIGKILL)
        with pytest.raises(PowerError):
            control.set_mode(PowerMode(0, "15W"))
        state = control.state()
        assert (state.mode, state.gpu_load) == (MODE_25W, 0.423)
        room.service()
        control.set_mode(PowerMode(0, "15W"))
        assert room.board.mode == "15W"


def test_a_service_that_hangs_is_not_waited_for(room: Room) -> None:
    pid = room.service()
    with closing(room.control(timeout_s=3.0)) as control:
        control.set_mode(MODE_25W)
        os.killpg(pid, signal.SIGSTOP)
        try:
            with pytest.raises(PowerError):
                control.set_mode(PowerMode(0, "15W"))
            assert control.state().mode == MODE_25W
        finally:
            os.killpg(pid, signal.SIGCONT)


def test_values_that_a_hanging_service_left_behind_are_not_told(room: Room) -> None:
    """jtop's client hands the last values out again; they are stale five seconds later."""
    pid = room.service()
    own = SimulatedBoard(room.folder / "bare")
    shutil.rmtree(own.root / "sys")
    with closing(JtopControl(own.root, 30.0, [*room.inside, *child_command(str(room.python))])) as control:
        assert said_by_jtop(control).gpu_load == 0.423
        reader = int((room.folder / "service.pid").read_text())
        child = _reader_of(reader)
        os.kill(child, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + 20
            while control.state().gpu_load is not None:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            os.kill(child, signal.SIGCONT)
    assert pid == reader


def test_a_user_who_is_not_in_jtops_group_is_told_so(room: Room) -> None:
    room.service()
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]  # this Python may lie in root's home
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reads]
    reading = JtopProcess([*room.inside, *user, *child_command(str(room.python))])
    with closing(reading), pytest.raises(PowerError, match=r"can't access jtop\.service"):
        reading.order({"clocks": True}, 20.0)


def test_without_a_service_the_reason_says_what_to_do(room: Room) -> None:
    with closing(room.control()) as control, pytest.raises(PowerError, match=r"jtop\.service is not active"):
        control.set_mode(MODE_25W)


def _reader_of(service: int) -> int:
    """The process of the service that reads the board: its server of values is another one."""
    children = Path(f"/proc/{service}/task/{service}/children").read_text().split()
    return int(max(children, key=int))
