"""Rules over many parts in a station file: what is refused, and how each reads in words."""

from __future__ import annotations

from pathlib import Path

import networks
import pytest

from edge_inspector import assembly
from edge_inspector.config import StationFileError
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.settings.line_rules import in_words

STATION = """\
schema = 1
[station]
name = "cell1"
recipe = "board"
state_dir = "state"
{station}
[cameras.top]
type = "folder"
path = "pictures"
[backend]
type = "onnxruntime"
[recipes.board]
number = 1
bundle = "bundle"
trigger = "timer"
period_s = 1.0
views = [{{ camera = "top" }}]
{rules}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("station")
    networks.bundle("yolo", made / "bundle")
    (made / "pictures").mkdir()
    return made


def station_file(folder: Path, *rules: str, station: str = "") -> Path:
    path = folder / "station.toml"
    tables = "\n".join(f"[[line_rules]]\n{rule}" for rule in rules)
    path.write_text(STATION.format(station=station, rules=tables))
    return path


ROW, RATE, TREND = 'kind = "consecutive"\n', 'kind = "reject_rate"\n', 'kind = "trend"\n'


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([ROW + 'name = "x"'], ["line_rules.0", "parts"]),
        ([ROW + 'name = "x"\nparts = 1'], ["parts", "greater than or equal to 2"]),
        (['kind = "often"\nname = "x"'], ["line_rules.0", "often", "consecutive", "reject_rate", "trend"]),
        ([RATE + 'name = "x"\nabove = 0.1'], ["expected exactly one of parts and minutes"]),
        ([RATE + 'name = "x"\nabove = 0.1\nparts = 50\nminutes = 1.0'], ["expected exactly one of parts and minutes"]),
        ([RATE + 'name = "x"\nabove = 1.0\nparts = 50'], ["above", "less than 1"]),
        ([TREND + 'name = "x"\nrise = 0.1\nblocks = 7'], ["blocks", "greater than or equal to 8"]),
        ([TREND + 'name = "x"\nrise = 0.1\nchance = 0.5'], ["chance", "less than or equal to 0.05"]),
        ([ROW + 'name = "x"\nparts = 2'] * 2, ["line_rules", "'x' is given to two rules"]),
        ([ROW + 'name = "x"\nparts = 2\nrecipes = ["lid"]'], ["line_rules.0.recipes", "'lid'", "recipes are board"]),
        ([ROW + 'name = "x"\nparts = 2\nclasses = ["rust"]'], ["line_rules.0.classes", "'rust'", "class of no recipe"]),
    ],
)
def test_a_rule_that_could_never_speak_is_refused(folder: Path, rules: list[str], said: list[str]) -> None:
    with pytest.raises(StationFileError) as refused:
        assembly.check(station_file(folder, *rules))
    for word in said:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            ROW + "parts = 5",
            "ask for a stop of the line after 5 parts in a row with the same defect or by the same rule",
        ),
        (
            ROW + 'parts = 5\nclasses = ["{0}", "{1}"]',
            "ask for a stop of the line after 5 parts in a row with the same defect ({0} or {1})",
        ),
        (RATE + "parts = 200\nabove = 0.05", "alarm when more than 5.0% of the last 200 parts are rejects"),
        (
            RATE + 'minutes = 10.0\nabove = 0.125\nclasses = ["{0}"]\nrecipes = ["board"]',
            "alarm when more than 12.5% of the parts of 10 minutes are rejects (of 20 or more) by {0} in recipe board",
        ),
        (
            TREND + 'rise = 0.1\nof = "score"',
            "notice when the highest score of the parts rises by 0.1 or more over 20 blocks of 50 parts",
        ),
        (
            TREND + 'rise = 0.1\nclasses = ["{0}"]',
            "notice when the share of rejects ({0}) rises by 0.1 or more over 20 blocks of 50 parts",
        ),
    ],
)
def test_a_rule_reads_as_a_person_would_say_it(folder: Path, rule: str, words: str) -> None:
    classes = load_bundle(folder / "bundle").classes
    settings = assembly.check(station_file(folder, 'name = "x"\n' + rule.format(*classes)))
    assert in_words(settings.line_rules[0]) == words.format(*classes)


def test_rules_and_the_models_memory_reach_the_station(folder: Path) -> None:
    path = station_file(folder, ROW + 'name = "x"\nparts = 2', station="model_memory_mb = 3")
    parts, _ = assembly.assemble(path)
    assert [rule.name for rule in parts.line_rules] == ["x"]
    assert parts.limits.model_memory_bytes == 3_000_000
    parts, _ = assembly.assemble(station_file(folder))
    assert (parts.line_rules, parts.limits.model_memory_bytes) == ((), None)
