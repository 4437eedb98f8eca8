"""PLC links of the station: links that dial come and go, one master commands, results are booked as told or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from station_rig import FakeLink, Rig

from edge_inspector.control import Control
from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason
from edge_inspector.errors import OutputError
from edge_inspector.health.memory import Memory
from edge_inspector.health.vitals import Disk, read_vitals
from edge_inspector.interfaces import (
    CommandAnswer,
    CommandRequest,
    ExposureDone,
    LinkState,
    PartFeedback,
    PlcMessage,
    PlcRequest,
    RecipeAnswer,
    RecipeRequest,
    ResultWritten,
    StationStatus,
    TriggerAccepted,
    TriggerRefused,
    Vitals,
)
from edge_inspector.station import daemon
from edge_inspector.station.booking import Booking
from edge_inspector.store.flight import FlightRecord
from edge_inspector.store.ledger import connect_read_only

pytestmark = pytest.mark.anyio


class Dialled(FakeLink):
    """A link to a PLC that may be away; it says `ResultWritten` only when the test lets it."""

    dials = True

    def __init__(self) -> None:
        super().__init__()
        self.away = asyncio.Event()
        self.opened = 0
        self.confirm = True

    async def __aenter__(self) -> Dialled:
        self.opened += 1
        if self.away.is_set():
            raise OutputError("PLC at 10.0.0.1 does not answer")
        return self

    async def receive(self) -> PlcRequest:
        request = asyncio.ensure_future(self._requests.get())
        lost = asyncio.ensure_future(self.away.wait())
        try:
            await asyncio.wait({request, lost}, return_when=asyncio.FIRST_COMPLETED)
            if request.done():
                return request.result()
            raise OutputError("PLC at 10.0.0.1 is gone")
        finally:
            request.cancel()
            lost.cancel()

    async def tell(self, message: PlcMessage) -> None:
        await super().tell(message)
        if isinstance(message, InspectionResult) and self.confirm:
            self.ask(ResultWritten((message.result_id,), message.settled_ns + 1_000_000))


@asynccontextmanager
async def running(rig: Rig, *links: FakeLink, master: str = "plc") -> AsyncIterator[None]:
    """The station with these links while the block lasts."""
    control = Control(rig.folder / "c.sock")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, replace(rig.parts(), links=links, master=master), control)
        try:
            yield
        finally:
            control.stop()


async def test_a_result_that_a_dialling_link_has_written_is_booked_as_told(rig: Rig) -> None:
    rig.recipe("r")
    link = Dialled()
    async with running(rig, link):
        await link.ready()
        link.trigger(1)
        await link.result(1)
    assert [row.told for row in rig.rows()] == [True]
    assert rig.books().balanced


async def test_a_result_that_never_reached_the_plc_is_booked_as_not_told_at_the_end(rig: Rig) -> None:
    rig.recipe("r")
    link = Dialled()
    link.confirm = False
    async with running(rig, link):
        await link.ready()
        link.trigger(1)
        await link.result(1)
        link.away.set()
        await link.until(StationStatus, lambda s: s.warning)
    assert [row.told for row in rig.rows()] == [False]
    assert rig.books().balanced


async def test_a_result_for_a_plc_that_has_restarted_is_booked_as_not_told(rig: Rig) -> None:
    rig.recipe("r")
    link = Dialled()
    link.confirm = False
    async with running(rig, link):
        await link.ready()
        link.trigger(1)
        told = await link.result(1)
        link.ask(LinkState(alive=True, plc_boot_id=told.trigger.plc_boot_id + 1))
        link.ask(ResultWritten((told.result_id,), told.settled_ns))
        link.ask(CommandRequest(1, 5))
        await link.until(CommandAnswer)
    assert [row.told for row in rig.rows()] == [False]


async def test_a_plc_that_restarts_while_its_part_is_in_work_is_not_told_whatever_its_ring_shows(rig: Rig) -> None:
    rig.recipe("r")
    link = Dialled()
    async with running(rig, link):
        await link.ready()
        rig.backend.slow.set()
        link.trigger(1)
        link.ask(LinkState(alive=True, plc_boot_id=999))
        link.ask(CommandRequest(1, 5))
        await link.until(CommandAnswer)
        rig.backend.slow.clear()
        await link.result(1)  # the link says that it is written: in the ring, where it is of another start
        link.ask(CommandRequest(2, 5))
        await link.until(CommandAnswer, lambda answer: answer.seq == 2)
    assert [row.told for row in rig.rows()] == [False]
    assert rig.books().balanced


@pytest.mark.parametrize("away", [0, 1])
async def test_a_part_that_the_station_numbers_is_told_when_any_link_has_written_it(rig: Rig, away: int) -> None:
    rig.recipe("r", trigger="timer", period_s=0.05)
    links = [Dialled(), Dialled()]
    links[1].name = "second"
    links[away].confirm = False
    links[away].away.set()
    async with running(rig, *links, master=""):
        await links[0].until(InspectionResult)
        await links[0].until(InspectionResult, lambda r: r.trigger.seq == 3)
    assert {row.told for row in rig.rows()} == {True}
    assert rig.books().balanced


async def test_a_part_that_the_station_numbers_is_told_where_one_link_need_not_dial(rig: Rig) -> None:
    rig.recipe("r", trigger="timer", period_s=0.05)
    served, dialled = FakeLink(), Dialled()
    dialled.name = "dialled"
    dialled.confirm = False
    async with running(rig, served, dialled, master=""):
        await served.until(InspectionResult)
        dialled.away.set()
    assert {row.told for row in rig.rows()} == {True}


async def test_a_written_result_is_told_in_the_flight_record_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed before the ledger has it on disk must not book later that nobody was told."""
    told: list[int] = []
    monkeypatch.setattr(FlightRecord, "told", lambda _self, slot: told.append(slot))
    rig.recipe("r")
    link = Dialled()
    async with running(rig, link):
        await link.ready()
        link.trigger(1)
        await link.result(1)
        link.ask(CommandRequest(1, 5))
        await link.until(CommandAnswer)
    assert len(told) == 1


