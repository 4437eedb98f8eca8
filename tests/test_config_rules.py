"""What of a recipe's zones and rules cannot be: against each other, the bundle and the cameras."""

# ruff: noqa: E501 - a row of a table reads best on one line
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_inspector import assembly
from edge_inspector.config import StationFileError
from edge_inspector.config.rules import crossed_rules, rule_problems
from edge_inspector.datatypes import Calibration, Criteria, Homography, Limits
from edge_inspector.engine.bundle import Bundle, find_bundle, load_bundle
from edge_inspector.settings import Recipe

FILE = Path("station.toml")
SQUARE = [[0, 0], [100, 0], [100, 100], [0, 100]]
FAR = [[9000, 0], [9100, 0], [9100, 100], [9000, 100]]
PLANE: Homography = (0.1, 0, 0, 0, 0.1, 0, 0, 0, 1)
STATION = """\
schema = 1
[station]
name = "cell1"
recipe = "board"
runtime_dir = "/run/cell1"
[cameras.top]
type = "folder"
path = "pictures"
[backend]
type = "onnxruntime"
[recipes.board]
number = 1
bundle = "pcb-demo"
trigger = "timer"
period_s = 1.0
views = [{ camera = "top" }]
%s
"""


@pytest.fixture(scope="module")
def boards() -> Bundle:
    """Its task is detect, its score_floor 0.05; the classes are open, short, mousebite, spur, copper and pin-hole."""
    return load_bundle(find_bundle(Path("pcb-demo"), Path.cwd()))


@pytest.fixture(scope="module")
def bundles(boards: Bundle) -> dict[str, Bundle]:
    sorts = Criteria(("red", "blue", "dent"), frozenset({0, 1}))
    gauges = Criteria(("width", "depth"), limits=(Limits(1, 3, "mm"), Limits(-4, 4)))
    return {
        "detect": boards,
        "classify": replace(boards, task="classify", criteria=sorts, default_thresholds=(0.5, 0.5, 0.5)),
        "measure": replace(boards, task="measure", criteria=gauges, default_thresholds=(1.0, 1.0)),
        "anomaly": replace(boards, task="anomaly", criteria=Criteria(("anomaly",)), default_thresholds=(0.5,)),
    }


def defect(**keys: Any) -> dict[str, Any]:
    return {"kind": "defect", "name": "d", "classes": ["short"], **keys}


def presence(name: str = "p", **keys: Any) -> dict[str, Any]:
    return {"kind": "presence", "name": name, "classes": ["copper"], **keys}


def tolerate(**keys: Any) -> dict[str, Any]:
    return {"kind": "tolerate", "name": "t", "classes": ["short"], **keys}


def recipe(rules: list[dict[str, Any]], zones: dict[str, Any] | None = None, **keys: Any) -> Recipe:
    views = keys.pop("views", [{"camera": "top"}, {"camera": "side"}])
    return Recipe.model_validate(
        {"number": 1, "bundle": "b", "views": views, "rules": rules, "zones": zones or {}, **keys}
    )


def zone(*include: Any, camera: str = "top", exclude: Any = ()) -> dict[str, Any]:
    return {"camera": camera, "include": list(include), "exclude": list(exclude)}


