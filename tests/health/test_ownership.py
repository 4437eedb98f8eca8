"""Who owns a station's files, and whom that keeps out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_inspector.health.finding import Finding
from edge_inspector.health.ownership import Account, account_of, ownership_findings

ME = Account("me", os.getuid() or 4242, frozenset({os.getgid() or 4242}))
"""Not root, for whom nothing is closed; files of a test that runs as root are given to it."""
SERVICE = Account("edge-inspector", 991, frozenset({991}))


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """A state folder with a book and a folder of pictures, all of it mine, and reachable."""
    state = tmp_path / "state"
    (state / "images").mkdir(parents=True)
    for name in ("ledger.sqlite", "images/1.png"):
        (state / name).write_text("x")
    mine = [state, *state.rglob("*")]
    for path in mine:
        path.chmod(0o750 if path.is_dir() else 0o640)
        os.chown(path, ME.uid, next(iter(ME.gids)))
    for parent in state.parents[:-1]:
        if parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | 0o011)  # a test without root's right is still in root's group
    return state


def told(who: Account, *written: Path, read: tuple[Path, ...] = ()) -> list[Finding]:
    return list(ownership_findings(who, written, read))


def test_what_belongs_to_the_user_of_the_service_is_in_order(station: Path) -> None:
    (one,) = told(ME, station)
    assert (one.check, one.subject, one.level) == ("files.owner", str(station), "ok")


def test_what_somebody_else_has_left_there_is_named_with_its_owner(station: Path) -> None:
    (one,) = told(SERVICE, station)
    assert (one.level, one.remedy) == ("fail", f"sudo chown -R edge-inspector: {station}")
    assert f"{station} (" in one.found
    assert "3 of 3 files and folders in it" in one.found
    assert f"{station / 'ledger.sqlite'} (" in one.found


def test_one_file_of_root_in_a_folder_of_the_service_is_enough_to_fail(station: Path) -> None:
    """As after `sudo edge-inspector ...`; here the group's right is taken away instead, for want of root."""
    group = Account("other", SERVICE.uid, ME.gids)
    for path in (station, *station.rglob("*")):
        path.chmod(0o770 if path.is_dir() else 0o660)
    assert [one.level for one in told(group, station)] == ["ok"]
    (station / "ledger.sqlite").chmod(0o640)
    (one,) = told(group, station)
    assert one.level == "fail"
    assert f"1 of 3 files and folders in it: {station / 'ledger.sqlite'} (" in one.found


def test_a_file_that_its_own_user_has_made_read_only_is_in_order(station: Path) -> None:
    (station / "ledger.sqlite").chmod(0o400)
    assert [one.level for one in told(ME, station)] == ["ok"]
    (station / "ledger.sqlite").chmod(0o200)
    assert [one.level for one in told(ME, station)] == ["fail"]


def test_root_may_write_everything(station: Path) -> None:
    assert [one.level for one in told(Account("root", 0, frozenset({0})), station)] == ["ok"]


def test_a_folder_above_that_lets_nobody_in_is_named(station: Path) -> None:
    closed = station.parent / "home"
    closed.mkdir()
    (closed / "state").mkdir()
    closed.chmod(0o700)
    (closed / "state").chmod(0o777)
    (one,) = told(SERVICE, closed / "state")
    assert one.level == "fail"
    assert f"{closed} (" in one.found
    assert "does not let edge-inspector in" in one.found


def test_a_folder_that_the_station_has_not_made_yet_is_not_judged(station: Path) -> None:
    assert told(SERVICE, station / "none") == []


def test_a_secret_that_the_service_may_not_read_fails(station: Path) -> None:
    secret = station.parent / "mqtt password"
    secret.write_text("word")
    secret.chmod(0o600)
    (one,) = told(SERVICE, read=(secret, station.parent / "none"))
    assert (one.check, one.subject, one.level) == ("files.readable", str(secret), "fail")
    assert f"chmod g+r '{secret}'" in one.remedy
    secret.chmod(0o604)
    assert told(SERVICE, read=(secret,)) == []


def test_links_to_nowhere_and_links_in_a_circle_end_nothing(station: Path) -> None:
    (station / "gone").symlink_to(station / "nothing")
    (station / "circle").symlink_to(station)
    assert [one.level for one in told(ME, station)] == ["ok"]


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A state folder of somebody else, whose inner folder nobody but root may read."""
    (tmp_path / "theirs" / "inner").mkdir(parents=True)
    (tmp_path / "theirs").chmod(0o755)
    (tmp_path / "theirs" / "inner").chmod(0o000)
    return tmp_path / "theirs"


@pytest.mark.usefixtures("closed", "ordinary_user")
def test_a_folder_into_which_this_user_may_not_look_is_for_root_to_judge(tmp_path: Path) -> None:
    (one,) = told(ME, tmp_path / "theirs")
    assert one.level == "note"
    assert one.found.startswith(f"{tmp_path / 'theirs' / 'inner'} may not be read by this user")


def test_a_million_pictures_are_not_all_looked_at(station: Path) -> None:
    (one,) = ownership_findings(SERVICE, [station], [], most=2)
    assert "2 of the first 2 files and folders in it" in one.found


def test_a_user_is_found_by_name_and_by_number() -> None:
    root = account_of("root")
    assert root is not None
    assert (root.name, root.uid, 0 in root.gids) == ("root", 0, True)
    assert account_of("0") == root
    assert account_of("no-such-user") is None
    assert account_of("4000000000") is None


def test_what_root_keeps_at_the_top_of_each_disk_is_no_fault(station: Path) -> None:
    (station / "lost+found").mkdir(mode=0o000)
    assert [one.level for one in told(ME, station)] == ["ok"]
    (station / "images" / "lost+found").mkdir(mode=0o000)
    (one,) = told(ME, station)
    assert one.level in ("fail", "note"), "one of that name in a folder of pictures is somebody's mistake"


def test_a_link_to_itself_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to("state")
    (one,) = told(ME, tmp_path / "state")
    assert (one.level, "levels of symbolic links" in one.found) == ("fail", True)
