"""What a real station has stored and booked, run again: the same in every number, or it says what is lacking."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networks
import pytest
import typer
from replay_rig import Copy, replayed, running_station
from typer.testing import CliRunner

from edge_inspector.cli.replay import replay as replay_command
from edge_inspector.datatypes import Evaluation, Reason
from edge_inspector.engine.golden import golden_sum
from edge_inspector.engine.limits_file import LimitsFile, rules_sum, write_limits
from edge_inspector.engine.truth import PartVerdicts
from edge_inspector.errors import ConfigError
from edge_inspector.replay.comparing import differences, lacks_of
from edge_inspector.replay.records import Lack, Skip, WhatIf
from edge_inspector.replay.replaying import Asked, Replay, replay
from edge_inspector.replay.setups import Engine, read_station
from edge_inspector.store.periods import between, parsed

pytestmark = pytest.mark.system
PICTURES = 14


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Its folder when it has stopped, and a replay that was made while it ran."""
    folder = tmp_path_factory.mktemp("recorded")
    with running_station(folder, PICTURES) as station:
        meanwhile = replayed(station.file)
        assert station.process is not None
        assert station.process.poll() is None, "the station was to run on while its parts were replayed"
        assert station.stop() == 0
    return SimpleNamespace(folder=folder, meanwhile=meanwhile)


@pytest.fixture
def copy(recorded: SimpleNamespace, tmp_path: Path) -> Copy:
    return Copy(recorded.folder, tmp_path / "copy")


def lacks(done: Replay) -> set[Lack]:
    return {lack for part in done.parts for lack in part.lacks}


def test_lossless_parts_are_the_same_in_every_number_while_the_station_runs(recorded: SimpleNamespace) -> None:
    done = recorded.meanwhile
    assert len(done.parts) >= PICTURES
    assert not done.skipped
    assert [part.lacks for part in done.parts] == [()] * len(done.parts)
    assert [part.differs for part in done.parts] == [()] * len(done.parts)
    rejects = [part for part in done.parts if part.booked.evaluation is Evaluation.NOT_OK]
    assert rejects
    assert len(rejects) < len(done.parts)
    for part in done.parts:
        assert part.again is not None
        assert part.again.defects == part.booked.defects
        assert part.again.margin == part.booked.margin
        assert part.again.peaks == part.booked.peaks
        assert part.again.evaluation is part.after.evaluation is part.booked.evaluation
    assert all(d.size_mm is not None for part in rejects for d in part.booked.defects), "the plane is part of the proof"
    assert {part.booked.rule for part in rejects} == {"spots"}


def test_every_kind_of_part_stands_for_as_many_as_the_book_has(copy: Copy) -> None:
    done = copy.replay()
    (parts,) = copy.rows("SELECT count(*) AS n, sum(evaluation <> 1) AS rejects FROM results")
    strata = {one.kind: one for one in done.strata.sampled(done.parts)}
    assert done.strata.total == parts["n"]
    assert strata["reject"].parts == strata["reject"].sample == parts["rejects"]
    assert strata["sample"].every_nth == 3
    assert strata["sample"].parts == parts["n"] - parts["rejects"]
    assert strata["sample"].sample == sum(part.part.kind == "sample" for part in done.parts) < strata["sample"].parts


def test_a_number_that_is_not_the_same_is_told(copy: Copy) -> None:
    """As if the station judged otherwise today: another number is changed in the result of each of some rejects."""
    changes = {
        "margin": "UPDATE results SET margin = margin + 0.0001",
        "verdict": "UPDATE results SET evaluation = 3",
        "reason": "UPDATE results SET reason = 21",
        "rule": "UPDATE results SET rule = 'another'",
        "defects": "UPDATE defects SET x = x + 0.1",
        "scores": "UPDATE results SET peaks = '[0.0001, 0.0001, 0.0001]'",
    }
    rejects = copy.rows("SELECT DISTINCT seq FROM images JOIN results USING (seq) WHERE evaluation = 2 ORDER BY seq")
    expected = {}
    for (differs, statement), row in zip(changes.items(), rejects, strict=False):
        copy.change(f"{statement} WHERE seq = ?", row["seq"])
        expected[row["seq"]] = (differs,)
    assert len(expected) == len(changes), "too few rejects"
    done = copy.replay()
    assert {part.part.seq: part.differs for part in done.broken} == expected