async def test_only_the_link_that_asked_can_have_written_a_result(rig: Rig) -> None:
    rig.recipe("r")
    link, other = Dialled(), Dialled()
    other.name = "other"
    link.confirm = False
    async with running(rig, link, other):
        await link.ready()
        link.trigger(1)
        await link.result(1)
        link.away.set()
    assert [row.told for row in rig.rows()] == [False]


async def test_a_plc_whose_link_was_down_for_a_moment_is_still_told(rig: Rig) -> None:
    rig.recipe("r")
    link = Dialled()
    link.confirm = False
    async with running(rig, link):
        await link.ready()
        link.trigger(1)
        told = await link.result(1)
        link.ask(LinkState(alive=False, plc_boot_id=told.trigger.plc_boot_id))
        link.ask(ResultWritten((told.result_id,), told.settled_ns))
    assert [row.told for row in rig.rows()] == [True]


async def test_for_one_untold_result_too_many_the_oldest_is_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_inspector.station.links._MOST_UNTOLD", 2)
    given_up: list[str] = []
    monkeypatch.setattr(Booking, "not_told", lambda _self, result: given_up.append(result.result_id))
    rig.recipe("r")
    link = Dialled()
    link.confirm = False
    async with running(rig, link):
        await link.ready()
        told = []
        for seq in (1, 2, 3):
            link.trigger(seq)
            told.append((await link.result(seq)).result_id)
            await link.ready()
        assert given_up == told[:1]
        link.away.set()
    assert given_up == told


async def test_a_result_written_after_its_deadline_is_an_event(rig: Rig) -> None:
    rig.recipe("r")
    link = Dialled()
    link.confirm = False
    async with running(rig, link):
        await link.ready()
        link.trigger(1)
        told = await link.result(1)
        link.ask(ResultWritten((told.result_id,), told.trigger.deadline_ns + 2_000_000))
        link.ask(CommandRequest(1, 5))
        await link.until(CommandAnswer)
    assert rig.events("told_late") == [f"{told.result_id}: OK told 2.0 ms after its deadline"]


async def test_a_plc_that_is_away_is_dialled_again_and_the_station_lives_on(rig: Rig) -> None:
    rig.recipe("r")
    link = Dialled()
    link.away.set()
    async with running(rig, link):
        assert (await link.until(StationStatus, lambda s: s.ready)).warning
        link.away.clear()
        await link.until(StationStatus, lambda s: s.ready and not s.warning)
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK
    assert link.opened >= 2
    assert rig.events("plc_away") == ["plc: PLC at 10.0.0.1 does not answer"]


async def test_only_the_master_triggers_selects_and_commands(rig: Rig) -> None:
    rig.recipe("r")
    master, other = FakeLink(), FakeLink()
    other.name = "hmi"
    async with running(rig, master, other):
        await master.ready()
        other.trigger(7)
        assert await other.until(TriggerRefused) == TriggerRefused(7, Reason.WRONG_MASTER)
        other.ask(RecipeRequest(1, 1, ""))
        assert not (await other.until(RecipeAnswer)).accepted
        other.ask(CommandRequest(1, 2))
        assert (await other.until(CommandAnswer)).result == 2
        master.trigger(8)
        await master.until(TriggerAccepted)
        assert (await other.result(8)).evaluation is Evaluation.OK
    assert not [m for m in master.told if isinstance(m, (TriggerRefused, RecipeAnswer, CommandAnswer))]
    assert not [m for m in other.told if isinstance(m, TriggerAccepted)]


