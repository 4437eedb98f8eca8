"""The simulated PLC against the real program: what each fault does, and that no bad part passes."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from real_station import OPCUA, RealStation, free_port, real_station
from typer.testing import CliRunner

from edge_inspector.cli.main import app
from edge_inspector.cli.plc_sim import EXIT_DISAGREEMENT
from edge_inspector.plc.function_block import FunctionBlock, Through, Verdict
from edge_inspector.plc_sim.faults import LATE_SCAN_S, LATE_WRITE_S, Faults
from edge_inspector.plc_sim.journal import NOT_ANNOUNCED, Journal
from edge_inspector.plc_sim.log import PlcBook, PlcLog, read_plc_log
from edge_inspector.plc_sim.opcua_wire import Access, OpcUaWire
from edge_inspector.plc_sim.plc import Glance, Line, SimulatedPlc, new_boot_id, new_count
from edge_inspector.plc_sim.proof import compare, settled_verdicts
from edge_inspector.store.books import VerdictRow, read_books

PARTS = 12
RECIPE = 7


@dataclass
class Plant:
    """The station, whose pictures are good and bad in turn, and where its PLC finds it."""

    station: RealStation
    endpoint: str

    @property
    def ledger(self) -> Path:
        return self.station.folder / "state" / "ledger.sqlite"


@dataclass
class Run:
    """What one run of the PLC left behind."""

    book: PlcBook
    rows: dict[str, VerdictRow]
    glances: list[Glance] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def whys(self) -> list[str]:
        return [part.why for part in self.book.gate if not part.passed]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    port = free_port()
    with real_station(tmp_path_factory.mktemp("station"), OPCUA.format(port=port), port) as station:
        yield Plant(station, f"opc.tcp://127.0.0.1:{port}/edge-inspector")


@pytest.fixture
def run(plant: Plant, tmp_path: Path) -> Callable[..., Run]:
    """Plays parts; every run must be good by the ledger's word, whatever the fault."""

    def play(
        faults: Faults | None = None,
        parts: int = PARTS,
        gate_s: float = 2.0,
        through: Through = "slot",
        one_read: bool = True,
        rate_hz: float = 50.0,
        keeps_moving: bool = False,
    ) -> Run:
        log = PlcLog(tmp_path / "plc.jsonl")
        glances: list[Glance] = []
        said: list[str] = []
        block = FunctionBlock(
            new_boot_id(), RECIPE, int(gate_s * 1e9), through=through, one_read=one_read, seq=new_count()
        )
        line = Line(parts, 1 / rate_hz, positions=3, cycle_s=0.01, keeps_moving=keeps_moving)
        wire, journal = OpcUaWire(plant.endpoint, Access()), Journal(log)
        plc = SimulatedPlc(wire, line, block, faults or Faults({}, 1), journal, said.append, glances.append)
        asyncio.run(plc.run())
        log.close()
        book = read_plc_log(tmp_path / "plc.jsonl")
        rows = settled_verdicts(plant.ledger, book)
        proof = compare(book, rows)
        assert proof.good, proof
        assert len(book.gate) == parts
        return Run(book, rows, glances, said)

    return play


def striking(fault: str, at: set[int], parts: int = PARTS) -> Faults:
    """A seed with which the fault strikes at just these parts, counted from 1."""
    share = len(at) / parts
    for seed in itertools.count():
        faults = Faults({fault: share}, seed)
        if {n for n in range(1, parts + 1) if faults.at_a_part()} == at:
            return Faults({fault: share}, seed)
    raise AssertionError


@pytest.mark.parametrize("through", ["slot", "ring"])
def test_without_faults_good_parts_pass_and_bad_ones_do_not(run: Callable[..., Run], through: Through) -> None:
    done = run(through=through)
    assert len(done.book.passed) == PARTS // 2
    assert set(done.whys) == {Verdict.NOT_OK.value}
    assert len(done.book.accepted) == len(done.book.results) == PARTS
    assert not any(told.wrong_part_id for told in done.book.results)
    assert {bool(told.result_id) for told in done.book.results} == {through == "slot"}