def test_a_defect_is_compared_field_by_field(recorded: SimpleNamespace) -> None:
    part = next(part for part in recorded.meanwhile.parts if part.booked.defects)
    first, *others = part.booked.defects
    x, y, width, height = first.box
    mm = first.size_mm
    for changed in (
        replace(first, class_name="other"),
        replace(first, class_id=first.class_id + 1),
        replace(first, score=first.score - 0.0001),
        *(replace(first, box=box) for box in ((x + 0.1, y, width, height), (x, y + 0.1, width, height))),
        *(replace(first, box=box) for box in ((x, y, width + 0.1, height), (x, y, width, height + 0.1))),
        replace(first, camera="other"),
        *(replace(first, size_mm=size) for size in ((mm[0] + 0.001, mm[1]), (mm[0], mm[1] + 0.001), None)),
    ):
        booked = replace(part.booked, defects=(changed, *others))
        assert differences(booked, part.again) == ("defects",), changed
    assert differences(replace(part.booked, defects=part.booked.defects[1:]), part.again) == ("defects",)
    assert differences(replace(part.booked, peaks=()), part.again) == (), "older software booked no scores"
    assert differences(part.booked, part.again) == ()


def test_what_a_replay_lacks_is_told_and_nothing_is_promised(copy: Copy) -> None:
    """Each change in the result of one part."""
    changes = (
        (Lack.LOSSY, "UPDATE images SET lossless = 0 WHERE seq = ?"),
        (Lack.THRESHOLDS, "UPDATE results SET thresholds = '[]' WHERE seq = ?"),
        (Lack.MODEL, "UPDATE results SET model_hash = 'another' WHERE seq = ?"),
        (Lack.CAUSE, "UPDATE results SET evaluation = 0, reason = 1 WHERE seq = ?"),
        (Lack.CAUSE, "UPDATE results SET views_judged = 0 WHERE seq = ?"),
        (Lack.HISTORY, "UPDATE triggers SET wall_utc = '1970-01-01T00:00:07.000Z' WHERE seq = ?"),
        (Lack.RECIPE, "UPDATE results SET views = '[\"other\"]' WHERE seq = ?"),
    )
    kept = copy.rows("SELECT DISTINCT seq FROM images ORDER BY seq")
    expected = {}
    for (lack, statement), row in zip(changes, kept, strict=False):
        copy.change(statement, row["seq"])
        expected[row["seq"]] = (lack,)
    done = copy.replay()
    assert {part.part.seq: part.lacks for part in done.parts if part.lacks} == expected
    assert len(done.parts) == len(kept) > len(expected)
    assert not done.broken


def test_a_change_after_a_part_is_told_and_one_before_it_is_none(copy: Copy) -> None:
    first, *_, last = copy.rows("SELECT DISTINCT seq, wall_utc FROM images ORDER BY seq")
    detail = "software: '0' -> '1'"
    row = "INSERT INTO audit VALUES (99, ?, 0, 'software', 'software_changed', ?, '')"
    copy.change(row, last["wall_utc"], detail)
    lacking = {part.part.seq: part.lacks for part in copy.replay().parts}
    assert lacking.pop(last["seq"]) == ()
    assert set(lacking.values()) == {(Lack.SOFTWARE,)}
    copy.change("UPDATE audit SET wall_utc = '1970-01-01' WHERE id = 99")  # nobody knows when that was
    assert lacks(copy.replay()) == {Lack.HISTORY}
    copy.change("DELETE FROM audit")
    assert lacks(copy.replay()) == {Lack.HISTORY}
    assert first["seq"] in lacking


