"""`edge-inspector check`: the verdict on a station file, on one line a problem."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_inspector.cli.main import app

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
    )


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
