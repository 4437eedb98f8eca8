from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import networks
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from edge_inspector.cli.engine_quantize import quantize
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.engine.invariants import check_invariants

app = typer.Typer()
app.command()(quantize)


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(7)
    for number in range(20):
        pixels, _ = networks.picture(rng, 64, 1, (None, 250, None, 6)[number % 4])
        cv2.imwrite(str(folder / f"{number:02}.jpg"), pixels)
    return folder


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and all that was printed, its line breaks as blanks."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(("family", "method"), [("yolo", "minmax"), ("classifier", "entropy")])
def test_a_bundle_becomes_one_in_8_bits(family: str, method: str, tmp_path: Path, calibration: Path) -> None:
    source = networks.bundle(family, tmp_path / "bundle", golden=2)
    (source / "LICENSE").write_text("terms")
    with (source / "model.toml").open("a") as toml:
        toml.write("[metrics]  # of the float32 network\nmap50 = 0.9\n[metrics.other]\nmap50 = 0.8\n")
    code, told = run(source, "--calibration", calibration, "--out", tmp_path / "out" / "int8", "--method", method)
    before, made = load_bundle(source), load_bundle(tmp_path / "out" / "int8")
    assert code == 0, told
    check_invariants(made.folder / "model.onnx")
    assert (made.version, dict(made.metrics)) == ("1.0.0-int8", {})
    assert replace(made, version="", metrics={}, golden=None, folder=source, sha256="", model_hash="") == replace(
        before, version="", metrics={}, golden=None, sha256="", model_hash=""
    )
    assert made.golden is not None
    assert len(list(made.golden.images.glob("*.png"))) == 4
    assert (made.folder / "LICENSE").read_text() == "terms"
    assert f"scaled by 20 pictures ({method})" in told
    assert "last layer" in told
    assert "engine verify" in told
    assert told.startswith("scaled by 20 pictures only")


def test_comments_and_order_of_the_toml_stay(tmp_path: Path, calibration: Path) -> None:
    source = networks.bundle("classifier", tmp_path / "bundle")
    toml = source / "model.toml"
    toml.write_text("# made in house\n" + toml.read_text().replace("score_floor = 0.05", "score_floor = 0.05 # low"))
    assert run(source, "--calibration", calibration, "--out", tmp_path / "int8")[0] == 0
    lines, made = toml.read_text().splitlines(), (tmp_path / "int8" / "model.toml").read_text().splitlines()
    changed = [line.split(" = ")[0] for line, other in zip(lines, made, strict=True) if line != other]
    assert changed == ["version", "sha256"]


def test_an_output_folder_that_is_there_is_not_touched(tmp_path: Path, calibration: Path) -> None:
    source = networks.bundle("classifier", tmp_path / "bundle")
    (tmp_path / "int8").mkdir()
    code, told = run(source, "--calibration", calibration, "--out", tmp_path / "int8")
    assert (code, list((tmp_path / "int8").iterdir())) == (2, [])
    assert "exists already; give the name of a new folder" in told


def test_a_failure_leaves_no_folder(tmp_path: Path, calibration: Path) -> None:
    source = networks.bundle("classifier", tmp_path / "bundle")
    for path in sorted(calibration.iterdir())[10:]:
        path.unlink()
    code, told = run(source, "--calibration", calibration, "--out", tmp_path / "out" / "int8")
    assert (code, list((tmp_path / "out").iterdir())) == (2, [])
    assert "holds 10 pictures, expected at least 20" in told


def test_a_picture_that_is_none_is_named(tmp_path: Path, calibration: Path) -> None:
    (calibration / "broken.png").write_bytes(b"no picture")
    source = networks.bundle("classifier", tmp_path / "bundle")
    code, told = run(source, "--calibration", calibration, "--out", tmp_path / "int8")
    assert code == 2
    assert "broken.png is not a picture" in told


def test_a_bundle_in_8_bits_is_not_quantised_again(tmp_path: Path, calibration: Path) -> None:
    source = networks.bundle("classifier", tmp_path / "bundle")
    run(source, "--calibration", calibration, "--out", tmp_path / "int8")
    code, told = run(tmp_path / "int8", "--calibration", calibration, "--out", tmp_path / "again")
    assert code == 2
    assert "quantised already" in told


def test_a_toml_that_cannot_be_rewritten_is_told(tmp_path: Path, calibration: Path) -> None:
    source = networks.bundle("classifier", tmp_path / "bundle")
    toml = source / "model.toml"
    toml.write_text(toml.read_text().replace('version = "1.0.0"', 'version = """1.0.0"""'))
    code, told = run(source, "--calibration", calibration, "--out", tmp_path / "int8")
    assert (code, (tmp_path / "int8").exists()) == (2, False)
    assert "cannot be rewritten" in told


def test_a_golden_set_outside_the_bundle_is_told(tmp_path: Path, calibration: Path) -> None:
    source = networks.bundle("classifier", tmp_path / "bundle", golden=2)
    shutil.move(source / "golden", tmp_path / "golden")
    toml = source / "model.toml"
    toml.write_text(toml.read_text().replace('"golden', '"../golden'))
    code, told = run(source, "--calibration", calibration, "--out", tmp_path / "int8")
    assert code == 2
    assert "lies outside the bundle" in told
