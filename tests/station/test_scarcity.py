"""Memory and disk that run out are told in time; a process that has grown too large wants to start again."""

from __future__ import annotations

import pytest
from station_rig import Rig

from edge_inspector.datatypes import Reason
from edge_inspector.health.memory import Memory
from edge_inspector.health.vitals import Disk
from edge_inspector.interfaces import Vitals
from edge_inspector.station.booking import Booking
from edge_inspector.station.events import VitalsRead
from edge_inspector.station.scarcity import Level, Scarcity

GB = 10**9
OWN = 300_000_000


class Station:
    """What the station does about each reading: its events as (severity, code), and what it spares."""

    def __init__(self, rig: Rig) -> None:
        rig.recipe("r")
        self.told: list[tuple[str, str]] = []
        self.spares: list[bool] = []
        booking = Booking(rig.parts(), lambda kind, record: self.told.append((record.severity, record.code)))  # type: ignore[attr-defined]
        self.scarcity = Scarcity(booking, self.spares.append)

    def memory(self, *free_pct: float | None, own: int = OWN) -> None:
        for pct in free_pct:
            self.scarcity.read(VitalsRead(Vitals(), Disk(), Memory(pct, 8 * GB, own)))

    def disk(self, free_pct: float | None, inodes_pct: float | None = None) -> None:
        self.scarcity.read(VitalsRead(Vitals(), Disk(free_pct, inodes_pct), Memory()))


@pytest.fixture
def station(rig: Rig) -> Station:
    return Station(rig)


@pytest.mark.parametrize(
    ("readings", "levels"),
    [
        ([50, 10, 9.9, 10.5, 11.1], [0, 0, 1, 1, 0]),
        ([9, 5.9, 6.5, 7.1, 50], [1, 2, 2, 1, 0]),
        ([2.9, None, 3.5, 4.1], [3, 3, 3, 2]),
        ([None, 50], [0, 0]),
        ([2, 50], [3, 0]),
    ],
    ids=["a value that trembles", "each bound", "unknown changes nothing", "never known", "over at once"],
)
def test_a_level_begins_below_its_bound_and_ends_one_percent_above(
    readings: list[float | None], levels: list[int]
) -> None:
    level = Level((10.0, 6.0, 3.0))
    seen = []
    for reading in readings:
        level.read(reading)
        seen.append(level.now)
    assert seen == levels


def test_memory_is_told_when_it_is_low_and_given_back_when_it_is_short(station: Station) -> None:
    station.memory(50, 9)
    assert (station.told, station.spares) == ([("warning", "memory_low")], [])
    assert station.scarcity.warning == "9 % of the memory is free"
    station.memory(5)
    assert (station.told[-1], station.spares) == (("alarm", "memory_low"), [True])
    station.memory(5, 5, 8)
    assert (station.told[-1], station.spares) == (("warning", "memory_low"), [True, False])
    station.memory(50)
    assert (station.told[-1], station.spares) == (("info", "memory_again"), [True, False])
    assert station.scarcity.warning == ""


def test_a_process_that_has_taken_the_memory_wants_to_start_again_after_three_readings(station: Station) -> None:
    station.memory(50)
    station.memory(2, 2, own=OWN + 2 * GB + 1)
    assert station.scarcity.why_not() is None
    station.memory(2, own=OWN + 2 * GB + 1)
    assert station.scarcity.why_not() == (
        Reason.MACHINE, "2 % of the memory is free; the station starts again, which gives it back"
    )  # fmt: skip
    assert station.told == [("alarm", "memory_low"), ("alarm", "memory_spent")]
    station.memory(50, own=OWN)
    assert station.scarcity.spent is not None


@pytest.mark.parametrize("own", [OWN, OWN + 2 * GB], ids=["others took it", "a quarter and no more"])
def test_memory_that_others_have_taken_is_told_and_no_more(station: Station, own: int) -> None:
    station.memory(50)
    station.memory(*[2] * 10, own=own)
    assert station.scarcity.spent is None


def test_a_reading_in_between_that_is_better_begins_the_count_anew(station: Station) -> None:
    station.memory(50)
    station.memory(2, 2, 4.5, 2, 2, own=OWN + 3 * GB)
    assert station.scarcity.spent is None


def test_what_the_models_took_at_the_start_is_not_growth(station: Station) -> None:
    station.memory(50)
    station.scarcity.models_ready()
    station.memory(50, own=OWN + 3 * GB)
    station.memory(*[2] * 5, own=OWN + 4 * GB)
    assert station.scarcity.spent is None


@pytest.mark.parametrize(
    ("disk", "text"),
    [((2.0, 50.0), "2 % of the room"), ((50.0, 2.0), "2 % of the inodes"), ((None, 2.0), "2 % of the inodes"),
     ((2.0, None), "2 % of the room")],
)  # fmt: skip
def test_a_disk_is_as_full_as_the_scarcer_of_bytes_and_inodes(
    station: Station, disk: tuple[float | None, float | None], text: str
) -> None:
    station.disk(*disk)
    assert station.told == [("warning", "disk_low")]
    assert station.scarcity.warning == f"{text} on the state folder's disk is free"
    station.disk(0.5, 0.5)
    assert station.told[-1] == ("alarm", "disk_low")
    assert station.scarcity.why_not() is None
    station.disk(None, None)
    assert station.scarcity.warning != ""
    station.disk(50.0, 50.0)
    assert station.told[-1] == ("info", "disk_again")
    assert station.scarcity.warning == ""


def test_both_that_are_low_are_told_in_their_own_words(station: Station) -> None:
    station.memory(9)
    station.disk(2.0)
    assert station.told == [("warning", "memory_low"), ("warning", "disk_low")]
    assert station.scarcity.warning == "9 % of the memory is free"
