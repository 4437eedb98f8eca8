"""Jetsons laid out in a folder: what `edge-inspector doctor` says of JetPack, CUDA, TensorRT and Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from host_machines import write

from edge_inspector.health.finding import Finding
from edge_inspector.health.jetson import Program, board, jetson_findings, jetson_release

RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37\n"
PYTHON = "usr/lib/python3.10/dist-packages"
RIGHT = Program((3, 10), sees_tensorrt=True, needed=True)


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """A Jetson Orin NX with JetPack 6.2, as NVIDIA's image has it."""
    write(tmp_path, "etc/nv_tegra_release", RELEASE)
    write(tmp_path, "proc/device-tree/model", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0")
    write(tmp_path, "usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}')
    write(tmp_path, f"{PYTHON}/tensorrt-10.3.0.dist-info/METADATA", "Name: tensorrt\n")
    return tmp_path


def told(root: Path, program: Program = RIGHT) -> dict[str, Finding]:
    return {one.check: one for one in jetson_findings(root, program)}


def test_a_jetson_as_nvidia_makes_it_is_in_order(orin: Path) -> None:
    found = told(orin)
    assert {name: (one.level, one.found) for name, one in found.items()} == {
        "jetpack.version": (
            "ok",
            "JetPack 6, L4T 36.4.3, on NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        ),
        "jetpack.python": ("ok", "edge-inspector runs on Python 3.10"),
        "jetpack.cuda": ("ok", "CUDA 12.6.11"),
        "jetpack.tensorrt": ("ok", "TensorRT 10.3.0 is installed, and edge-inspector sees it"),
    }


def test_a_machine_that_is_no_jetson_is_not_judged(tmp_path: Path) -> None:
    assert {name: one.level for name, one in told(tmp_path).items()} == {"jetpack.version": "note"}


@pytest.mark.parametrize(
    ("path", "content", "check", "found"),
    [
        ("usr/local/cuda/version.json", '{"cuda": {"version": "13.0.1"}}', "jetpack.cuda", "CUDA 13.0.1"),
        ("usr/local/cuda/version.json", "[]", "jetpack.cuda", "no CUDA in /usr/local/cuda"),
        ("usr/local/cuda/version.json", '{"cuda": {"version": 1', "jetpack.cuda", "no CUDA in /usr/local/cuda"),
    ],
)
def test_cuda_of_another_jetpack_fails_where_the_station_needs_it(
    orin: Path, path: str, content: str, check: str, found: str
) -> None:
    write(orin, path, content)
    one = told(orin)[check]
    assert (one.level, one.found) == ("fail", found)
    assert one.remedy.startswith("sudo apt-get")
    assert told(orin, Program((3, 10), sees_tensorrt=True, needed=False))[check].level == "note"


def test_a_python_that_is_not_jetpacks_cannot_import_its_tensorrt(orin: Path) -> None:
    found = told(orin, Program((3, 12), sees_tensorrt=False, needed=True))
    assert (found["jetpack.python"].level, found["jetpack.python"].expected) == ("fail", "Python 3.10, as JetPack 6")
    assert found["jetpack.tensorrt"].found == "TensorRT 10.3.0 is installed, but not seen from here"
    assert "--system-site-packages" in found["jetpack.tensorrt"].remedy


def test_a_jetson_without_tensorrt_says_how_to_get_it(orin: Path) -> None:
    (orin / PYTHON / "tensorrt-10.3.0.dist-info").rename(orin / PYTHON / "numpy-1.dist-info")
    one = told(orin)["jetpack.tensorrt"]
    assert (one.level, one.found) == ("fail", "TensorRT's Python module is not installed")
    assert "nvidia-jetpack" in one.remedy


def test_jetpack_7_has_python_3_12_and_cuda_13(orin: Path) -> None:
    write(orin, "etc/nv_tegra_release", RELEASE.replace("R36", "R38").replace("4.3", "2.0"))
    write(orin, "usr/local/cuda/version.json", '{"cuda": {"version": "13.0.48"}}')
    assert {one.level for one in told(orin, Program((3, 12), sees_tensorrt=True, needed=True)).values()} == {"ok"}


@pytest.mark.parametrize(
    ("content", "release"),
    [(RELEASE.replace("R36", "R35"), "35.4.3"), ("# a later NVIDIA writes it in another way\n", "unknown")],
)
def test_another_jetpack_is_a_warning_and_its_versions_are_not_guessed(orin: Path, content: str, release: str) -> None:
    write(orin, "etc/nv_tegra_release", content)
    found = told(orin)
    assert jetson_release(orin) == release
    assert (found["jetpack.version"].level, set(found)) == ("warn", {"jetpack.version", "jetpack.tensorrt"})
    assert release in found["jetpack.version"].found


def test_a_board_that_says_no_name_has_none(tmp_path: Path) -> None:
    assert board(tmp_path) == ""
