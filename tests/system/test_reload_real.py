"""The real program reads its station file again: what the PLC sees, and what stands in the books."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import networks
import pytest
from fault_record import FaultBook
from modbus_plc import ModbusPlc, wired
from real_station import RealStation, free_port
from typer.testing import CliRunner, Result

from edge_inspector import config
from edge_inspector.cli.main import app
from edge_inspector.config import StationConfig, StationFileError, last_good
from edge_inspector.config.reload import changed_keys
from edge_inspector.control import ControlClient
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.interfaces import Order, OrderAnswer
from edge_inspector.plc.function_block import Verdict
from edge_inspector.store.books import read_books

pytestmark = [pytest.mark.system, pytest.mark.anyio]
PLC = """\
[recipes.spots.thresholds]
bright = 0.5
dark = 0.5
[plc.line]
type = "modbus_server"
host = "127.0.0.1"
port = {port}
"""
FUZZ = """\
[recipes.spots.adaptive]
policy = "guarded"
window = 120
[recipes.lids]
number = 8
deadline_ms = 900.0
bundle = "little"
views = [{ camera = "cam", roi = { x = 0, y = 0, width = 48, height = 48 } }]
[[recipes.lids.rules]]
kind = "tolerate"
name = "small"
classes = ["bright"]
[[line_rules]]
kind = "consecutive"
name = "row"
parts = 5
[ledger]
keep_days = 30
[images]
max_gb = 1.0
[log]
level = "info"
"""
KNOBS = ("bright = ", "dark = ", "window = ", "parts = ", "keep_days = ", "max_gb = ", "deadline_ms = ")
WORDS = (
    "0",
    "-1",
    "1e999",
    "nan",
    "true",
    '""',
    '"x"',
    "[]",
    "{}",
    "99999999999999999999",
    '"\\u0000"',
    '"plc"',
    "0.75",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def station(tmp_path: Path, port: int) -> RealStation:
    return RealStation(tmp_path, PLC.format(port=port))


class ServiceManager:
    """What systemd hears of the station."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self._heard: list[str] = []

    @property
    def states(self) -> list[str]:
        """READY and RELOADING, in their order."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._heard += self._socket.recv(4096).decode().splitlines()
        return [one for one in self._heard if one in ("READY=1", "RELOADING=1")]

    @property
    def begun_usec(self) -> int:
        """When the last reload began, on CLOCK_MONOTONIC."""
        return int([one for one in self._heard if one.startswith("MONOTONIC_USEC=")][-1].partition("=")[2])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    made = ServiceManager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield made
    made.close()


def end(station: RealStation) -> None:
    if station.process is not None and station.process.poll() is None:
        station.kill()


def edit(station: RealStation, before: str, after: str) -> None:
    text = station.file.read_text()
    assert before in text
    station.file.write_text(text.replace(before, after))


async def reload(station: RealStation) -> Result:
    """`edge-inspector reload`, which has an event loop of its own."""
    return await anyio.to_thread.run_sync(partial(CliRunner().invoke, app, ["reload", str(station.file)]))


def rows(station: RealStation, query: str) -> list[Any]:
    with closing(sqlite3.connect(station.folder / "state" / "ledger.sqlite")) as ledger:
        return ledger.execute(query).fetchall()


async def test_the_next_part_is_judged_by_what_the_file_says_now_and_a_refused_file_changes_nothing(
    station: RealStation, port: int, manager: ServiceManager
) -> None:
    station.start()
    try:
        station.wait_until_listening(port)
        async with wired(port) as wire:
            plc = ModbusPlc(wire, 7)
            await plc.ready()
            assert await plc.verdict(await plc.part("good")) is Verdict.PASS
            assert await plc.verdict(await plc.part("bad")) is Verdict.NOT_OK
            edit(station, "= 0.5", "= 1.0")
            assert station.process is not None
            assert manager.states == ["READY=1"]
            ordered_usec = time.monotonic_ns() // 1000
            station.process.send_signal(signal.SIGHUP)
            station.wait("the reload is over", lambda: manager.states == ["READY=1", "RELOADING=1", "READY=1"])
            assert ordered_usec < manager.begun_usec < time.monotonic_ns() // 1000
            assert await plc.verdict(await plc.part("good")) is Verdict.PASS
            assert await plc.verdict(await plc.part("bad")) is Verdict.PASS, "no score is over 1"
            good = station.file.read_text()
            edit(station, "= 1.0", "= 0.5")
            edit(station, "warm_up_runs = 1", "warm_up_runs = 2")
            refused = await reload(station)
            assert (refused.exit_code, refused.stdout) == (7, "")
            assert refused.stderr.splitlines()[1:] == ["  backend.warm_up_runs"]
            edit(station, "number = 7", "number = 0")
            broken = await reload(station)
            assert broken.exit_code == 2
            assert "recipes.spots.number" in broken.stderr
            station.process.send_signal(signal.SIGHUP)
            station.wait("the file is refused", lambda: station.said.count("reload_refused") == 2)
            assert await plc.verdict(await plc.part("good")) is Verdict.PASS
            assert await plc.verdict(await plc.part("bad")) is Verdict.PASS
        assert (station.folder / "state" / last_good.NAME).read_text() == good
        assert station.stop() == 0
        again = station.start().process
        assert again is not None
        assert again.wait(30) == 2
        assert f"cp {station.folder / 'state' / last_good.NAME} {station.file}" in station.said
    finally:
        end(station)
    audit = rows(station, "SELECT who, what, detail FROM audit ORDER BY id")
    assert (
        "signal",
        "reloaded",
        "2 keys taken over: recipes.spots.thresholds.bright, recipes.spots.thresholds.dark",
    ) in [tuple(row) for row in audit]
    assert [who.partition(" (")[0] for who, what, _ in audit if what == "reload_refused"] == ["root", "signal"]


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_parts_that_come_while_the_file_changes_again_and_again_are_judged_by_one_of_the_files(
    station: RealStation, port: int
) -> None:
    networks.bundle("yolo", station.folder / "other", seed=3)
    one = station.file.read_text()
    other = one.replace('"little"', '"other"').replace("= 0.5", "= 0.7")
    limits_only = one.replace("= 0.5", "= 0.6")
    client = ControlClient(station.folder / "state" / "run" / "control.sock", 60.0)
    reloads, judged = 0, 0
    station.start()
    try:
        station.wait_until_listening(port)
        async with wired(port) as wire:
            plc = ModbusPlc(wire, 7)
            await plc.ready()

            async def turn() -> None:
                nonlocal reloads
                while True:
                    for text in (other, one, limits_only, one):
                        station.file.write_text(text)
                        answer = await client.order_async(Order("reload", "turn"))
                        assert answer.done, answer
                        reloads += 1

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(turn)
                while reloads < 60:
                    await plc.ready()
                    await plc.verdict(await plc.part(f"part {judged}"))
                    judged += 1
                tasks.cancel_scope.cancel()
        assert station.stop() == 0
    finally:
        end(station)
    books = read_books(station.folder / "state" / "ledger.sqlite")
    assert books.balanced
    assert books.accepted >= 20
    found = {tuple(row) for row in rows(station, "SELECT DISTINCT model_hash, thresholds FROM results")}
    ours, theirs = (load_bundle(station.folder / name).model_hash for name in ("little", "other"))
    assert {(model, json.loads(said)[0]) for model, said in found} == {(ours, 0.5), (theirs, 0.7), (ours, 0.6)}


class Mutant:
    """A station file as a hurried person, a script or a failing disk would leave it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def of(self, text: str) -> str:
        if self._random.random() < 0.3:
            return self._turned(text)
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            text = self._once(text)
        return text

    def _turned(self, text: str) -> str:
        """A knob that may be turned while the line runs."""
        pick, lines = self._random, text.splitlines(keepends=True)
        nth = pick.choice([nth for nth, line in enumerate(lines) if line.startswith(KNOBS)])
        key = lines[nth].partition(" = ")[0]
        value = pick.choice((round(pick.random(), 3), pick.randrange(2, 1000)))
        lines[nth] = f"{key} = {value}\n"
        return "".join(lines)

    def _once(self, text: str) -> str:
        pick, lines = self._random, text.splitlines(keepends=True)
        if not lines:
            return text
        nth = pick.randrange(len(lines))
        key, equals, _ = lines[nth].partition(" = ")
        match pick.randrange(7):
            case 0:
                del lines[nth]
            case 1:
                lines.insert(pick.randrange(len(lines)), lines[nth])
            case 2 if equals:
                lines[nth] = f"{key} = {pick.choice(WORDS)}\n"
            case 3 if equals:
                lines[nth] = f"{key} = {round(pick.random(), 3)}\n"
            case 4:
                at = pick.randrange(len(text))
                return text[:at] + chr(pick.choice((0, 10, 34, 91, 93, 123, 233, 0x10FFFF))) + text[at:]
            case 5:
                return text[: pick.randrange(len(text))]
            case _:
                other = pick.randrange(len(lines))
                lines[nth], lines[other] = lines[other], lines[nth]
        return "".join(lines)


