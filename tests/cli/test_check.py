"""`edge-inspector check`: the verdict on a station file, on one line a problem."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_inspector.cli.main import app
from edge_inspector.config.adaptive import in_words as adaptive_words
from edge_inspector.settings.adaptive import AdaptiveSettings

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
LINE = re.compile(r"(?P<file>.+?\.toml): (?P<key>[^ ]+)( = (?P<value>.+?))?: (?P<expected>.+)")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    for name in ("station.toml", "calibration-top.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    return tmp_path / "station.toml"


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def test_the_example_station_passes_and_is_summed_up() -> None:
    done = CliRunner().invoke(app, ["check", str(EXAMPLES / "station.toml")])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        f"{EXAMPLES / 'station.toml'}: right. Station 'line3-cell2': "
        "1 camera(s), 1 recipe(s), 1 PLC link(s), 1 publisher(s).\n"
        "\n"
        "Recipe board-a (number 1): bundle pcb-demo, looks at top.\n"
        "  thresholds: open 0.6, short 0.4 (this recipe's), mousebite 0.55, spur 0.6, copper 0.7, pin-hole 0.55\n"
        "  rules: none; reject if any open, short, mousebite, spur, copper or pin-hole\n"
        f"  adaptive: {adaptive_words(AdaptiveSettings.model_validate({}))}\n"
        "  golden: none\n"
        "  health: none\n"
    )


def test_rules_are_told_in_words(example: Path) -> None:
    rules = """
[recipes.board-a.zones.rim]
camera = "top"
include = [[[0, 0], [1920, 0], [1920, 1200], [0, 1200]]]
exclude = [[[100, 100], [1820, 100], [1820, 1100], [100, 1100]]]

[[recipes.board-a.rules]]
kind = "defect"
name = "shorts"
classes = ["short"]
zones = ["rim"]
longer_than_px = 12

[[recipes.board-a.rules]]
kind = "presence"
name = "vias"
classes = ["pin-hole"]
exactly = 4

[[line_rules]]
kind = "consecutive"
name = "row"
parts = 3
"""
    example.write_text(example.read_text() + rules)
    done = CliRunner().invoke(app, ["check", str(example)])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[4:10] == [
        "  zone rim of top: inside x 0 to 1920, y 0 to 1200 (4 corners), without x 100 to 1820, y 100 to 1100"
        " (4 corners), 584000 px²",
        "  rules:",
        "    shorts: reject if any short longer than 12 px in zone rim",
        "    vias: expect exactly 4 pin-hole",
        "    otherwise: reject if any open, mousebite, spur or copper",
        "    otherwise: accept any other short",
    ]
    assert done.stdout.splitlines()[-2] == "Line rules:"
    assert done.stdout.splitlines()[-1].startswith("  row: ")


def test_each_problem_is_one_line_of_file_key_value_and_what_was_expected(example: Path) -> None:
    edit(
        example,
        ('level = "info"', 'level = "all"'),
        ("port = 4840", "port = 0"),
        ("short = 0.4", "shrot = 0.4"),
        ("calibration-top.yaml", "calibration.toml"),
    )
    done = CliRunner().invoke(app, ["check", str(example)])
    assert (done.exit_code, done.stdout) == (2, "")
    found = [LINE.fullmatch(line) for line in done.stderr.splitlines()]
    assert {match and (match["file"], match["key"], match["value"]) for match in found} == {
        (str(example), "log.level", "'all'"),
        (str(example), "cameras.top.calibration", f"'{example.parent / 'calibration.toml'}'"),
        (str(example), "plc.line.port", "0"),
        (str(example), "recipes.board-a.thresholds.shrot", "0.4"),
    }


def test_a_rectangle_is_compared_with_the_calibrated_picture(example: Path) -> None:
    edit(example, ("width = 640", "width = 1640"))
    done = CliRunner().invoke(app, ["check", str(example)])
    assert done.exit_code == 2
    key = "recipes.board-a.views.0.roi"
    assert done.stderr == f"{example}: {key} = 160,80 1640x640: expected inside the 960x800 picture\n"


@pytest.mark.parametrize("content", [b"", b"\xff", b"[", b"schema = 1\n"])
def test_what_is_no_station_file_is_told_without_a_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "station.toml"
    path.write_bytes(content)
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code == 2
    assert done.stderr
    assert all(line.startswith(f"{path}: ") for line in done.stderr.splitlines())


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(tmp_path / "station.toml")])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"{tmp_path / 'station.toml'}: file: no such file; give the path")


@pytest.mark.parametrize("command", ["check", "run"])
def test_check_and_run_tell_the_same_problems(example: Path, command: str) -> None:
    edit(example, ("serial", "serail"), ("short = 0.4", "shrot = 0.4"))
    done = CliRunner().invoke(app, [command, str(example)])
    assert done.exit_code == 2
    keys = [line.removeprefix(f"{example}: ").split(" = ")[0] for line in done.stderr.splitlines()]
    assert keys == ["cameras.top.serail", "recipes.board-a.thresholds.shrot"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('host = "0.0.0.0"', "TLS is required"),
        ('host = "0.0.0.0"\ncertificate = "web.pem"\nprivate_key = "web.key"', "no such file"),
    ],
)
def test_a_web_service_that_would_not_start_is_wrong(example: Path, table: str, words: str) -> None:
    example.write_text(f"{example.read_text()}\n[web]\n{table}\n")
    done = CliRunner().invoke(app, ["check", str(example)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
