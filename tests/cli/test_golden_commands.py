"""`edge-inspector golden` and `reference`: what a person sees, what is written down, and what is refused."""

from __future__ import annotations

import fcntl
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import cv2
import networks
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edge_inspector.cli.golden import EXIT_GOLDEN, golden
from edge_inspector.cli.reference import reference
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.engine.golden import golden_pictures
from edge_inspector.station import golden_book

STATION = """\
schema = 1

[station]
name = "cell"
recipe = "board"
state_dir = "state"

[cameras.top]
type = "folder"
path = "pictures"

[backend]
type = "onnxruntime"

[recipes.board]
number = 1
trigger = "timer"
period_s = 1.0
bundle = "boards"
views = [{ camera = "top" }]

[recipes.board.golden]

[recipes.board.health]
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.bundle("yolo", tmp_path_factory.mktemp("bundles") / "yolo", golden=4)


@pytest.fixture
def place(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a station file, its bundle and its state, in which the commands run."""
    shutil.copytree(shared, tmp_path / "boards")
    for name in ("pictures", "state", "golden/good", "golden/bad"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "station.toml").write_text(STATION)
    for one in golden_pictures(load_bundle(shared)):
        shutil.copy(one.path, tmp_path / "golden" / one.label / one.path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own_pictures(place: Path, more: str = "") -> None:
    text = STATION.replace("[recipes.board.golden]", f'[recipes.board.golden]\npictures = "golden"\n{more}')
    (place / "station.toml").write_text(text)


def run(*words: str) -> Result:
    return CliRunner().invoke(golden, list(words), catch_exceptions=False)


def kept(place: Path) -> golden_book.GoldenBook:
    with closing(sqlite3.connect(place / "state" / "ledger.sqlite")) as book:
        row = book.execute("SELECT value FROM kept WHERE name = 'golden'").fetchone()
    return golden_book.read_book(row and row[0])


@pytest.mark.parametrize("own", [False, True], ids=["the bundle's set", "the recipe's folder"])
def test_pictures_that_are_judged_rightly_pass_the_check_of_a_station_that_does_not_run(place: Path, own: bool) -> None:
    if own:
        own_pictures(place)
    done = run("run", "station.toml")
    assert done.exit_code == 0, done.output
    assert "8 of 8 parts judged rightly: software-only: recipe board, pictures of 4 good and 4 bad parts" in done.output
    assert "in the audit trail; the station does not run" in done.output
    assert kept(place).of("board").passed_utc
    assert "nothing due" in run("status", "station.toml").output
    (line,) = json.loads(run("record", "station.toml", "--json").output)
    assert line["what"] == "golden_passed"
    assert line["detail"].startswith("software-only: recipe board")


def test_a_station_that_has_never_run_gets_its_book(place: Path) -> None:
    (place / "state").rmdir()
    assert run("run", "station.toml").exit_code == 0
    assert kept(place).of("board").passed_utc


def test_where_the_book_cannot_lie_nothing_is_judged_first(place: Path) -> None:
    (place / "state").rmdir()
    (place / "state").write_text("a file")
    done = run("run", "station.toml")
    assert (done.exit_code, "judged rightly" in done.output) == (2, False)
    assert "ledger.sqlite cannot be written" in done.output


def test_a_good_part_among_the_bad_ones_is_named_and_blocks_the_station(place: Path) -> None:
    own_pictures(place)
    name = next((place / "golden" / "good").iterdir()).name
    (place / "golden" / "good" / name).rename(place / "golden" / "bad" / name)
    done = run("run", "station.toml")
    assert done.exit_code == EXIT_GOLDEN
    assert f"WRONG 'bad/{name}': OK, expected a reject" in done.output
    assert "7 of 8 parts judged rightly" in done.output
    assert f"'bad/{name}' (bad) was OK" in kept(place).of("board").pictures_failed
    assert "stored pictures were judged wrongly" in run("status", "station.toml").output
    assert [line["what"] for line in json.loads(run("record", "station.toml", "--json").output)] == ["golden_failed"]
    (place / "golden" / "bad" / name).rename(place / "golden" / "good" / name)
    assert run("run", "station.toml", "--json").exit_code == 0
    assert kept(place).of("board").pictures_failed == ""


def test_a_bad_part_among_the_good_ones_fails_too(place: Path) -> None:
    own_pictures(place)
    name = next((place / "golden" / "bad").iterdir()).name
    (place / "golden" / "bad" / name).rename(place / "golden" / "good" / f"too-{name}")
    answer = json.loads(run("run", "station.toml", "--json").stdout)
    assert not answer["right"]
    assert [one["part"] for one in answer["parts"] if not one["right"]] == [f"good/too-{name}"]


def test_pictures_do_not_pass_the_check_of_a_recipe_with_master_parts(place: Path) -> None:
    parts = 'told_by = "order"\nparts = [{ id = "G", expect = "OK" }, { id = "B", expect = "NOT_OK" }]\n'
    own_pictures(place, parts)
    assert run("run", "station.toml").exit_code == 0
    assert kept(place).of("board").passed_utc == ""
    assert "no golden-sample check was passed yet" in run("status", "station.toml").output


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda place: shutil.rmtree(place / "golden" / "bad"), "there is no bad"),
        (lambda place: [one.unlink() for one in (place / "golden" / "bad").iterdir()], "has no bad part"),
        (lambda place: (place / "golden" / "good" / "no.png").write_text("x"), "no.png is not a picture"),
    ],
    ids=["no folder", "no picture", "no picture in it"],
)
def test_pictures_that_show_nothing_are_refused(place: Path, spoil: object, said: str) -> None:
    own_pictures(place)
    assert callable(spoil)
    spoil(place)
    done = run("run", "station.toml")
    assert done.exit_code == 2
    assert said in done.output
    assert not (place / "state" / "ledger.sqlite").exists()


