"""Shifts in local time, through both changes of the clock, and parts of a clock that was not set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_inspector.datatypes import Refusal, Trigger
from edge_inspector.errors import ConfigError
from edge_inspector.store.book_file import connect_read_only
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.periods import Period, between, parsed, shift_of, shifts_in
from edge_inspector.store.reading import utc_text
from edge_inspector.store.records import BookRefusal, BookTrigger
from edge_inspector.store.settings import LedgerSettings

BERLIN = ZoneInfo("Europe/Berlin")
THREE = ("06:00", "14:00", "22:00")
TIMES = st.from_regex(r"([01][0-9]|2[0-3]):[0-5][0-9]", fullmatch=True)


@pytest.mark.parametrize(
    ("moment", "since", "until", "label"),
    [
        pytest.param(
            "2026-11-22T10:00:00Z", "2026-11-22T05:00:00.000Z", "2026-11-22T13:00:00.000Z",
            "Sun 2026-11-22 06:00-14:00", id="winter, one hour before UTC",
        ),
        pytest.param(
            "2026-07-01T10:00:00Z", "2026-07-01T04:00:00.000Z", "2026-07-01T12:00:00.000Z",
            "Wed 2026-07-01 06:00-14:00", id="summer, two hours before UTC",
        ),
        pytest.param(
            "2026-11-22T02:00:00Z", "2026-11-21T21:00:00.000Z", "2026-11-22T05:00:00.000Z",
            "Sat 2026-11-21 22:00-06:00", id="the night belongs to the evening before",
        ),
        pytest.param(
            "2026-11-22T05:00:00Z", "2026-11-22T05:00:00.000Z", "2026-11-22T13:00:00.000Z",
            "Sun 2026-11-22 06:00-14:00", id="its first moment belongs to a shift",
        ),
        pytest.param(
            "2026-03-29T00:30:00Z", "2026-03-28T21:00:00.000Z", "2026-03-29T04:00:00.000Z",
            "Sat 2026-03-28 22:00-06:00", id="the night with seven hours",
        ),
        pytest.param(
            "2026-10-25T00:30:00Z", "2026-10-24T20:00:00.000Z", "2026-10-25T05:00:00.000Z",
            "Sat 2026-10-24 22:00-06:00", id="the night with nine hours",
        ),
    ],
)  # fmt: skip
def test_a_shift_is_eight_hours_of_the_local_clock(moment: str, since: str, until: str, label: str) -> None:
    assert shift_of(parsed(moment), THREE, BERLIN) == Period(label, since, until, clock=True)


def test_one_begin_a_day_makes_shifts_of_a_day() -> None:
    shift = shift_of(parsed("2026-11-22T04:59:59Z"), ("06:00",), BERLIN)
    assert (shift.since, shift.until) == ("2026-11-21T05:00:00.000Z", "2026-11-22T05:00:00.000Z")


@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(timezone.utc)),
    st.lists(TIMES, min_size=1, max_size=5),
    st.sampled_from([BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo"), ZoneInfo("Australia/Lord_Howe")]),
)
def test_every_moment_lies_in_one_shift_and_the_next_begins_where_it_ends(
    moment: datetime, starts: list[str], zone: ZoneInfo
) -> None:
    shift = shift_of(moment, starts, zone)
    assert shift.has(utc_text(moment), clock_synced=True)
    assert not shift.has(utc_text(moment), clock_synced=False)
    assert shift.until is not None
    assert shift_of(parsed(shift.until), starts, zone).since == shift.until
    assert shift.since is not None
    assert shift_of(parsed(shift.since) - timedelta(milliseconds=1), starts, zone).until == shift.since


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize("month", [3, 7, 10, 11])
def test_the_machines_own_zone_is_what_the_named_one_is(month: int) -> None:
    for hour in range(24 * 31):
        moment = datetime(2026, month, 1, tzinfo=timezone.utc) + timedelta(hours=hour)
        assert shift_of(moment, THREE) == shift_of(moment, THREE, BERLIN)


def test_shifts_without_an_entry_are_left_out_and_an_unset_clock_comes_last(
    tmp_path: Path, trigger: Callable[..., Trigger], refusal: Callable[..., Refusal]
) -> None:
    with Ledger(tmp_path / "ledger.sqlite", []) as ledger:
        ledger.submit(BookTrigger(None, trigger(1, wall_utc="1970-01-01T00:00:09.000Z", clock_synced=False)))
        ledger.submit(BookTrigger(None, trigger(2, wall_utc="2026-11-20T10:00:00.000Z")))
        ledger.submit(BookTrigger(None, trigger(3, wall_utc="2026-11-20T12:59:59.999Z")))
        ledger.submit(BookRefusal(None, refusal(wall_utc="2026-11-22T22:00:00.000Z")))
        ledger.close()
        ledger.run()
    with closing(connect_read_only(tmp_path / "ledger.sqlite")) as connection:
        everything = list(shifts_in(connection, between(None, None), THREE, BERLIN))
        later = between(parsed("2026-11-21T00:00:00Z"), None)
        assert [one.label for one in shifts_in(connection, later, THREE, BERLIN)] == ["Sun 2026-11-22 22:00-06:00"]
        earlier = between(None, parsed("2026-11-21T00:00:00Z"))
        assert [one.label for one in shifts_in(connection, earlier, THREE, BERLIN)] == ["Fri 2026-11-20 06:00-14:00"]
    labels = [one.label for one in everything]
    assert labels == ["Fri 2026-11-20 06:00-14:00", "Sun 2026-11-22 22:00-06:00", "clock not set"]


def test_a_refusal_of_a_run_without_a_clock_is_in_no_shift(
    tmp_path: Path, trigger: Callable[..., Trigger], refusal: Callable[..., Refusal]
) -> None:
    """A clock with a battery that nobody has set shows a time that looks true."""
    with Ledger(tmp_path / "ledger.sqlite", []) as ledger:
        ledger.submit(BookTrigger(None, trigger(1, clock_synced=False)))
        ledger.submit(BookRefusal(None, refusal()))
        ledger.close()
        ledger.run()
    with closing(connect_read_only(tmp_path / "ledger.sqlite")) as connection:
        assert [one.label for one in shifts_in(connection, between(None, None), THREE)] == ["clock not set"]


def test_an_empty_time_is_refused() -> None:
    moment = parsed("2026-11-22T06:00:00Z")
    with pytest.raises(ConfigError, match="empty"):
        between(moment, moment)


def test_a_shift_that_begins_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="06:00 is there twice"):
        LedgerSettings.model_validate({"shifts": ["06:00", "14:00", "06:00"]})
    assert LedgerSettings.model_validate({"shifts": ["14:00", "06:00"]}).shifts == ("14:00", "06:00")
