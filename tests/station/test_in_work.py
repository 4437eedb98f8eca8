"""The order in which a verdict leaves: flight record, PLC, flight record again; a kill in between loses nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from order_rig import JumpingClock, put, quiet_line
from station_rig import FakeLink, Rig

from edge_inspector.datatypes import Frame, InspectionResult, Picture, Reason
from edge_inspector.interfaces import (
    LinkState,
    Order,
    OrderAnswer,
    PlcMessage,
    RecipeRequest,
    TriggerAccepted,
    TriggerRequest,
)
from edge_inspector.station.events import CameraUp, Exposed, FromPlc, Ordered, PostedPictures, SettingDone, ViewFailed

pytestmark = pytest.mark.anyio
FIRST_SLOT = 64
TRIGGER, VERDICT, TOLD = 1, 3, 4


class WatchingLink(FakeLink):
    """Notes what stands in the flight record's first slot when it is told something of the part."""

    def __init__(self, record: Path) -> None:
        super().__init__()
        self.record = record
        self.seen: list[tuple[str, int]] = []

    async def tell(self, message: PlcMessage) -> None:
        if isinstance(message, TriggerAccepted | InspectionResult):
            self.seen.append((type(message).__name__, self.state()))
        await super().tell(message)

    def state(self) -> int:
        return self.record.read_bytes()[FIRST_SLOT]


class Keeper:
    """Notes whose each picture is."""

    def __init__(self) -> None:
        self.owners: dict[int, int | None] = {}
        self.results: list[int] = []

    def offer(self, picture: Picture, frame: Frame) -> None: ...
    def belongs(self, picture: Picture, seq: int) -> None:
        self.owners[picture.number] = seq

    def nobody(self, picture: Picture) -> None:
        self.owners[picture.number] = None

    def settled(self, result: InspectionResult) -> None:
        self.results.append(result.trigger.seq)


async def test_who_keeps_pictures_hears_of_each_whose_it_is_also_when_it_is_nobodys(rig: Rig) -> None:
    """Otherwise a camera's buffer would be held for ever."""
    rig.recipe("r", trigger="line", deadline_ms=60_000)
    keeper = Keeper()
    async with quiet_line(rig, JumpingClock()) as line:
        line.pictures._keepers = (keeper,)
        for number in range(1, 66):  # one more than the flight record holds: that part cannot be accepted
            await line.handle(Exposed(Picture("a", number), None, "r", time.monotonic_ns()))
        await line.work.settle_all(Reason.ABORTED, "aborted")
        assert line._acceptance.own_trigger_seq == 65, "what is not accepted has had no number"
    assert keeper.owners == {**{n: n for n in range(1, 65)}, 65: None}
    assert sorted(keeper.results) == list(range(1, 65))


async def test_the_flight_record_is_ahead_of_the_plc_and_says_when_it_was_told(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=60_000)
    rig.link = link = WatchingLink(rig.folder / "flight.bin")
    async with quiet_line(rig, JumpingClock()) as line:
        await line.handle(FromPlc(link, TriggerRequest(1, "part", time.monotonic_ns(), 9)))
        await line.handle(Exposed(Picture("a", 1), 1, "r", time.monotonic_ns()))
        await line.handle(ViewFailed(Picture("a", 1), 1, Reason.NO_FRAME, "none"))
        assert link.seen == [("TriggerAccepted", TRIGGER), ("InspectionResult", VERDICT)]
        assert link.state() == TOLD
        assert (line.work.parts_of, line.work.settled, line.work.exposing) == ({}, {}, {}), "nothing of it is kept"


async def test_a_posted_picture_stands_in_the_flight_record_with_its_verdict_and_is_never_told(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=60_000)
    rig.link = link = WatchingLink(rig.folder / "flight.bin")
    answers: list[OrderAnswer] = []
    async with quiet_line(rig, JumpingClock()) as line:
        await line.handle(Ordered(Order("inspect", "anna", {"pictures": {"a": put(rig)}}), answers.append))
        failed = ViewFailed(Picture("a", -1), None, Reason.BAD_FRAME, "dark")
        await line.handle(PostedPictures((failed,), ""))
        line.manual.turn()
        assert [answer.facts["reason"] for answer in answers] == ["bad_frame"]
        assert (link.seen, link.state()) == ([], VERDICT)


async def test_a_late_view_is_the_last_that_is_kept_of_its_part(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=60_000)
    async with quiet_line(rig, JumpingClock()) as line:
        await line.handle(FromPlc(rig.link, TriggerRequest(1, "part", time.monotonic_ns(), 9)))
        await line.work.settle_all(Reason.ABORTED, "aborted")
        assert list(line.work.settled) == [1]
        await line.handle(Exposed(Picture("a", 1), 1, "r", time.monotonic_ns()))
        await line.handle(ViewFailed(Picture("a", 1), 1, Reason.NO_FRAME, "none"))
        assert (line.work.parts_of, line.work.settled, line.work.exposing) == ({}, {}, {})


async def test_a_result_that_no_plc_can_read_any_more_is_never_counted_as_told(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=60_000)
    async with quiet_line(rig, JumpingClock()) as line:
        await line.handle(FromPlc(rig.link, TriggerRequest(1, "part", time.monotonic_ns(), 9)))
        await line.handle(FromPlc(rig.link, LinkState(alive=True, plc_boot_id=10)))
        await line.work.settle_all(Reason.ABORTED, "aborted")
        said = line.parts.metrics.openmetrics().decode()
    assert "edge_inspector_told_seconds_count 0.0\n" in said
    assert "edge_inspector_results_untold_total 1.0\n" in said


async def test_a_camera_that_triggers_itself_fills_the_station_to_its_last_place(rig: Rig) -> None:
    rig.recipe("r", trigger="line", deadline_ms=60_000)
    async with quiet_line(rig, JumpingClock()) as line:
        for number in range(1, 7):
            await line.handle(Exposed(Picture("a", number), None, "r", time.monotonic_ns()))
        assert list(line.work.open) == [1, 2, 3, 4], "max_open = 4; the others are UNDEFINED at once"


async def test_pictures_that_another_recipe_passed_over_are_no_lost_parts(rig: Rig) -> None:
    rig.recipe("r", trigger="line", number=1, deadline_ms=60_000)
    rig.recipe("s", cameras=("b",), number=2)
    async with quiet_line(rig, JumpingClock()) as line:
        await line.handle(CameraUp("a", 2, "line"))
        await line.handle(Exposed(Picture("a", 1), None, "r", time.monotonic_ns(), 1))
        for number in (2, 1):
            await line.handle(FromPlc(rig.link, RecipeRequest(number, number, "")))
            for camera in "ab":
                await line.handle(SettingDone(camera, line.condition.asked[camera], ""))
        await line.handle(Exposed(Picture("a", 2), None, "r", time.monotonic_ns(), 9))
        assert list(line.work.open) == [1, 2]
        await line.handle(Exposed(Picture("a", 3), None, "r", time.monotonic_ns(), 11))
        assert list(line.work.open) == [1, 2, 4], "the lost one is UNDEFINED already"