def test_what_the_station_file_says_otherwise_now_is_told(copy: Copy) -> None:
    text = copy.file.read_text()
    for old, new, lack in (
        ("longer_than_mm = 1.0", "longer_than_mm = 2.0", Lack.RECIPE),
        ("[4, 4], [92, 4]", "[4, 5], [92, 5]", Lack.RECIPE),
        ('{ camera = "cam" }', '{ camera = "cam", roi = { x = 0, y = 0, width = 90, height = 60 } }', Lack.RECIPE),
        ("threads = 1", "threads = 2", Lack.BACKEND),
        ("slots = 64", "slots = 64\ngate = { min_brightness = 0.001 }", Lack.CALIBRATION),
    ):
        copy.write(old, new)
        done = replayed(copy.file, limit=3)
        assert lacks(done) == {lack}, new
        assert not done.broken
        copy.file.write_text(text)
    lens = copy.folder / "lens.yaml"
    lens.write_text(lens.read_text().replace("-0.2", "-0.1"))
    assert lacks(replayed(copy.file, limit=3)) == {Lack.CALIBRATION}


def test_a_verdict_that_the_changed_file_flips_by_itself_is_marked(copy: Copy) -> None:
    """Nobody has asked for anything: it is the rule of the file that has changed."""
    copy.write("longer_than_mm = 1.0", "longer_than_mm = 50.0")
    done = copy.replay(thresholds={"spare0": 0.9})
    flipped = [part for part in done.parts if part.flipped]
    assert len(flipped) == sum(part.part.kind == "reject" for part in done.parts)
    assert all(part.by_picture and "verdict" in part.differs for part in flipped)
    assert not done.broken


def test_the_gate_refuses_pictures_as_in_the_station(copy: Copy) -> None:
    copy.write("slots = 64", "slots = 64\ngate = { min_brightness = 0.9 }")
    done = copy.replay()
    assert {(part.after.evaluation, part.after.reason) for part in done.parts} == {
        (Evaluation.UNDEFINED, Reason.BAD_FRAME)
    }


def test_an_engine_that_was_proven_for_more_views_in_a_run_promises_nothing(recorded: SimpleNamespace) -> None:
    setup = read_station(recorded.folder / "station.toml").setup("spots")
    part = recorded.meanwhile.parts[0].booked
    assert set(lacks_of(part, setup, [])) == set()
    together = replace(setup, engine=Engine((1, 2)))
    assert set(lacks_of(part, together, [])) == {Lack.BATCH}


def test_what_does_not_bear_on_a_verdict_is_no_lack(copy: Copy) -> None:
    copy.write("deadline_ms = 2000.0", "deadline_ms = 3000.0")
    copy.write("every_nth = 3", "every_nth = 5")
    done = copy.replay()
    assert lacks(done) == set()
    assert not done.broken


def test_parts_near_a_threshold_are_kept_for_certain_and_stand_for_themselves(copy: Copy) -> None:
    (first,) = copy.rows("SELECT seq FROM results JOIN images USING (seq) WHERE evaluation = 1 LIMIT 1")
    why = '["near_margin", "every_nth"]'
    copy.change("UPDATE images SET why = ?, every_nth = 1 WHERE seq = ?", why, first["seq"])
    done = copy.replay()
    (near,) = [one for one in done.strata.sampled(done.parts) if one.kind == "near"]
    assert (near.every_nth, near.parts, near.sample) == (1, 1, 1)
    assert {part.part.seq for part in done.parts if part.part.kind == "near"} == {first["seq"]}