@pytest.mark.parametrize(
    ("rules", "zones", "key", "text"),
    [
        pytest.param([defect(), tolerate(name="d", classes=["open"])], {}, "rules.1.name = 'd'", "is already the name of rules.0", id="a name twice"),
        pytest.param([defect(cameras=["rear"])], {}, "rules.0.cameras = 'rear'", "expected cameras of the recipe's views: top, side", id="a camera of another recipe"),
        pytest.param([defect(zones=["edge", "rim"])], {"edge": zone(SQUARE)}, "rules.0.zones = 'rim'", "expected zones of the recipe: edge", id="no such zone"),
        pytest.param([defect(in_views=3)], {}, "rules.0.in_views = 3", "expected at most 2: it looks at top, side", id="more views than there are"),
        pytest.param([defect(zones=["rim"], in_views=2)], {"rim": zone(SQUARE)}, "rules.0.in_views = 2", "expected at most 1: it looks at top", id="a zone is in one view"),
        pytest.param([defect(zones=["rim"])], {"rim": zone(SQUARE, camera="rear")}, "zones.rim.camera = 'rear'", "expected a camera of the recipe's views", id="a zone of another recipe's camera"),
        pytest.param([defect()], {"rim": zone(SQUARE)}, "zones.rim", "is a zone of which no rule speaks", id="a zone for nothing"),
        pytest.param([defect(zones=["rim"])], {"rim": zone([[0, 0], [9, 9], [9, 0], [0, 9]])}, "zones.rim.include.0", "crosses itself: the edges that begin at [0, 0] and [9, 0]", id="corners in the wrong order"),
        pytest.param([defect(zones=["rim"])], {"rim": zone(SQUARE, exclude=[[[0, 0], [5, 5], [9, 9]]])}, "zones.rim.exclude.0", "has no area: its corners lie on one line", id="three corners on a line"),
        pytest.param([defect(zones=["rim"])], {"rim": zone(SQUARE, exclude=[SQUARE])}, "zones.rim", "has no area: all of include is excluded", id="nothing is left"),
        pytest.param([defect(), tolerate()], {}, "rules.0.classes = 'short'", "can never act: another rule tolerates", id="rejected and tolerated"),
        pytest.param([defect(cameras=["top"]), tolerate(cameras=["top"])], {}, "rules.0.classes = 'short'", "can never act", id="on one camera"),
        pytest.param([presence(exactly=1), tolerate(classes=["copper"])], {}, "rules.1.classes = 'copper'", "is tolerated by one rule and asked for by another: rules.0 (p)", id="counted and tolerated"),
        pytest.param([presence(exactly=1), presence("q", at_least=2)], {}, "rules.1.classes = 'copper'", "no count is good for this rule and for rules.0 (p)", id="one and at least two"),
        pytest.param([presence(at_most=1), presence("q", at_least=2)], {}, "rules.1.classes = 'copper'", "no count is good", id="at most one and at least two"),
        pytest.param([presence(exactly=4), defect(classes=["copper"], at_least=4)], {}, "rules.1.classes = 'copper'", "no part can be good: this rule and rules.0 (p) reject and ask for the same", id="four wanted, four rejected"),
        pytest.param([{"kind": "measure", "name": "a", "value": "w", "low": 1}, {"kind": "measure", "name": "b", "value": "w", "high": 2}], {}, "rules.1.value = 'w'", "has its limits from rules.0 (a) already", id="limits twice"),
        pytest.param([{"kind": "measure", "name": "a", "value": "w", "low": 1}, tolerate(classes=["w"])], {}, "rules.1.classes = 'w'", "is tolerated by one rule and asked for by another", id="measured and tolerated"),
        pytest.param([{"kind": "classify", "name": "a", "good": ["x"]}, {"kind": "classify", "name": "b", "margin": 0.1}], {}, "rules.1.kind = 'classify'", "rules.0 (a) says what is good on the same camera", id="good twice"),
    ],
)  # fmt: skip
def test_what_rules_say_against_each_other(rules: Any, zones: Any, key: str, text: str) -> None:
    said = [str(problem) for problem in crossed_rules(FILE, "recipes.x", recipe(rules, zones))]
    assert [one for one in said if one.startswith(f"station.toml: recipes.x.{key}: ") and text in one], said
    assert len(said) == 1


@pytest.mark.parametrize(
    ("rules", "zones"),
    [
        pytest.param([defect(cameras=["top"]), tolerate(cameras=["side"])], {}, id="rejected here, tolerated there"),
        pytest.param([defect(), tolerate(cameras=["side"])], {}, id="tolerated on one of its cameras"),
        pytest.param([defect(), tolerate(zones=["rim"])], {"rim": zone(SQUARE)}, id="tolerated in a zone"),
        pytest.param([presence(exactly=1), presence("q", at_least=1)], {}, id="two counts that agree"),
        pytest.param([presence(exactly=1, cameras=["top"]), presence("q", exactly=2, cameras=["side"])], {}, id="one here, two there"),
        pytest.param([presence(exactly=1, zones=["rim"]), presence("q", exactly=2)], {"rim": zone(SQUARE)}, id="one in the zone, two in all"),
        pytest.param([presence(exactly=1), defect(classes=["copper"], zones=["rim"])], {"rim": zone(SQUARE)}, id="counted, and a defect where it must not be"),
        pytest.param([presence(exactly=4), defect(classes=["copper"], at_least=5)], {}, id="four wanted, five rejected"),
        pytest.param([presence(exactly=4), defect(classes=["copper"], longer_than_px=9)], {}, id="four wanted, large ones rejected"),
        pytest.param([defect(zones=["a", "b"], in_views=2)], {"a": zone(SQUARE), "b": zone(SQUARE, camera="side")}, id="zones of two views"),
    ],
)  # fmt: skip
def test_rules_that_only_seem_to_contradict_each_other(rules: Any, zones: Any, boards: Bundle) -> None:
    made = recipe(rules, zones)
    assert list(crossed_rules(FILE, "recipes.x", made)) == []
    assert list(rule_problems(FILE, "recipes.x", made, boards, {})) == []