def test_a_recipe_that_is_not_there_is_refused(place: Path) -> None:
    done = run("run", "station.toml", "--recipe", "bord")
    assert done.exit_code == 2
    assert "--recipe 'bord': expected one of board" in done.output


def test_a_station_that_runs_and_does_not_answer_is_not_written_past(place: Path) -> None:
    (place / "state" / "run").mkdir()
    with (place / "state" / "run" / "flight.bin").open("wb") as flight:
        fcntl.flock(flight.fileno(), fcntl.LOCK_EX)
        done = run("run", "station.toml")
    assert done.exit_code == 2
    assert "a station runs on" in done.output
    assert not (place / "state" / "ledger.sqlite").exists()


def test_before_the_first_start_nothing_was_passed(place: Path) -> None:
    assert "passed never" in run("status", "station.toml").output
    answer = json.loads(run("status", "station.toml", "--json").output)
    assert answer["recipes"][0]["due"] == "no golden-sample check was passed yet"
    assert answer["running"] == ""
    assert run("record", "station.toml").exit_code == 2, "there is no book"


def test_the_reference_of_a_stopped_station_is_taken_by_its_own_cameras(place: Path) -> None:
    def asked(*words: str) -> Result:
        return CliRunner().invoke(reference, list(words), catch_exceptions=False)

    assert "recipe board, camera top: no reference picture" in asked("show", "station.toml").output
    rng = np.random.default_rng(1)
    scene = cv2.GaussianBlur(rng.uniform(0, 255, (96, 96)).astype(np.float32), (0, 0), 2) * 3 - 250
    for number in range(5):
        noisy = (scene + rng.normal(0, 2, scene.shape)).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(place / "pictures" / f"{number}.png"), noisy)
    done = asked("take", "station.toml", "--pictures", "5", "--every", "0")
    assert done.exit_code == 0, done.output
    assert "recipe board, camera top: 5 pictures of 96x96" in done.output
    with closing(sqlite3.connect(place / "state" / "ledger.sqlite")) as book:
        ((what, detail),) = book.execute("SELECT what, detail FROM audit").fetchall()
    facts = json.loads((place / "state" / "references" / "board" / "top.json").read_text())
    assert (what, detail) == ("reference_taken", f"recipe board: camera top sha256 {facts['sha256']}")
    assert facts["sha256"][:16] in asked("show", "station.toml").output
    text = STATION.replace("[recipes.board.health]\n", "")
    (place / "station.toml").write_text(text)
    assert asked("take", "station.toml").exit_code == 2
    assert "no recipe looks after its cameras" in asked("show", "station.toml").output