def test_the_last_glance_counts_every_part(run: Callable[..., Run]) -> None:
    done = run(parts=4)
    last = done.glances[-1]
    assert (last.fed, last.passed, last.rejected) == (4, 2, 2)
    assert last.last == f"{done.book.gate[-1].part_id} {done.book.gate[-1].why}"


def test_results_that_are_not_acknowledged_come_late_and_are_taken_later(run: Callable[..., Run]) -> None:
    done = run(striking("no-ack", {2}, 16), parts=16, gate_s=0.3)
    assert done.book.faults == {"no-ack": 1}
    assert done.book.without_result
    assert done.whys.count(Verdict.GATE_TIME.value) >= len(done.book.without_result)
    left_already = [told for told in done.book.results if told.round_trip_ms is None]
    assert left_already  # ... and acknowledged all the same:
    assert {told.trigger_seq for told in left_already} <= set(done.book.acknowledged)


def test_a_plc_whose_heartbeat_stops_is_not_served_and_a_belt_that_moves_on_rejects(run: Callable[..., Run]) -> None:
    parts = 36  # at 10 a second: the 3 s of silence, of which the station forgives 2, end before the last one
    done = run(striking("heartbeat-stop", {3}, parts), parts=parts, rate_hz=10.0, keeps_moving=True)
    assert NOT_ANNOUNCED in done.whys
    assert len(done.book.triggered) == parts - done.whys.count(NOT_ANNOUNCED)
    assert [glance for glance in done.glances if "not ready" in glance.text and "heartbeat" in glance.text.lower()]
    assert done.book.gate[-1].trigger_seq is not None


def test_a_restarted_plc_passes_nothing_that_it_has_on_its_belt(run: Callable[..., Run]) -> None:
    done = run(striking("restart", {5}))
    unknown = [part.part_id for part in done.book.gate if part.why == Verdict.UNKNOWN.value]
    assert done.book.part_ids[done.book.triggered[4]] in unknown
    assert len({part_id.split("-")[1] for part_id in done.book.part_ids.values()}) == 2  # two starts
    assert done.book.gate[-1].why != Verdict.UNKNOWN.value


def test_a_lost_connection_is_made_anew_and_costs_no_part(run: Callable[..., Run]) -> None:
    done = run(striking("lost-link", {3}))
    assert len(done.book.passed) == PARTS // 2
    assert [line.split(" ")[0] for line in done.said] == ["waiting", "linked"]


def test_an_ok_that_a_late_scan_reads_after_the_gate_time_does_not_pass(run: Callable[..., Run]) -> None:
    done = run(striking("late-scan", {1}), gate_s=LATE_SCAN_S - 0.2)
    first = done.book.results[0]
    assert first.round_trip_ms is not None
    assert first.round_trip_ms >= LATE_SCAN_S * 1e3
    assert done.book.gate[0].why in (Verdict.GATE_TIME.value, Verdict.NOT_OK.value)
    assert not done.book.gate[0].passed


def test_a_late_write_delays_the_part_and_changes_no_verdict(run: Callable[..., Run]) -> None:
    done = run(striking("late-write", {3}))
    trips = [told.round_trip_ms or 0.0 for told in done.book.results]
    assert trips[3] >= LATE_WRITE_S * 1e3
    assert len(done.book.passed) == PARTS // 2


def test_the_same_trigger_twice_is_one_part(run: Callable[..., Run], plant: Plant) -> None:
    before = read_books(plant.ledger).accepted
    done = run(striking("duplicate-trigger", {3, 6}))
    assert done.book.faults == {"duplicate-trigger": 2}
    assert read_books(plant.ledger).accepted - before == PARTS


