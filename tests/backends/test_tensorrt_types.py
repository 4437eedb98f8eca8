"""Our calls of TensorRT against its whole API, as tensorrt-stubs 10.13 types it."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edge_inspector

ROOT = Path(edge_inspector.__file__).parents[1]
CONFIG = """
[mypy]
strict = True
python_version = 3.10
warn_unreachable = True
[mypy-tensorrt.*,tensorrt_bindings.*]
ignore_errors = True
[mypy-pycuda.*,cuda.*,cv2.*]
ignore_missing_imports = True
"""
SLIPS = (  # of the stubs themselves, which mypy cannot read: (what is written, what is meant)
    (r"\bin: list\[", "in_: list["),
    (r"power: Weights = None, channel_axis: int\)", "power: Weights = None, channel_axis: int = ...)"),
)
WRONG = """
from edge_inspector.backends.tensorrt.library import Library


def wrong(lib: Library) -> None:
    builder = lib.Builder(lib.ILogger())
    settings = builder.create_builder_config()
    settings.set_memory_pool_limit("workspace", 1 << 30)
    settings.builder_optimization_level = "3"
    builder.build_engine(builder.create_network(), settings)
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stubs, mended, and a configuration of mypy's that finds them."""
    try:
        files = importlib.metadata.files("tensorrt-stubs") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("tensorrt-stubs is not installed: pip install --no-deps tensorrt-stubs==10.13.0.35.1")
    folder = tmp_path_factory.mktemp("types")
    for file in files:
        if file.suffix == ".pyi":
            text = file.read_text(encoding="utf-8")
            for slip, meant in SLIPS:
                text = re.sub(slip, meant, text)
            target = folder / "stubs" / str(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    (folder / "mypy.ini").write_text(CONFIG)
    return folder


def mypy(workplace: Path, *what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", *what]
    environment = {"MYPYPATH": f"{workplace / 'stubs'}:{ROOT}"}
    return subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, check=False)


def test_every_call_of_the_package_fits_the_api(workplace: Path) -> None:
    done = mypy(workplace, "-p", "edge_inspector.backends.tensorrt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Success" in done.stdout


def test_a_wrong_call_is_found(workplace: Path) -> None:
    (workplace / "wrong.py").write_text(WRONG)
    done = mypy(workplace, "wrong.py")
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("wrong.py")]
    assert [re.sub(r"^wrong\.py:(\d+): error: .*\[(.*)\]$", r"\1 \2", line) for line in lines] == [
        "8 arg-type",
        "9 assignment",
        "10 attr-defined",
    ]
