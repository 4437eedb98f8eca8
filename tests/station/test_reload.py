"""The station file is read again: all of it is taken over or nothing, and no part is judged by half of each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import networks
import pytest
from file_rig import FileRig
from order_rig import audited
from station_rig import FakeLink

from edge_inspector.datatypes import ERROR_CODE, Evaluation, Reason
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.engine.fingerprint import fingerprint
from edge_inspector.errors import InferenceError
from edge_inspector.interfaces import RecipeAnswer, RecipeRequest, StationStatus, TriggerRefused

pytestmark = pytest.mark.anyio
CHILD = Path(__file__).with_name("build_child.py")
GRAY = 153
"""Seen with a score of 0.6."""


@pytest.fixture
def rig(tmp_path: Path) -> FileRig:
    rig = FileRig(tmp_path)
    rig.recipe("r", deadline_ms=9000)
    rig.recipe("other", number=2, deadline_ms=9000)
    rig.cameras["a"].gray = GRAY
    return rig


async def judged(link: FakeLink, seq: int) -> Evaluation:
    await link.ready()
    link.trigger(seq)
    return (await link.result(seq)).evaluation


def statuses(link: FakeLink) -> list[StationStatus]:
    return [one for one in link.told if isinstance(one, StationStatus)]


async def test_an_open_part_is_judged_by_the_threshold_before_and_the_next_one_by_the_new_one(rig: FileRig) -> None:
    async with rig.running() as link:
        assert await judged(link, 1) is Evaluation.NOT_OK
        rig.backend.slow.set()
        link.trigger(2)
        await link.status(lambda s: s.queue_depth == 1)
        rig.judge_by("r", 0.7)
        assert (await rig.reload()).done
        link.trigger(3)
        await link.status(lambda s: s.queue_depth == 2)
        rig.backend.slow.clear()
        before, after = await link.result(2), await link.result(3)
        assert (before.evaluation, before.thresholds) == (Evaluation.NOT_OK, (0.5, 0.5))
        assert (after.evaluation, after.thresholds) == (Evaluation.OK, (0.7, 0.7))
        assert all(s.recipe_ready for s in statuses(link)[-3:]), "no changeover for another limit"


async def test_another_model_comes_after_the_last_verdict_of_the_one_before_and_before_ready(rig: FileRig) -> None:
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.trigger(1)
        await link.status(lambda s: s.queue_depth == 1 and not s.acquiring)
        rig.retrain("r")
        assert (await rig.reload()).done
        await link.status(lambda s: "waits for the last verdict of the recipe before" in s.error_text and not s.ready)
        link.trigger(2)
        assert (await link.until(TriggerRefused)).reason is Reason.NOT_READY
        assert [one.sha256 for one in rig.backend.loaded] == ["sha-r", "sha-other"]
        rig.backend.slow.clear()
        assert (await link.result(1)).model_hash == "hash"
        await link.ready()
        assert [one.sha256 for one in rig.backend.loaded] == ["sha-r", "sha-other", "sha-r+"]
        link.trigger(3)
        assert (await link.result(3)).model_hash == "hash+"
    assert "recipe r is set up" in rig.events("changeover")[-1]
    assert rig.books().balanced


async def test_a_model_that_cannot_be_loaded_keeps_the_station_not_ready_until_the_file_is_mended(rig: FileRig) -> None:
    async with rig.running() as link:
        await link.ready()
        good = rig.recipes["r"]
        rig.retrain("r")
        rig.backend.load_error = InferenceError("no such layer")
        assert (await rig.reload()).done
        status = await link.status(lambda s: s.error_text == "no such layer" and not s.ready)
        assert status.error_code == ERROR_CODE[Reason.INFERENCE]
        rig.backend.load_error = None
        rig.recipes["r"] = good
        assert (await rig.reload()).done
        assert await judged(link, 1) is Evaluation.NOT_OK


async def test_a_recipe_that_is_new_in_the_file_can_be_ordered_and_one_that_is_gone_cannot(rig: FileRig) -> None:
    async with rig.running() as link:
        await link.ready()
        link.ask(RecipeRequest(1, 3, ""))
        assert not (await link.until(RecipeAnswer, lambda a: a.seq == 1)).accepted
        await link.status(lambda s: s.error_code == ERROR_CODE[Reason.RECIPE])
        rig.recipe("third", number=3, deadline_ms=9000)
        del rig.recipes["other"]
        assert (await rig.reload()).done
        await link.status(lambda s: s.error_code == ERROR_CODE[Reason.RECIPE])
        link.ask(RecipeRequest(2, 3, ""))
        assert (await link.until(RecipeAnswer, lambda a: a.seq == 2)).accepted
        await link.status(lambda s: s.ready and s.recipe == "third")
        link.trigger(1)
        assert (await link.result(1)).trigger.recipe == "third"
        link.ask(RecipeRequest(3, 2, ""))
        assert not (await link.until(RecipeAnswer, lambda a: a.seq == 3)).accepted


async def test_a_file_without_the_active_recipe_is_refused(rig: FileRig) -> None:
    async with rig.running() as link:
        await link.ready()
        del rig.recipes["r"]
        rig.judge_by("other", 0.9)
        answer = await rig.reload()
        assert not answer.done
        assert "recipe r is the active one" in answer.text
        link.ask(RecipeRequest(1, 2, ""))
        await link.status(lambda s: s.ready and s.recipe == "other")
        assert (await judged(link, 1)) is Evaluation.NOT_OK, "nothing of the refused file holds"
        assert (await rig.reload()).done
        assert (await judged(link, 2)) is Evaluation.OK


async def test_a_broken_file_changes_nothing_and_every_mistake_is_told(rig: FileRig) -> None:
    async with rig.running() as link:
        await link.ready()
        rig.judge_by("r", 0.9)
        rig.broken = ["expected a table", "is no name"]
        answer = await rig.reload()
        assert not answer.done
        assert [line.rpartition(": ")[2] for line in answer.facts["problems"]] == rig.broken
        assert await judged(link, 1) is Evaluation.NOT_OK
    (event,) = rig.events("reload_refused")
    assert event.startswith("nothing was taken over, the station goes on as before: the station file has 2 mistakes: ")
    assert [one for one in audited(rig) if one[1] == "reload_refused"] == [("anna", "reload_refused", event)]


async def test_what_needs_a_restart_is_named_and_keeps_the_rest_out(rig: FileRig) -> None:
    async with rig.running() as link:
        await link.ready()
        rig.judge_by("r", 0.9)
        rig.more = '[log]\nlevel = "debug"\njson_lines = true\n[ledger]\nkeep_days = 3\nsynchronous = "normal"\n'
        answer = await rig.reload()
        assert not answer.done
        assert answer.facts["restart"] == ["ledger.synchronous", "log.json_lines"]
        assert await judged(link, 1) is Evaluation.NOT_OK


@pytest.mark.heavy
async def test_an_engine_is_proven_by_the_new_limits_before_the_station_is_ready(rig: FileRig) -> None:
    """Where the backend keeps proofs: what was proven was another judgement."""
    del rig.recipes["other"]
    rig.bundles["r"] = load_bundle(networks.bundle("yolo", rig.folder / "bundle", size=32, classes=2))
    rig.backend.proof, begun = "kept", list[float]()

    def build(recipe: str) -> list[str]:
        limit = rig.recipes[recipe].thresholds.by_class
        begun.append(limit[0])
        told = {
            "begun": str(rig.folder / "begun"),
            "wait_for": str(rig.folder / "go") if len(begun) > 1 else "",
            "says": "",
            "dies": "",
            "proof": {"outcome": "passed", "text": "the same verdicts", "golden": "", "thresholds": [limit]},
            "facts": dict(fingerprint(rig.bundles[recipe], rig.backend).facts),
            "store": str(rig.folder / "engines"),
            "built_utc": f"2026-11-22T00:00:{len(begun):02d}Z",
        }
        return [sys.executable, str(CHILD), json.dumps(told)]

    rig.build_command = build
    async with rig.running() as link:
        assert await judged(link, 1) is Evaluation.NOT_OK
        rig.judge_by("r", 0.7)
        assert (await rig.reload()).done
        status = await link.status(lambda s: "the engine of recipe r is being built: 10%" in s.error_text)
        assert not status.ready
        link.trigger(2)
        assert (await link.until(TriggerRefused)).reason is Reason.NOT_READY
        (rig.folder / "go").touch()
        assert await judged(link, 3) is Evaluation.OK
    assert begun == [0.5, 0.7]