def test_files_that_are_gone_or_changed_are_not_run_and_named(copy: Copy) -> None:
    first, second, third, fourth = copy.rows("SELECT * FROM images ORDER BY seq")[:4]
    (copy.images / first["path"]).unlink()
    damaged = copy.images / second["path"]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    copy.change("UPDATE images SET removed_utc = '2026-11-22T00:00:00.000Z' WHERE id = ?", third["id"])
    copy.change("UPDATE images SET path = '../../station.toml' WHERE id = ?", fourth["id"])
    done = copy.replay()
    why = {one.part.seq: (one.why, one.text) for one in done.skipped}
    assert {seq: one[0] for seq, one in why.items()} == {
        first["seq"]: Skip.DAMAGED,
        second["seq"]: Skip.DAMAGED,
        third["seq"]: Skip.REMOVED,
        fourth["seq"]: Skip.DAMAGED,
    }
    assert first["path"] in why[first["seq"]][1]
    assert "outside" in why[fourth["seq"]][1]
    assert not done.broken


def test_of_two_pictures_of_a_camera_the_judged_one_is_run(copy: Copy) -> None:
    """A camera that exposed twice: the other picture is of a part with the other verdict."""
    good, bad = (
        copy.rows(f"SELECT i.* FROM images i JOIN results USING (seq) WHERE evaluation = {n} ORDER BY seq LIMIT 1")[0]
        for n in (1, 2)
    )
    copy.change(
        "INSERT INTO images SELECT 9999, ?, result_id, camera, kind, why, path || '2', sha256, size_bytes, lossless, "
        "pixel_format, height, width, frame_id, wall_utc, clock_synced, every_nth, NULL FROM images WHERE id = ?",
        good["seq"], bad["id"],
    )  # fmt: skip
    shutil.copy(copy.images / bad["path"], copy.images / f"{bad['path']}2")
    done = copy.replay()
    assert not done.skipped
    assert not done.broken
    copy.change("UPDATE images SET frame_id = ? WHERE id = 9999", good["frame_id"])
    (one,) = copy.replay().skipped
    assert (one.part.seq, one.why) == (good["seq"], Skip.MISSING), "nobody knows which it was"


def test_a_camera_without_a_picture_makes_its_part_not_run(copy: Copy) -> None:
    copy.change("UPDATE images SET camera = 'other' WHERE seq = (SELECT max(seq) FROM images)")
    (one,) = copy.replay().skipped
    assert (one.why, one.text) == (Skip.MISSING, "camera cam")


def test_another_threshold_flips_parts_and_the_book_stays_proven(copy: Copy) -> None:
    done = copy.replay(thresholds={"bright": 1.0})
    flipped = {part.part.seq for part in done.parts if part.flipped}
    only_bright = {p.part.seq for p in done.parts if {d.class_name for d in p.booked.defects} == {"bright"}}
    assert flipped == only_bright
    assert 0 < len(flipped) < sum(part.part.kind == "reject" for part in done.parts)
    assert not any(part.by_picture for part in done.parts)
    assert not done.broken
    assert {part.after.thresholds for part in done.parts} == {(1.0, 0.5, 0.5)}


def test_the_recipe_of_the_file_judges_when_it_is_asked_for(copy: Copy) -> None:
    """Stamped thresholds are of the past; --recipe and --policy fixed mean those of the file."""
    copy.write('bundle = "little"', 'bundle = "little"\nthresholds = { bright = 0.99, dark = 0.99 }')
    assert not any(part.flipped for part in copy.replay().parts)
    for what in ({"recipe": "spots"}, {"policy": "fixed"}):
        assert {part.after.thresholds[0] for part in copy.replay(**what).parts} == {0.99}


def test_another_bundle_judges_and_the_own_one_still_proves_the_book(copy: Copy) -> None:
    networks.bundle("yolo", copy.folder / "other", seed=5)
    done = copy.replay(bundle=copy.folder / "other")
    assert {part.after.model_hash for part in done.parts} != {part.booked.model_hash for part in done.parts}
    assert all(part.exact and part.again is not None and not part.differs for part in done.parts)