@pytest.mark.parametrize(
    ("task", "rule", "key", "text"),
    [
        ("detect", {"kind": "classify", "name": "c", "margin": 0.1}, "rules.0.kind = 'classify'", "has task = 'detect', for which rules are of kind 'defect' or 'presence' or 'tolerate'"),
        ("anomaly", presence(exactly=1), "rules.0.kind = 'presence'", "for which rules are of kind 'defect' or 'tolerate'"),
        ("detect", defect(classes=["scratch"]), "rules.0.classes = 'scratch'", "is not of the bundle; its classes are open, short"),
        ("classify", {"kind": "classify", "name": "c", "good": ["green"]}, "rules.0.good = 'green'", "is not of the bundle"),
        ("classify", {"kind": "classify", "name": "c", "good": ["red", "blue", "dent"]}, "rules.0.good", "names every class"),
        ("measure", {"kind": "measure", "name": "m", "value": "length", "low": 1}, "rules.0.value = 'length'", "its classes are width, depth"),
        ("measure", {"kind": "measure", "name": "m", "value": "width", "low": 4}, "rules.0.low = 4", "no value is good: the lowest would be 4, the highest 3"),
        ("measure", {"kind": "measure", "name": "m", "value": "width", "high": 0.5}, "rules.0.high = 0.5", "no value is good"),
        ("measure", {"kind": "measure", "name": "m", "value": "width", "grey": 1.1}, "rules.0.grey = 1.1", "expected at most 1: no value of 1 to 3 is farther from both limits"),
        ("detect", defect(longer_than_mm=1, cameras=["side"]), "rules.0.longer_than_mm = 1", "is in mm, and side has no calibration without an inspection plane"),
        ("detect", defect(total_larger_than_mm2=1, cameras=["top"]), "rules.0.total_larger_than_mm2 = 1", "top has a calibration without an inspection plane"),
        ("detect", defect(grey_score=0.7), "rules.0.grey_score = 0.7", "expected at most 0.65: the threshold of short is 0.7, and below the bundle's score_floor (0.05)"),
        ("detect", presence(exactly=1, grey_score=0.7), "rules.0.grey_score = 0.7", "expected at most 0.65: the threshold of copper is 0.7"),
        ("detect", presence(exactly=300), "rules.0.exactly = 300", "expected at most 299: a picture's 300 most confident findings are looked at"),
        ("detect", presence(at_most=300), "rules.0.at_most = 300", "expected at most 299"),
        ("detect", defect(at_least=301, together=True), "rules.0.at_least = 301", "expected at most 300"),
        ("classify", defect(classes=["dent"], at_least=2), "rules.0.at_least", "judges a view as a whole"),
        ("classify", defect(classes=["dent"], longer_than_px=2), "rules.0.longer_than_px", "judges a view as a whole"),
        ("classify", defect(classes=["red"]), "rules.0.classes", "speaks of no class that is a defect where it looks"),
    ],
)  # fmt: skip
def test_what_the_bundle_and_the_cameras_say_against_a_rule(
    bundles: dict[str, Bundle], task: str, rule: Any, key: str, text: str
) -> None:
    flat = {"top": Calibration((1000, 1000), (1.0, 1.0, 1.0, 1.0), (0.0,) * 4), "side": None}
    problems = rule_problems(FILE, "recipes.x", recipe([rule]), bundles[task], flat)
    (said,) = map(str, problems)
    assert said.startswith(f"station.toml: recipes.x.{key}: ")
    assert text in said


def test_a_camera_with_a_plane_has_sizes_in_mm(boards: Bundle) -> None:
    flat = Calibration((1000, 1000), (1.0, 1.0, 1.0, 1.0), (0.0,) * 4, plane=PLANE)
    made = recipe([defect(longer_than_mm=1)])
    assert list(rule_problems(FILE, "recipes.x", made, boards, {"top": flat, "side": flat})) == []


def test_every_class_tolerated_leaves_a_rule_nothing(boards: Bundle) -> None:
    made = recipe([{"kind": "defect", "name": "d"}, tolerate(classes=list(boards.classes))])
    (said,) = map(str, rule_problems(FILE, "recipes.x", made, boards, {}))
    assert "recipes.x.rules.0.classes: speaks of no class that is a defect" in said


