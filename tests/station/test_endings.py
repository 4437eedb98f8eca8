"""However a station ends: with an error that systemd answers, within a bounded time, and the first error is told."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from order_rig import begun, quiet_line
from station_rig import FakeCamera, FakeLink, Rig

from edge_inspector.control import Control
from edge_inspector.datatypes import Frame, InspectionResult
from edge_inspector.health.clock import SystemClock
from edge_inspector.health.notify import Notifier
from edge_inspector.interfaces import PlcMessage, StationStatus
from edge_inspector.station import daemon
from edge_inspector.station.events import Died

pytestmark = pytest.mark.anyio


class Dead(Exception):
    """What a thread dies of."""


class Broken(FakeLink):
    """No result can be told to its PLC: a bug."""

    async def tell(self, message: PlcMessage) -> None:
        if isinstance(message, InspectionResult):
            raise LookupError("a bug in the link")  # noqa: TRY004 - it is no question of types
        await super().tell(message)


class Dying(FakeCamera):
    """Its first picture ends its thread."""

    def grab(self, timeout_s: float) -> Frame | None:
        if timeout_s:
            raise Dead("of a picture")
        return None


class Said(Notifier):
    """What the service manager is told before the station is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, float]] = []

    def starting(self, text: str, within_s: float) -> None:
        self.said.append((text, within_s))

    def ready(self) -> None:
        self.said.append(("READY", 0.0))


def inside(error: BaseException) -> list[BaseException]:
    """The errors in the groups that task groups make."""
    return [one for each in getattr(error, "exceptions", ()) for one in inside(each)] or [error]


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), asyncio.CancelledError(), Dead("of a bug")])
async def test_whatever_a_thread_dies_of_is_an_error_of_the_station(rig: Rig, error: BaseException) -> None:
    """A vendor's library that calls sys.exit() in a thread of ours is not a stop that somebody wanted."""
    rig.recipe("r")
    seen: BaseException | None = None
    async with quiet_line(rig, SystemClock()) as line:
        try:
            await line.handle(Died("camera-a", error))
        except BaseException as exc:  # noqa: BLE001 - this is the question
            seen = exc
    assert isinstance(seen, Exception)
    assert seen is error or "camera-a" in str(seen)
    assert error in (seen, seen.__cause__)


async def test_an_error_in_the_last_words_does_not_hide_the_first_one_and_the_plc_hears_that_it_is_over(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.cameras["a"] = Dying("a")
    rig.recipe("r")
    rig.link = link = Broken()
    ends: list[float] = []

    async def patient() -> None:
        await link.ready()
        link.trigger(1)

    seen: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(patient)
            await daemon.run(rig.parts(), Control(rig.folder / "c.sock"), end_within=ends.append)
    except Exception as exc:  # noqa: BLE001 - what ends a station is of any kind
        seen = exc
    assert seen is not None
    assert [type(one) for one in inside(seen)] == [Dead]
    assert "a bug in the link" in capsys.readouterr().out
    last = [message for message in link.told if isinstance(message, StationStatus)][-1]
    assert (last.ready, last.busy) == (False, False), "it has heard of the end of its part, too"
    assert ends == [daemon.DRAIN_S]


async def test_a_stop_is_bounded_from_its_first_moment(rig: Rig) -> None:
    rig.recipe("r")
    parts = rig.parts()
    ends: list[float] = []
    control = Control(rig.folder / "c.sock")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: daemon.run(parts, control, end_within=ends.append))
        await begun(rig)
        await rig.link.ready()
        assert ends == []
        control.stop()
    assert ends == [parts.limits.stop_timeout_s + daemon.DRAIN_S, daemon.DRAIN_S]


async def test_a_start_that_has_large_books_to_open_asks_for_its_time_and_is_ready_last(rig: Rig) -> None:
    rig.recipe("r")
    notifier, control = Said(), Control(rig.folder / "c.sock")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: daemon.run(rig.parts(), control, notifier))
        await begun(rig)
        await rig.link.ready()
        control.stop()
    (text, within_s), *more = notifier.said
    assert (text, within_s) == ("the books are being opened", daemon.OPEN_S)
    assert more == [("READY", 0.0)]
