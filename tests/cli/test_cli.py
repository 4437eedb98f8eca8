"""The command line as its user meets it: help, version, completion, schema, devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

import edge_inspector
from edge_inspector.cli.main import app

COMMANDS = sorted(str(command.name) for command in app.registered_commands)


def invoke(*words: str, **env: str) -> str:
    done = CliRunner().invoke(app, list(words), prog_name="edge-inspector", env={"COLUMNS": "200", **env})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_help_names_every_command_and_both_ways_to_complete() -> None:
    said = invoke("--help")
    assert {"check", "demo", "devices", "evaluate", "plc-sim", "run", "schema"} <= set(COMMANDS)
    assert all(f" {command} " in said for command in COMMANDS)
    assert "--install-completion" in said
    assert "--show-completion" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_shows_an_example_of_it(command: str) -> None:
    said = invoke(command, "--help")
    assert f"edge-inspector {command}" in said.partition("Example")[2]


def test_without_a_command_the_help_is_shown() -> None:
    done = CliRunner().invoke(app, [])
    assert "Commands" in done.output
    assert done.exit_code == 2


def test_the_version_is_the_packages() -> None:
    assert invoke("--version") == f"edge-inspector {edge_inspector.__version__}\n"


@pytest.mark.parametrize(("no_color", "colored"), [(None, True), ("", True), ("1", False)])
def test_errors_are_red_unless_no_color_is_set(no_color: str | None, colored: bool, tmp_path: Path) -> None:
    words = ["check", str(tmp_path / "nowhere.toml")]
    done = CliRunner().invoke(app, words, env={"NO_COLOR": no_color}, color=True)
    assert done.exit_code == 2
    assert ("\x1b[31m" in done.stderr) is colored


def test_a_shell_gets_the_commands_that_begin_so() -> None:
    said = invoke(
        _EDGE_INSPECTOR_COMPLETE="complete_bash", COMP_WORDS="edge-inspector d", COMP_CWORD="1"
    )  # what bash sets when the user presses Tab
    assert said.split() == ["demo", "devices", "doctor"]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["chek"], id="a command that does not exist"),
        pytest.param(["check"], id="a file that is not given"),
        pytest.param(["check", "a.toml", "--fast"], id="an option that does not exist"),
        pytest.param(["evaluate", "nowhere", "--coco", "c.json", "--images", "."], id="a bundle that is nowhere"),
    ],
)
def test_a_wrong_word_ends_with_2_and_a_sentence(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert done.stderr
    assert done.stdout == ""


def test_schema_prints_a_json_schema_and_nothing_else() -> None:
    schema = json.loads(invoke("schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {"station", "cameras", "backend", "recipes", "plc", "publishers"} <= set(schema["properties"])


def devices(tmp_path: Path, **env: str) -> str:
    """In a process of its own: pylon reads PYLON_CAMEMU once."""
    command = [sys.executable, "-m", "edge_inspector", "devices"]
    env = {**os.environ, "COLUMNS": "200", **env}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_devices_lists_emulated_cameras_and_every_plugin(tmp_path: Path) -> None:
    pytest.importorskip("pypylon")
    said = devices(tmp_path, PYLON_CAMEMU="2")
    assert "0815-0000" in said
    assert "0815-0001" in said
    assert {"basler", "folder", "onnxruntime", "yolo", "end2end", "opcua_server", "mqtt"} <= set(said.split())


def test_devices_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    for name in ("pypylon", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\")\n")
    said = devices(tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{Path(edge_inspector.__file__).parents[1]}")
    assert "no: No module named 'pypylon'; pip install 'edge-inspector[basler]'" in said
    assert 'no: backend onnxruntime needs a package that is missing: pip install "edge-inspector[ort]"' in said
    assert "Basler cameras: " in said