@pytest.mark.parametrize(
    ("views", "seen"),
    [
        ([{"camera": "top"}], "x 0 to 1920, y 0 to 1200"),
        ([{"camera": "top", "roi": {"x": 200, "y": 0, "width": 99, "height": 99}}], "x 200 to 299, y 0 to 99"),
    ],
)
def test_a_zone_outside_of_the_picture_is_told(boards: Bundle, views: Any, seen: str) -> None:
    polygon = FAR if "1920" in seen else SQUARE
    made = recipe([defect(zones=["rim"])], {"rim": zone(polygon)}, views=views)
    lens = Calibration((1200, 1920), (1.0, 1.0, 1.0, 1.0), (0.0,) * 4)
    (said,) = map(str, rule_problems(FILE, "recipes.x", made, boards, {"top": lens}))
    assert f"recipes.x.zones.rim: lies outside of what top looks at, which is {seen}" in said


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('[[recipes.board.rules]]\nname = "a"', "recipes.board.rules.0.kind: is missing"),
        ('[[recipes.board.rules]]\nkind = "reject"\nname = "a"', "recipes.board.rules.0.kind = 'reject': expected one of defect, presence, measure, classify, tolerate"),
        ('[[recipes.board.rules]]\nkind = "defect"\nname = "a b"', "recipes.board.rules.0.name = 'a b': expected a name"),
        ('[[recipes.board.rules]]\nkind = "defect"\nname = "a"\nlonger_than = 3', "recipes.board.rules.0.longer_than = 3: is not a known key"),
        ('[[recipes.board.rules]]\nkind = "defect"\nname = "a"\nlonger_than_px = -3', "recipes.board.rules.0.longer_than_px = -3: expected greater than 0"),
        ('[[recipes.board.rules]]\nkind = "defect"\nname = "a"\nlonger_than_px = inf', "recipes.board.rules.0.longer_than_px = inf: expected a finite number"),
        ('[[recipes.board.rules]]\nkind = "defect"\nname = "a"\ncameras = ["top"]\nzones = ["rim"]', "recipes.board.rules.0: has zones and cameras"),
        ('[[recipes.board.rules]]\nkind = "defect"\nname = "a"\ntogether = true\nin_views = 2', "recipes.board.rules.0: has together and in_views"),
        ('[[recipes.board.rules]]\nkind = "defect"\nname = "a"\ngrey_size = 0.1', "recipes.board.rules.0: has grey_size, and no size"),
        ('[[recipes.board.rules]]\nkind = "presence"\nname = "a"\nclasses = ["copper"]', "recipes.board.rules.0: expected exactly = N, or one or both of at_least and at_most"),
        ('[[recipes.board.rules]]\nkind = "presence"\nname = "a"\nclasses = ["copper"]\nexactly = 1\nat_most = 2', "recipes.board.rules.0: expected exactly = N"),
        ('[[recipes.board.rules]]\nkind = "presence"\nname = "a"\nclasses = ["copper"]\nat_least = 3\nat_most = 2', "recipes.board.rules.0: at_least = 3 is above at_most = 2"),
        ('[[recipes.board.rules]]\nkind = "measure"\nname = "a"\nvalue = "w"', "recipes.board.rules.0: expected at least one of low, high and grey"),
        ('[[recipes.board.rules]]\nkind = "classify"\nname = "a"', "recipes.board.rules.0: expected at least one of good and margin"),
        ('[recipes.board.zones.rim]\ncamera = "top"', "recipes.board.zones.rim: has neither include nor exclude"),
        ('[recipes.board.zones.rim]\ncamera = "top"\ninclude = [[[0, 0], [1, 1]]]', "recipes.board.zones.rim.include.0 = [[0, 0], [1, 1]]: expected at least 3"),
        ('[recipes.board.zones.rim]\ncamera = "top"\ninclude = [[[0, 0], [1, 1], [0, 1e9]]]', "recipes.board.zones.rim.include.0.2.1 = 1000000000.0: expected less than"),
        ('[[line_rules]]\nkind = "nothing"\nname = "a"', "line_rules.0.kind = 'nothing': expected one of "),
    ],
)  # fmt: skip
def test_a_rule_that_is_wrong_in_itself(tmp_path: Path, written: str, expected: str) -> None:
    station = tmp_path / "station.toml"
    station.write_text(STATION % written)
    with pytest.raises(StationFileError) as caught:
        assembly.check(station)
    assert any(line.startswith(f"{station}: {expected}") for line in str(caught.value).splitlines()), str(caught.value)


def test_a_zone_has_so_many_corners_at_most() -> None:
    polygon = [[x, y] for x in range(100) for y in range(10)]
    with pytest.raises(ValueError, match="polygons of 1003 corners together, expected at most 1000"):
        recipe([], {"rim": zone(polygon, exclude=[[[0, 0], [1, 0], [0, 1]]])})


def test_the_stations_criteria_have_the_rules(tmp_path: Path, boards: Bundle) -> None:
    station = tmp_path / "station.toml"
    station.write_text(
        STATION % '[[recipes.board.rules]]\nkind = "defect"\nname = "a"\nclasses = ["open"]\nat_least = 2'
    )
    settings, recipes, bundles = assembly.recipes_of(station)
    loaded = recipes["board"]
    assert [(rule.name, len(getattr(rule, "classes", ()))) for rule in loaded.criteria.rules] == [("a", 1), ("", 5)]
    assert (settings.station.name, bundles["board"].name, loaded.criteria.classes) == (
        "cell1",
        boards.name,
        boards.classes,
    )
