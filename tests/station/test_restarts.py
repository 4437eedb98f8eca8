"""Starts that fail one after the other wait longer and longer, and say why."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_inspector.errors import ConfigError
from edge_inspector.health.notify import Notifier, ServiceManager
from edge_inspector.station.restarts import FILE, NO_WORD, Restarts, wait_s


class Heard(Notifier):
    """Remembers what the service manager is told while a start waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def starting(self, text: str, within_s: float) -> None:
        self.waits.append(text)


class Pause:
    """A wait that is over at once."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, seconds: float) -> None:
        self.seconds += seconds


def started(folder: Path | None) -> tuple[Restarts, float]:
    """A start, and for how long it waited."""
    restarts, pause = Restarts(folder), Pause()
    restarts.begin(Heard(), pause)
    return restarts, pause.seconds


@pytest.mark.parametrize(
    ("failed", "seconds"),
    [(0, 0.0), (1, 0.0), (2, 1.0), (3, 2.0), (4, 4.0), (7, 32.0), (8, 60.0), (9, 60.0), (10**6, 60.0)],
)
def test_each_failed_start_doubles_the_wait_up_to_a_minute_for_ever(failed: int, seconds: float) -> None:
    assert wait_s(failed) == seconds


def test_a_killed_start_counts_as_failed_and_the_next_ones_wait(tmp_path: Path) -> None:
    assert [started(tmp_path)[1] for _ in range(6)] == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0]


def test_a_start_that_turned_out_well_is_forgotten_and_a_kill_after_it_is_the_first_failure(tmp_path: Path) -> None:
    for _ in range(5):
        restarts, _ = started(tmp_path)
    restarts.healthy()
    again = Restarts(tmp_path)
    assert (again.failed, again.why) == (0, NO_WORD)
    assert [started(tmp_path)[1] for _ in range(3)] == [0.0, 0.0, 1.0]


def test_a_station_that_was_told_to_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    for _ in range(5):
        restarts, _ = started(tmp_path)
    restarts.clean()
    assert list(tmp_path.iterdir()) == []
    assert (Restarts(tmp_path).failed, Restarts(tmp_path).why) == (0, "")


def test_the_wait_tells_until_when_and_why_the_last_start_failed(tmp_path: Path) -> None:
    for _ in range(3):
        restarts, _ = started(tmp_path)
        restarts.ended("port 4840 is in use")
    heard = Heard()
    Restarts(tmp_path).begin(heard, Pause())
    assert len(heard.waits) == 2
    assert heard.waits[0].startswith("start 4 in a row waits until ")
    assert heard.waits[0].endswith("; the last one failed: port 4840 is in use")


def test_an_expected_error_during_the_start_is_what_the_next_one_tells(tmp_path: Path) -> None:
    restarts, _ = started(tmp_path)
    with pytest.raises(ConfigError, match="no such bundle"), restarts.noted():
        raise ConfigError("no such bundle")
    assert (Restarts(tmp_path).failed, Restarts(tmp_path).why) == (1, "no such bundle")
    with pytest.raises(ConfigError), restarts.noted():
        raise ConfigError
    assert Restarts(tmp_path).why == "ConfigError"


def test_an_error_that_nobody_expected_during_the_start_is_told_too(tmp_path: Path) -> None:
    restarts, _ = started(tmp_path)
    with pytest.raises(ZeroDivisionError), restarts.noted():
        _ = 1 / 0
    assert Restarts(tmp_path).why == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "{",
        "[" * 100_000,
        "7",
        '{"failed": 1}',
        '{"failed": "x", "why": ""}',
        '{"failed": 1e999, "why": ""}',
        "\xff",
    ],
)
def test_a_damaged_count_costs_the_wait_and_not_the_start(tmp_path: Path, kept: str) -> None:
    (tmp_path / FILE).write_bytes(kept.encode("latin-1"))
    assert started(tmp_path)[1] == 0.0
    assert [started(tmp_path)[1] for _ in range(2)] == [0.0, 1.0]


def test_a_folder_that_cannot_be_written_costs_the_wait_and_not_the_start(tmp_path: Path) -> None:
    missing = tmp_path / "not there"
    assert [started(missing)[1] for _ in range(4)] == [0.0] * 4
    Restarts(missing).ended("a bug")
    Restarts(missing).clean()


def test_a_count_below_zero_is_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"failed": -5, "why": "?"}')
    assert started(tmp_path)[1] == 0.0
    assert Restarts(tmp_path).failed == 1


@pytest.mark.parametrize(
    ("address", "environ", "counts"),
    [
        ("/run/notify", {"RUNTIME_DIRECTORY": "{folder}"}, True),
        ("/run/notify", {"RUNTIME_DIRECTORY": "{folder}:/elsewhere"}, True),
        ("", {"RUNTIME_DIRECTORY": "{folder}"}, False),
        ("/run/notify", {}, False),
    ],
    ids=["systemd", "two folders", "nobody starts it again", "no folder"],
)
def test_starts_are_counted_where_systemd_starts_them_again(
    tmp_path: Path, address: str, environ: dict[str, str], counts: bool
) -> None:
    given = {name: value.format(folder=tmp_path) for name, value in environ.items()}
    Restarts.of_service(Notifier(ServiceManager(address)), given).begin(Heard(), Pause())
    assert (tmp_path / FILE).exists() == counts