def test_a_bundle_that_the_recipe_does_not_fit_is_refused_by_name(copy: Copy) -> None:
    networks.bundle("yolo", copy.folder / "other", classes=1)
    with pytest.raises(ConfigError, match="dark"):
        copy.replay(bundle=copy.folder / "other")


def test_a_recipe_that_is_gone_is_told_and_another_can_take_its_parts(copy: Copy) -> None:
    copy.change("UPDATE triggers SET recipe = 'old'")
    with pytest.raises(ConfigError, match=r"judged by old, and .* has spots"):
        copy.replay()
    done = copy.replay(recipe="spots")
    assert done.parts
    assert lacks(done) == {Lack.RECIPE}


def test_feedback_and_a_file_say_what_escaped(copy: Copy) -> None:
    rejects = copy.rows("SELECT t.* FROM triggers t JOIN results USING (seq) WHERE evaluation = 2 ORDER BY seq")[:3]
    for row, good in zip(rejects, (1, 0, 0), strict=True):
        copy.change(
            "INSERT INTO feedback (trigger_seq, plc_boot_id, good, wall_utc) VALUES (?, ?, ?, '2999')",
            row["trigger_seq"], row["plc_boot_id"], good,
        )  # fmt: skip
    # an older part had the PLC's number, too, and one that came after the word
    copy.change("UPDATE triggers SET trigger_seq = ? WHERE seq = 1", rejects[0]["trigger_seq"])
    after = "UPDATE triggers SET trigger_seq = ?, wall_utc = '3000' WHERE seq = (SELECT max(seq) FROM images)"
    copy.change(after, rejects[0]["trigger_seq"])
    done = copy.replay(thresholds={"bright": 1.0, "dark": 1.0})
    assert {part.part.seq: part.good for part in done.parts if part.good is not None} == {
        rejects[0]["seq"]: True,
        rejects[1]["seq"]: False,
        rejects[2]["seq"]: False,
    }
    said = PartVerdicts("result_id", {rejects[1]["result_id"]: True})
    done = replayed(copy.file, WhatIf(), truth=said)
    assert {p.part.seq: p.good for p in done.parts}[rejects[1]["seq"]] is True, "the file counts more than the book"


def test_a_policy_goes_through_all_parts_of_the_book_and_not_only_the_kept_ones(copy: Copy) -> None:
    """The plain rolling rule; nothing is released, so it may only tighten: its 0.5 for the first parts, too."""
    copy.write('bundle = "little"', 'bundle = "little"\nthresholds = { bright = 0.3 }')
    (count,) = copy.rows("SELECT count(*) AS n, sum(evaluation = 2) AS rejects FROM results")
    done = copy.replay(policy="percentile")
    (course,) = done.courses
    assert (course.parts, course.learnt_before, course.rejected_then) == (count["n"], 0, count["rejects"])
    assert "no golden limits hold" in course.note
    assert {part.after.policy for part in done.parts} == {"percentile"}
    assert done.parts[0].after.thresholds == (0.3, 0.5, 0.5)
    assert done.parts[-1].after.thresholds < (0.3, 0.5, 0.5), "it has learnt that good parts score less"
    # rejected, and not for a score: no threshold lets it pass
    (reject,) = copy.rows("SELECT max(seq) AS seq FROM results WHERE evaluation = 2")
    copy.change("UPDATE results SET peaks = '[0.0, 0.0, 0.0]' WHERE seq = ?", reject["seq"])
    assert copy.replay(policy="percentile").courses[0].rejected_now == course.rejected_now


