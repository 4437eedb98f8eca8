from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import networks
import pytest
import typer
from typer.testing import CliRunner

from edge_inspector.cli import engine_import
from edge_inspector.engine.bundle import load_bundle

APP = typer.Typer()
APP.command()(engine_import.import_model)
PROGRAM = "import typer; from edge_inspector.cli.engine_import import import_model; typer.run(import_model)"
ANSWERS = ["--decoder", "yolo", "--classes", "a,b,c", "--color", "bgr", "--scaling", "0-255", "--licence", "ours"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    networks.write("yolo", tmp_path / "board.onnx", channels=3)
    return tmp_path / "board.onnx"


def test_options_make_a_bundle_and_it_says_what_came_from_where(source: Path) -> None:
    done = CliRunner().invoke(APP, [str(source), *ANSWERS, "--threshold", "0.4", "--pad", "0"])
    assert done.exit_code == 0, done.output
    bundle = load_bundle(source.with_suffix(""))
    assert (bundle.name, bundle.classes, bundle.spec.color, bundle.spec.pad_value) == (
        "board",
        ("a", "b", "c"),
        "bgr",
        0,
    )
    assert bundle.default_thresholds == (0.4, 0.4, 0.4)
    assert "  threshold: 0.4 (--threshold)" in done.output.splitlines()
    assert "  version: 1.0.0 (a default: nothing said so)" in done.output.splitlines()
    assert "Note: thresholds are a starting point" in done.output


def test_without_a_terminal_nothing_is_asked(source: Path) -> None:
    done = CliRunner().invoke(APP, [str(source), *ANSWERS[2:]])
    assert done.exit_code == 2
    assert "--decoder is missing" in done.output
    assert "yolox" in done.output
    assert not source.with_suffix("").exists()


def test_at_a_terminal_what_is_missing_is_asked(source: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"yolo\n")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(source), *ANSWERS[2:]],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert "Decoder of the outputs output0 (1, 7, 84)" in done.stdout
    assert load_bundle(source.with_suffix("")).decoder == "yolo"


def test_an_expected_error_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"none")
    done = CliRunner().invoke(APP, [str(tmp_path / "m.onnx")])
    assert done.exit_code == 2
    assert "not an ONNX file" in done.output