def taken_over(running: StationConfig, file: Path) -> StationConfig | None:
    """What the file says if a running station may take it, None = it must be refused."""
    try:
        read = config.load(file)
    except StationFileError:
        return None
    _, fixed = changed_keys(running, read)
    return None if fixed else read


def limits(running: StationConfig) -> dict[str, list[float]]:
    """By recipe what the file says of the classes that it knows; the bundle says 0.5 of the others."""
    return {name: [one.thresholds.get(c, 0.5) for c in ("bright", "dark")] for name, one in running.recipes.items()}


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
async def test_faults_a_file_edited_to_nonsense_is_taken_over_whole_or_not_at_all(
    station: RealStation, port: int, seed: int, fault: FaultBook
) -> None:
    with station.file.open("a") as file:
        file.write(FUZZ)
    good = station.file.read_text()
    mutant, taken, refused = Mutant(seed), 0, 0
    client = ControlClient(station.folder / "state" / "run" / "control.sock", 60.0)
    station.start()
    try:
        station.wait_until_listening(port)
        async with wired(port) as wire:
            plc = ModbusPlc(wire, 7)
            await plc.ready()
            running = config.load(station.file)
            for number in range(100):
                station.file.write_text(good if number % 4 == 3 else mutant.of(good), errors="surrogatepass")
                answer: OrderAnswer = await client.order_async(Order("reload", "fuzz"))
                wanted = taken_over(running, station.file)
                assert not (answer.done and wanted is None), (station.file.read_text(), answer)
                assert answer.done or number % 4 != 3, answer
                taken, refused = taken + answer.done, refused + (not answer.done)
                running = wanted if answer.done and wanted is not None else running
                now = (await client.order_async(Order("thresholds", "fuzz"))).facts["recipes"]
                assert {name: one["fixed"][:2] for name, one in now.items()} == limits(running)
                if number % 20 == 3:
                    await plc.ready()
                    assert await plc.verdict(await plc.part("any")) in (Verdict.PASS, Verdict.NOT_OK)
        assert station.stop() == 0
    finally:
        end(station)
    assert taken > 25 + 5
    assert refused > 30
    books = read_books(station.folder / "state" / "ledger.sqlite")
    assert books.balanced
    fault.tell(
        32,
        injected=f"the station file mutated at random and reloaded 100 times (seed {seed})",
        saw=f"READY after each; {refused} files refused as a whole, {taken} taken over as a whole",
        books=f"{books.accepted} parts accepted and booked; each refusal in events and audit trail",
    )