def test_as_if_released_a_policy_may_loosen_up_to_the_golden_limits(copy: Copy) -> None:
    copy.write('bundle = "little"', 'bundle = "little"\nthresholds = { bright = 0.3, dark = 0.3 }')
    station = read_station(copy.file)
    setup = station.setup("spots")
    limits = LimitsFile(
        schema=1,
        recipe="spots",
        model=setup.recipe.model_hash,
        golden=golden_sum(setup.bundle),
        rules=rules_sum(setup.recipe.settings, setup.recipe.plans, setup.recipe.thresholds),
        utc="2026-11-22T00:00:00.000Z",
        good=30,
        by_class=((0.1, 0.45, 40, 0, 0.07),) * 3,
    )
    write_limits(station.state_dir, limits)
    bound, free = (
        replayed(copy.file, WhatIf(policy="percentile"), as_if_released=released) for released in (False, True)
    )
    assert bound.parts[1].after.thresholds[0] == 0.3
    assert "not released" in bound.courses[0].note
    assert free.parts[1].after.thresholds[0] == 0.45, "the rule's 0.5, and the limit's 0.45"
    assert "as if somebody had released it" in free.courses[0].note
    assert all(0.1 <= one <= 0.5 for part in free.parts for one in part.after.thresholds)


def test_a_policy_with_another_recipe_is_refused_and_says_why(copy: Copy) -> None:
    with pytest.raises(ConfigError, match="scores of every part in a row"):
        copy.replay(policy="guarded", recipe="spots")
    with pytest.raises(ConfigError, match="makes the thresholds itself"):
        copy.replay(policy="guarded", thresholds={"bright": 0.4})


def test_parts_without_scores_are_not_run_by_a_policy(copy: Copy) -> None:
    copy.change("UPDATE results SET peaks = '[]' WHERE seq = (SELECT max(seq) FROM images)")
    (one,) = copy.replay(policy="percentile").skipped
    assert one.why is Skip.SEQUENCE


