"""`edge-inspector devices`: what a script may rely on, and what a person reads. Each run is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

import edge_inspector
from edge_inspector import plugins

ROOT = Path(edge_inspector.__file__).parents[1]


def devices(*words: str, **env: str) -> str:
    """In a process of its own: pylon and plugins are looked up once in each."""
    command = [sys.executable, "-m", "edge_inspector", "devices", *words]
    env = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def without_pypylon(tmp_path: Path) -> str:
    """PYTHONPATH of a machine on which pypylon is not installed."""
    (tmp_path / "pypylon.py").write_text("raise ModuleNotFoundError(\"No module named 'pypylon'\")\n")
    return f"{tmp_path}{os.pathsep}{ROOT}"


def test_the_json_has_each_camera_with_the_promised_keys_and_nothing_else_is_printed() -> None:
    pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
    lists = json.loads(devices("--json", PYLON_CAMEMU="2"))
    assert set(lists) == {"basler", "v4l2", "plugins", "problems"}
    emulated = [camera for camera in lists["basler"] if camera["vendor_class"] == "BaslerCamEmu"]
    assert emulated == [
        {
            "model": "Emulation",
            "serial": serial,
            "user_name": "",
            "ip": "",
            "vendor_class": "BaslerCamEmu",
            "interface": "",
            "subnet": "",
            "accessible": True,
        }
        for serial in ("0815-0000", "0815-0001")
    ]
    assert lists["problems"] == []


def test_the_json_has_every_plugin_and_whether_it_is_usable() -> None:
    listed: list[dict[str, Any]] = json.loads(devices("--json"))["plugins"]
    assert all(set(plugin) == {"kind", "type", "usable", "reason"} for plugin in listed)
    assert [(plugin["kind"], plugin["type"]) for plugin in listed] == [
        (kind, name) for kind in get_args(plugins.Kind) for name in sorted(plugins.names(kind))
    ]
    assert all(plugin["usable"] is (plugin["reason"] == "") for plugin in listed)


def test_the_json_is_whole_without_pypylon(without_pypylon: str) -> None:
    lists = json.loads(devices("--json", PYTHONPATH=without_pypylon))
    assert lists["basler"] == []
    (problem,) = lists["problems"]
    assert problem.startswith(
        "Basler cameras: pypylon cannot be imported (No module named 'pypylon'); run: pip install"
    )
    (basler,) = [plugin for plugin in lists["plugins"] if plugin["type"] == "basler"]
    assert basler["usable"] is False
    assert basler["reason"] == "No module named 'pypylon'; pip install 'edge-inspector[basler]'"


def test_a_backend_that_cannot_run_here_says_what_to_install(tmp_path: Path) -> None:
    for name in ("tensorrt", "openvino", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\")\n")
    listed = json.loads(devices("--json", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}"))["plugins"]
    reasons = {plugin["type"]: plugin["reason"] for plugin in listed if plugin["kind"] == "backend"}
    assert "python3-libnvinfer" in reasons["tensorrt"]
    assert 'pip install "edge-inspector[openvino]"' in reasons["openvino"]
    assert 'pip install "edge-inspector[ort]"' in reasons["onnxruntime"]


def test_a_person_reads_who_is_there_and_who_may_be_opened() -> None:
    pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
    lines = [line.split() for line in devices(PYLON_CAMEMU="1").splitlines()]
    assert ["Emulation", "0815-0000", "BaslerCamEmu", "free"] in lines
    assert ["Plugins"] in lines


def test_without_pypylon_a_person_reads_why_and_sees_the_rest(without_pypylon: str) -> None:
    said = devices(PYTHONPATH=without_pypylon)
    assert said.startswith("Basler cameras: pypylon cannot be imported")
    assert "Video cameras (V4L2)" in said
    assert "no: No module named 'pypylon'; pip install 'edge-inspector[basler]'" in said
