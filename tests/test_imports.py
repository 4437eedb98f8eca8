"""Every module imports where no optional package is installed, and every folder is a package."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import edge_inspector

ON_A_DEVICE = ("cuda", "pycuda", "tensorrt", "tensorrt_rtx")
"""What the extra `tensorrt` needs; it is installed where a GPU is, and not here."""
ROOT = Path(__file__).parents[1]
PACKAGE = Path(edge_inspector.__file__).parent


def optional_import_names() -> list[str]:
    """Top-level names that only our extras bring, TensorRT's included although no extra can name it."""
    required = importlib.metadata.requires("edge-inspector") or []
    installed = [r for r in required if "extra ==" in r and not re.search("extra == .(tensorrt|jetson).", r)]
    brought_by = {re.split(r"[^A-Za-z0-9_.-]", r)[0] for r in installed} - {"edge-inspector"}
    files = [f for name in brought_by for f in importlib.metadata.files(name) or []]
    names = {f.parts[0].partition(".")[0] for f in files if f.suffix in {".py", ".so"}}
    return sorted(n for n in {*names, *ON_A_DEVICE} if n.isidentifier())


def test_the_optional_packages_are_found_under_their_import_names():
    assert {"onnxruntime", "pypylon", "pycocotools", "amqtt", "uvloop", "openvino", "tritonclient"} <= set(
        optional_import_names()
    )


def test_every_module_imports_without_any_optional_package(tmp_path):
    command = [sys.executable, "-W", "error", str(ROOT / "tools/import_all.py"), "-x", *optional_import_names()]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py"]
    web = [path for path in files if path.parent.name == "web" and path.name != "__init__.py"]
    assert web, "what is made of an extra of its own is left out, and nothing else"
    assert int(done.stdout.split()[0]) == len(files) - len(web)


def test_every_folder_with_modules_is_a_package():
    folders = {p.parent for p in PACKAGE.rglob("*.py")}
    assert [str(f.relative_to(PACKAGE)) for f in folders if not (f / "__init__.py").is_file()] == []