def test_time_limit_and_recipe_choose_the_parts_and_what_they_stand_for(copy: Copy) -> None:
    kept = copy.rows("SELECT DISTINCT seq, wall_utc FROM images ORDER BY seq")
    newest = replayed(copy.file, limit=2)
    assert [part.part.seq for part in newest.parts] == [row["seq"] for row in kept[-2:]]
    assert newest.strata.total == len(copy.rows(f"SELECT 1 FROM results WHERE seq >= {kept[-2]['seq']}"))
    copy.change("UPDATE triggers SET clock_synced = 1")
    middle = kept[len(kept) // 2]
    later = replayed(copy.file, within=between(parsed(middle["wall_utc"]), None))
    assert [p.part.seq for p in later.parts] == [r["seq"] for r in kept if r["wall_utc"] >= middle["wall_utc"]]
    assert [part.booked.recipe for part in replayed(copy.file, of="spots", limit=1).parts] == ["spots"]
    with pytest.raises(ConfigError, match=r"no production part of recipe none with a stored original"):
        replayed(copy.file, of="none")


def test_golden_and_manual_parts_are_no_production_and_left_out(copy: Copy) -> None:
    kept = copy.rows("SELECT DISTINCT seq FROM images ORDER BY seq")
    copy.change("UPDATE triggers SET mode = 2 WHERE seq = ?", kept[0]["seq"])
    copy.change("UPDATE triggers SET mode = 5 WHERE seq = ?", kept[1]["seq"])
    done = copy.replay()
    assert [part.part.seq for part in done.parts] == [row["seq"] for row in kept[2:]]


def test_a_copied_state_folder_needs_no_credentials_and_is_not_changed(copy: Copy, tmp_path: Path) -> None:
    state = tmp_path / "elsewhere"
    shutil.move(copy.folder / "state", state)
    with copy.file.open("a") as file:
        file.write('[publishers.b]\ntype = "mqtt"\nhost = "broker"\npassword_file = "not/here"\nusername = "u"\n')
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    done = replay(read_station(copy.file, state), Asked(between(None, None), None, 1000, WhatIf()))
    assert len(done.parts) >= PICTURES
    assert not done.broken
    with closing(sqlite3.connect(state / "ledger.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    after = {path: path.read_bytes() for path in before}
    assert before == after


def test_a_book_without_a_kept_part_says_what_to_set(copy: Copy) -> None:
    copy.change("DELETE FROM images")
    with pytest.raises(ConfigError, match=r"images\.originals"):
        copy.replay()


app = typer.Typer()
app.command()(replay_command)


def command(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def test_the_command_proves_the_book_and_ends_with_0(copy: Copy) -> None:
    done = command(copy.file)
    assert done.exit_code == 0, done.output
    kept = len(copy.rows("SELECT DISTINCT seq FROM images"))
    assert f"same in every number: {kept} of the {kept} parts that must be" in done.output


def test_the_command_ends_with_3_when_the_station_judges_otherwise_today(copy: Copy) -> None:
    copy.change("UPDATE defects SET y = y + 0.1 WHERE seq = (SELECT min(seq) FROM defects JOIN images USING (seq))")
    done = command(copy.file)
    assert done.exit_code == 3
    assert "defects" in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--threshold", "bright"], "is not CLASS=SCORE"),
        (["--threshold", "bright=1.5"], "is not CLASS=SCORE"),
        (["--threshold", "bright=nan"], "is not CLASS=SCORE"),
        (["--threshold", "bright=0.01"], "score_floor"),
        (["--threshold", "bright=0.5", "--threshold", "bright=0.6"], "twice"),
        (["--threshold", "rust=0.5"], "bright, dark, spare0"),
        (["--recipe", "none"], "has no recipe 'none'; it has spots"),
        (["--bundle", "none"], "none is not there"),
        (["--since", "lately"], "no time"),
        (["--since", "2999-01-01"], "no production part with a stored original"),
        (["--as-if-released"], "--policy"),
        (["--truth", "none.csv"], "none.csv"),
        (["--report", "/dev/null/out.html"], "cannot be written"),
    ],
)
def test_the_command_says_what_is_wrong_and_ends_with_2(recorded: SimpleNamespace, words: list[str], told: str) -> None:
    done = command(recorded.folder / "station.toml", *words)
    assert done.exit_code == 2
    assert told in done.output.replace("\n", " ")


def test_the_report_shows_flips_and_hides_no_hostile_name(copy: Copy, tmp_path: Path) -> None:
    bright = copy.rows(
        "SELECT seq, t.result_id FROM triggers t JOIN defects USING (seq) JOIN images USING (seq) GROUP BY seq "
        "HAVING min(class_name) = 'bright' AND max(class_name) = 'bright'"
    )
    escaped, cured = bright[:2]
    copy.change("UPDATE triggers SET part_id = '<script>alert(1)</script>\x1b[2J' WHERE seq = ?", escaped["seq"])
    truth = tmp_path / "truth.csv"
    truth.write_text(f"result_id,good\n{escaped['result_id']},no\n{cured['result_id']},yes\n")
    report = tmp_path / "out.html"
    words = (copy.file, "--threshold", "bright=1", "--truth", truth, "--report", report)
    done = command(*words)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert "escapes: 0 then, 1 now (0 put right, 1 new) of 1 known" in done.output
    assert "overkill: 1 then, 0 now (1 put right, 0 new) of 1 known" in done.output
    page = report.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("data:image/jpeg;base64,") == 2 * len(bright)
    first = page.index("and it is bad: judged wrongly now")
    assert all(first < other.start() for other in re.finditer("now passed</span>|put right</span>", page))
    assert "exists already" in command(*words).output
    facts = json.loads(command(*words[:5], "--json").stdout)
    assert facts["summary"]["escapes"]["new"] == 1
    assert {part["result_id"] for part in facts["parts"] if part["flipped"]} == {row["result_id"] for row in bright}
    assert facts["summary"]["rejected_now"]["seen"] == facts["summary"]["rejected_then"] - len(bright)