async def test_beside_a_master_no_other_link_is_ready_for_triggers(rig: Rig) -> None:
    rig.recipe("r")
    master, other = FakeLink(), FakeLink()
    other.name = "hmi"
    async with running(rig, master, other):
        await master.ready()
        master.ask(CommandRequest(1, 5))
        await master.until(CommandAnswer)
        assert [s.recipe_ready for s in other.told if isinstance(s, StationStatus)][-1]
        assert not any(s.ready for s in other.told if isinstance(s, StationStatus))


async def test_only_the_plc_that_asked_hears_that_its_part_was_exposed(rig: Rig) -> None:
    """Two PLCs may be at the same number."""
    rig.recipe("r")
    master, other = FakeLink(), FakeLink()
    other.name = "hmi"
    async with running(rig, master, other):
        await master.ready()
        master.trigger(1)
        await master.until(ExposureDone)
        await other.result(1)
    assert not [one for one in other.told if isinstance(one, ExposureDone | TriggerAccepted)]


async def test_a_heartbeat_that_was_away_for_a_moment_is_no_restart_of_the_plc(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.trigger(1)
        link.ask(LinkState(alive=False, plc_boot_id=9))
        link.ask(CommandRequest(1, 5))
        await link.until(CommandAnswer)
        rig.backend.slow.clear()
        await link.result(1)
    assert [row.told for row in rig.rows()] == [True]


async def test_a_recipe_is_answered_after_what_it_makes_of_ready(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        link.ask(RecipeRequest(1, 99, ""))
        await link.until(RecipeAnswer)
        before = link.told[: link.told.index(RecipeAnswer(1, accepted=False, reason=Reason.RECIPE))]
        assert not [m for m in before if isinstance(m, StationStatus)][-1].recipe_ready


async def test_golden_parts_are_inspected_in_golden_mode_until_automatic_is_selected(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        link.ask(CommandRequest(1, 8))
        await link.until(StationStatus, lambda s: s.mode is Mode.GOLDEN)
        link.trigger(1)
        assert (await link.result(1)).trigger.mode is Mode.GOLDEN
        link.ask(CommandRequest(2, 3))
        await link.until(CommandAnswer, lambda a: a.seq == 2)
        await link.status(lambda s: s.mode is Mode.PRODUCTION and s.ready)
        link.trigger(2)
        assert (await link.result(2)).trigger.mode is Mode.PRODUCTION


async def test_bad_parts_in_a_row_ask_for_a_line_stop_until_it_is_acknowledged(rig: Rig) -> None:
    rig.recipe("r")
    rig.line_stop_after = 2
    rig.cameras["a"].damaged = True
    async with rig.running() as link:
        for seq in (1, 2):
            await link.ready()
            link.trigger(seq)
            await link.result(seq)
        assert (await link.status(lambda s: s.line_stop != 0)).alarm
        link.ask(CommandRequest(1, 9))
        link.ask(CommandRequest(2, 1))
        await link.status(lambda s: not s.line_stop and not s.alarm)
    assert [text.partition(" in a row")[0] for text in rig.events("line_stop")] == ["2 parts"]


async def test_feedback_on_a_part_is_booked(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        link.ask(PartFeedback(5, 9, good=False))
        link.ask(CommandRequest(1, 5))
        await link.until(CommandAnswer)
    with closing(connect_read_only(rig.ledger)) as book:
        assert book.execute("SELECT trigger_seq, plc_boot_id, good FROM feedback").fetchall() == [(5, 9, 0)]


async def test_the_links_are_told_how_the_machine_is(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        vitals = await link.until(Vitals)
    assert vitals.disk_free_pct is not None
    assert 0 < vitals.disk_free_pct <= 100


def test_the_hottest_sensor_counts_and_impossible_values_do_not(tmp_path: Path) -> None:
    for number, text in enumerate(["45500\n", "61250\n", "-256000\n", "off"]):
        zone = tmp_path / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "temp").write_text(text)
    assert read_vitals(Disk(), Memory(), tmp_path).temp_c == 61.25
    assert read_vitals(Disk(), Memory(), tmp_path / "gone") == Vitals()