def test_of_two_triggers_in_one_scan_the_first_is_missed_and_rejected(run: Callable[..., Run], plant: Plant) -> None:
    before = read_books(plant.ledger)
    done = run(striking("double-trigger", {4}))
    assert done.book.unanswered == (done.book.triggered[3],)
    assert done.whys.count(Verdict.NO_ANSWER.value) == 1
    after = read_books(plant.ledger)
    assert (after.accepted - before.accepted, after.refused - before.refused) == (PARTS - 1, 1)


@pytest.mark.parametrize("through", ["slot", "ring"])
def test_torn_scans_change_no_verdict(run: Callable[..., Run], through: Through) -> None:
    done = run(Faults({"torn-scans": 1.0}, 1), through=through, one_read=False)
    assert done.book.faults["torn-scans"] > PARTS
    assert len(done.book.passed) == PARTS // 2


def test_a_recipe_that_the_station_does_not_have_ends_it_before_any_part(plant: Plant, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*arguments(plant, tmp_path), "--recipe-no", str(RECIPE + 1)])
    assert done.exit_code == 2
    assert f"refuses recipe {RECIPE + 1}, reason 13" in done.output
    assert read_plc_log(tmp_path / "plc.jsonl").triggered == ()


def test_without_a_station_it_gives_up_and_says_where_it_looked(tmp_path: Path) -> None:
    endpoint = f"opc.tcp://127.0.0.1:{free_port()}/edge-inspector"
    log = str(tmp_path / "plc.jsonl")
    done = CliRunner().invoke(app, ["plc-sim", "--endpoint", endpoint, "--log", log, "--wait-s", "0.1"])
    assert done.exit_code == 2
    assert f"no station at {endpoint} for 0.1 s" in done.output


def arguments(plant: Plant, folder: Path, *more: str) -> list[str]:
    to = ["--endpoint", plant.endpoint, "--recipe-no", str(RECIPE), "--log", str(folder / "plc.jsonl")]
    return ["plc-sim", *to, "--parts", "4", "--rate", "50", *more]


def test_the_command_proves_by_ledger_and_truth_that_no_bad_part_passed(plant: Plant, tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"good": first_pictures(plant)}))
    done = CliRunner().invoke(app, arguments(plant, tmp_path, "--ledger", str(plant.ledger), "--truth", str(truth)))
    assert done.exit_code == 0, done.output
    assert "4 parts through the gate" in done.output
    assert "2 passed, 2 rejected" in done.output
    assert "bad parts passed: 0, wrong part ids: 0" in done.output
    assert "4 results compared, 0 disagreements" in done.output


def first_pictures(plant: Plant) -> list[bool]:
    """What the folder camera shows, in its order: 0.png good, 1.png bad, 2.png good, 3.png bad."""
    return [int(path.stem) % 2 == 0 for path in sorted((plant.station.folder / "pictures").iterdir())]


def test_the_command_ends_with_one_when_a_bad_part_has_passed(plant: Plant, tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    truth.write_text('{"good": [false]}')
    done = CliRunner().invoke(app, arguments(plant, tmp_path, "--ledger", str(plant.ledger), "--truth", str(truth)))
    assert done.exit_code == EXIT_DISAGREEMENT == 1, done.output
    assert "bad parts passed: 2" in done.output
    assert "its picture shows a bad part" in done.output


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--fault", "explode"], "fault 'explode' is not known"),
        (["--truth", "truth.json"], "--truth needs --ledger"),
        (["--policy", "Basic256Sha256"], "certificate and private key"),
        (["--password-file", "none.txt"], "none.txt"),
    ],
)
def test_a_wrong_argument_ends_with_two_and_says_what_to_do(
    plant: Plant, tmp_path: Path, more: list[str], says: str
) -> None:
    done = CliRunner().invoke(app, arguments(plant, tmp_path, *more))
    assert done.exit_code == 2
    assert says in done.output


def test_the_faults_are_listed(plant: Plant) -> None:
    done = CliRunner().invoke(app, ["plc-sim", "--fault", "list"])
    assert done.exit_code == 0
    assert "heartbeat-stop" in done.output
    assert "torn-scans" in done.output
