"""What a golden-sample check says against its recipe and its bundle, and how `check` says it in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networks
import pytest

from edge_inspector.config.golden import golden_problems
from edge_inspector.engine.bundle import Bundle, load_bundle
from edge_inspector.settings import Recipe
from edge_inspector.settings.golden import GoldenSettings, HealthSettings
from edge_inspector.station.golden_words import golden_words, health_words

GOOD = {"id": "G", "expect": "OK"}
BAD = {"id": "B", "expect": "NOT_OK"}


@pytest.fixture(scope="module", params=[0, 1], ids=["no golden set", "golden set"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "b"
    return load_bundle(networks.bundle("segmentation", folder, golden=request.param))


def problems(bundle: Bundle, trigger: str = "line", **golden: Any) -> list[tuple[str, str]]:
    period = {"period_s": 1.0} if trigger == "timer" else {}
    recipe = Recipe.model_validate(
        {"number": 1, "trigger": trigger, "views": [{"camera": "a"}], "bundle": "b", "golden": golden, **period}
    )
    found = golden_problems(Path("station.toml"), "recipes.r", recipe, bundle)
    return [(problem.key, problem.expected) for problem in found]


@pytest.mark.parametrize("trigger", ["line", "timer"])
def test_a_trigger_without_part_ids_needs_an_order(bundle: Bundle, trigger: str) -> None:
    ((key, expected),) = problems(bundle, trigger, parts=[GOOD, BAD])
    assert key == "recipes.r.golden.told_by"
    assert expected == f"expected 'order': trigger = '{trigger}' brings no part id"
    assert problems(bundle, trigger, parts=[GOOD, BAD], told_by="order") == []
    assert problems(bundle, "plc", parts=[GOOD, BAD]) == []


@pytest.mark.parametrize("name", ["scratch", "good"])
def test_what_must_be_found_is_a_class_of_defects(bundle: Bundle, name: str) -> None:
    bad = {**BAD, "defects": ["bright", name]}
    ((key, expected),) = problems(bundle, "plc", parts=[GOOD, bad])
    assert key == "recipes.r.golden.parts.1.defects"
    assert expected == "is no class of defects of the bundle; those are bright, dark"


def test_a_check_with_nothing_to_show_is_refused(bundle: Bundle) -> None:
    found = problems(bundle)
    if bundle.golden is not None:
        assert found == []
    else:
        assert [key for key, _ in found] == ["recipes.r.golden.pictures"]


def test_pictures_need_both_folders(bundle: Bundle, tmp_path: Path) -> None:
    ((_, expected),) = problems(bundle, pictures=str(tmp_path))
    assert expected.endswith("there is no good and no bad")
    (tmp_path / "good").mkdir()
    assert problems(bundle, pictures=str(tmp_path))[0][1].endswith("there is no bad")
    (tmp_path / "bad").mkdir()
    assert problems(bundle, pictures=str(tmp_path)) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"parts": [GOOD, BAD, {"id": "C", "expect": "NOT_DECIDABLE"}], "every_parts": 9, "shift_start": True},
            "1 good and 2 bad master parts, told by part id; due at the begin of a shift, after a changeover, "
            "every 9 parts",
        ),
        (
            {"after_changeover": False},
            "stored pictures (the bundle's golden set), which prove the software alone; due once, and again when "
            "recipe, model or software change",
        ),
        (
            {"parts": [GOOD, BAD], "told_by": "order", "grace_parts": 5},
            "1 good and 1 bad master parts, told by order; due after a changeover; 5 more parts may pass until it is "
            "made",
        ),
    ],
)
def test_the_check_in_words(settings: dict[str, Any], words: str) -> None:
    assert golden_words(GoldenSettings.model_validate(settings)) == words


def test_the_health_in_words() -> None:
    assert health_words(HealthSettings.model_validate({"stops": False, "shift_px": (1, 2)})) == (
        "8 pictures in a row, warning/alarm: shift px 1/2, focus loss 10%/16%, brightness 7%/12%, uniformity 10%/20%, "
        "dirt px 5/8; an alarm does not stop the station"
    )
