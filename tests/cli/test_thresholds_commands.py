"""`edge-inspector thresholds` against a real station that was killed while its thresholds moved, and runs again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import networks
import numpy as np
import pytest
from real_station import RealStation
from typer.testing import CliRunner

from edge_inspector.cli.main import app
from edge_inspector.datatypes import Evaluation
from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.stages.thresholds import Bounds, Seen, Word, advance, begin

pytestmark = pytest.mark.system
GOLDEN = 60
"""Good and as many bad pictures, of the latter half bright and half dark: 30 defects of each class."""
ADAPTIVE = {
    "policy": "guarded",
    "shadow": "tail",
    "window": 100,
    "least": 20,
    "tighten_per_100": 0.3,
    "target_per_thousand": 100,
}
BASE, SCORE_FLOOR = (0.5, 0.5, 0.5), 0.05
KILLED_AFTER, ENOUGH = 80, 110
OVERLAP = 4
"""So many parts may be in work when one is accepted: its thresholds are those of before them."""


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStation]:
    """In its second life, with a timer; its bundle has enough golden defects for a release."""
    made = RealStation(tmp_path_factory.mktemp("station"), "")
    shutil.rmtree(made.folder / "little")
    networks.bundle("yolo", made.folder / "little", golden=GOLDEN)
    for seed in (1, 2, 3):  # good parts with a faint spot, whose scores are 0.06 to 0.21: from these one can learn
        pixels, _ = networks.picture(np.random.default_rng(seed), 64, 1, 198)
        cv2.imwrite(str(made.folder / "pictures" / f"{seed}.png"), pixels)
    shutil.copy(made.folder / "little" / "golden" / "bad_000.png", made.folder / "pictures" / "0.png")
    numbers = "\n".join(f"{key} = {json.dumps(value)}" for key, value in ADAPTIVE.items())
    timer = made.file.read_text().replace('trigger = "plc"', 'trigger = "timer"\nperiod_s = 0.02')
    made.file.write_text(f"{timer}[recipes.spots.adaptive]\n{numbers}\n")
    for enough in (KILLED_AFTER, ENOUGH):
        made.start()
        made.wait(f"{enough} parts", lambda enough=enough: len(rows(made, "SELECT 1 FROM results")) >= enough)  # type: ignore[misc]
        if enough == KILLED_AFTER:
            made.kill()
    yield made
    made.kill()


def test_a_killed_station_judges_on_by_what_its_thresholds_had_learnt(station: RealStation) -> None:
    parts = [
        (seq, Evaluation(word), tuple(json.loads(peaks)), tuple(json.loads(thresholds)), boot)
        for seq, word, peaks, thresholds, boot in rows(
            station,
            "SELECT seq, evaluation, peaks, thresholds, boot_id FROM results JOIN triggers USING (seq) ORDER BY seq",
        )
    ]
    states = [BASE, *learnt_from(parts)]
    killed = next(i for i, part in enumerate(parts) if part[4] != parts[0][4])
    assert len(set(states[:killed])) > 20, "they moved"
    for i, (seq, word, _, stamped, _) in enumerate(parts):
        if word is Evaluation.UNDEFINED and not stamped:
            continue  # it was open when the process was killed, and nobody has judged it
        assert stamped in states[max(0, i - OVERLAP) : i + 1], f"part {seq}, number {i}; the kill came before {killed}"
    assert 0.1 < parts[killed][3][0] < 0.45, "on its way, and well below where a new one begins"


def learnt_from(
    parts: Sequence[tuple[int, Evaluation, tuple[float, ...], tuple[float, ...], int]],
) -> list[tuple[float, ...]]:
    """The thresholds after each of these parts, by the policy alone."""
    settings = AdaptiveSettings.model_validate(ADAPTIVE)
    bounds = Bounds(("bright", "dark", "spare0"), BASE, (SCORE_FLOOR,) * 3, BASE, (False,) * 3)
    words = {Evaluation.OK: Word.OK, Evaluation.NOT_OK: Word.REJECT}
    state, after = begin("guarded", bounds), []
    for seq, word, peaks, thresholds, _ in parts:
        if peaks and word in words:
            state = advance(settings, bounds, state, Seen(seq, peaks, thresholds, words[word]))
        after.append(tuple(round(one, 4) for one in state.by_class))
    return after


def test_a_release_from_the_golden_run_to_the_audit_trail(station: RealStation) -> None:
    assert "no limits yet" in said(station, "show")
    refused = run(station, "release")  # there is nothing to ask for
    assert refused.exit_code == 2
    assert "run `edge-inspector thresholds limits` first" in refused.stderr

    told = said(station, "limits")
    assert "the running station has taken it" in told
    bright = next(line.split() for line in told.splitlines() if line.startswith("bright"))
    assert bright[1] == "0.500"
    assert float(bright[3]) > 0.5
    assert bright[4] == "30"
    spare = next(line.split() for line in told.splitlines() if line.startswith("spare0"))
    assert spare[3:] == ["0.500", "0", "-", "-"], "no golden defect: never looser"

    assert run(station, "release", input="n\n").exit_code == 2
    assert "not released" in said(station, "show")
    assert "released, and judged by guarded" in said(station, "release", "--yes")
    assert "was released by" in said(station, "release", "--yes")
    assert "released by" in said(station, "show")
    again = said(station, "limits")
    assert "the running station has taken it" in again
    assert "not released" not in said(station, "show"), "the same limits need no second release"
    assert said(station, "revoke").strip() == "revoked"
    assert "not released" in said(station, "show")
    trail = [what for (what,) in rows(station, "SELECT what FROM audit WHERE what LIKE 'thresholds_%' ORDER BY id")]
    assert trail == ["thresholds_limits", "thresholds_released", "thresholds_limits", "thresholds_release_revoked"]


def test_freezing_and_what_is_shown_of_it(station: RealStation) -> None:
    assert said(station, "freeze").strip() == "frozen"
    assert "was frozen by" in said(station, "freeze")
    shown = json.loads(said(station, "show", "--json"))
    assert shown["recipe"] == "spots"
    assert shown["frozen_by"]
    assert {one["policy"]: one["judges"] for one in shown["policies"]} == {"guarded": True, "tail": False}
    assert "frozen by" in said(station, "show")
    assert said(station, "freeze", "--off").strip() == "moving again"


def test_feedback_is_taken_for_a_part_of_this_station_only(station: RealStation) -> None:
    station.wait("a reject", lambda: bool(rows(station, "SELECT 1 FROM results WHERE evaluation = 2")))
    ((result_id,),) = rows(
        station, "SELECT result_id FROM results JOIN triggers USING (seq) WHERE evaluation = 2 ORDER BY seq LIMIT 1"
    )
    done = CliRunner().invoke(app, ["thresholds", "feedback", result_id, "--good", "--station", str(station.file)])
    assert (done.exit_code, done.stdout) == (0, "taken\n")
    wrong = CliRunner().invoke(
        app, ["thresholds", "feedback", "bench.\x1b[2J.1", "--bad", "--station", str(station.file)]
    )
    assert wrong.exit_code == 2
    assert "none of the last 10000 production parts" in wrong.stderr
    assert "\x1b[2J" not in wrong.stderr
    assert rows(station, "SELECT good FROM feedback") == [(1,)]


def test_a_recipe_that_is_not_there_is_told(station: RealStation) -> None:
    for command in ("limits", "show", "release", "revoke", "freeze"):
        refused = CliRunner().invoke(app, ["thresholds", command, str(station.file), "nothing"])
        assert refused.exit_code == 2
        assert "recipe 'nothing'" in refused.stderr
        assert "spots" in refused.stderr


def test_a_station_that_is_away_takes_its_limits_with_its_next_start(tmp_path: Path) -> None:
    away = RealStation(tmp_path, "")
    away.file.write_text(away.file.read_text().replace('trigger = "plc"', 'trigger = "timer"\nperiod_s = 1.0'))
    told = json.loads(said(away, "limits", "--json"))
    assert told["recipe"] == "spots"
    assert [row[2] for row in told["by_class"]] == [1, 1, 0]
    assert json.loads(Path(told["file"]).read_bytes())["model"] == told["model"]
    for command in ("show", "release", "revoke", "freeze"):
        refused = run(away, command)
        assert refused.exit_code == 2
        assert "is `edge-inspector run` running?" in refused.stderr


def run(station: RealStation, command: str, *options: str, input: str | None = None) -> Any:
    return CliRunner().invoke(app, ["thresholds", command, str(station.file), *options], input=input)


def said(station: RealStation, command: str, *options: str) -> str:
    done = run(station, command, *options)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def rows(station: RealStation, query: str) -> list[tuple[Any, ...]]:
    """Read by ourselves, past the station."""
    try:
        with closing(sqlite3.connect(f"file:{station.folder}/state/ledger.sqlite?mode=ro", uri=True)) as book:
            return book.execute(query).fetchall()
    except sqlite3.OperationalError:  # it is just being made
        return []
