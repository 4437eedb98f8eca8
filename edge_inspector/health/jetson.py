"""Checks of a Jetson's software: JetPack, and the Python, CUDA and TensorRT that belong to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.health.finding import Finding, judged, text

RELEASE = "etc/nv_tegra_release"
_DIST_PACKAGES = "usr/lib/python3*/dist-packages"
_WHY = "TensorRT's Python module is JetPack's own: it is made for one Python, one CUDA and one driver."
_INSTALL = "sudo apt-get update && sudo apt-get install nvidia-jetpack"


@dataclass(frozen=True)
class JetPack:
    """What one generation brings: its Python, and the first number of its CUDA."""

    name: str
    python: tuple[int, int]
    cuda: int


@dataclass(frozen=True)
class Program:
    """What runs edge-inspector: its Python, and whether that can import `tensorrt`; `needed` by the station."""

    python: tuple[int, int]
    sees_tensorrt: bool
    needed: bool


JETPACKS = {36: JetPack("JetPack 6", (3, 10), 12), 38: JetPack("JetPack 7", (3, 12), 13)}
"""By the first number of Jetson Linux (L4T)."""


def jetson_release(root: Path) -> str:
    """The version of Jetson Linux, such as 36.4.3; empty on anything that is no Jetson."""
    said = text(root, RELEASE) or ""
    found = re.search(r"# R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", said)
    return f"{found[1]}.{found[2]}" if found else "unknown" if said else ""


def board(root: Path) -> str:
    """What the firmware calls the machine, such as NVIDIA Jetson Orin NX; empty where it says nothing."""
    return (text(root, "proc/device-tree/model") or "").strip("\0 ")


def jetson_findings(root: Path, program: Program) -> Iterator[Finding]:
    """Nothing to judge on a machine that is no Jetson."""
    release = jetson_release(root)
    if not release:
        yield judged("jetpack.version", "", "note", "no Jetson")
        return
    major = release.partition(".")[0]
    jetpack = JETPACKS.get(int(major)) if major.isdigit() else None
    yield _version(root, release, jetpack)
    if jetpack is not None:
        yield _python(jetpack, program)
        yield _cuda(root, jetpack, program.needed)
    yield _tensorrt(root, program)


def _version(root: Path, release: str, jetpack: JetPack | None) -> Finding:
    name = "unknown JetPack" if jetpack is None else jetpack.name
    known = " or ".join(f"{one.name} (L4T {major})" for major, one in JETPACKS.items())
    return judged(
        "jetpack.version",
        "",
        "warn" if jetpack is None else "ok",
        f"{name}, L4T {release}, on {board(root) or 'a board without a name'}",
        known,
        "Engines and drivers of another JetPack were never tried with this version of edge-inspector.",
        "flash the board with JetPack 6 or 7: https://developer.nvidia.com/embedded/jetpack",
    )


def _python(jetpack: JetPack, program: Program) -> Finding:
    right = program.python == jetpack.python
    wanted = ".".join(map(str, jetpack.python))
    return judged(
        "jetpack.python",
        "",
        "ok" if right else "fail" if program.needed else "note",
        f"edge-inspector runs on Python {'.'.join(map(str, program.python))}",
        f"Python {wanted}, as {jetpack.name}",
        _WHY,
        f"install it anew for Python {wanted}: docs/how-to/install.md",
    )


def _cuda(root: Path, jetpack: JetPack, needed: bool) -> Finding:
    said = text(root, "usr/local/cuda/version.json") or ""
    try:
        version = str(json.loads(said)["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        version = ""
    right = version.partition(".")[0] == str(jetpack.cuda)
    return judged(
        "jetpack.cuda",
        "",
        "ok" if right else "fail" if needed else "note",
        f"CUDA {version}" if version else "no CUDA in /usr/local/cuda",
        f"CUDA {jetpack.cuda}, as {jetpack.name}",
        _WHY,
        _INSTALL,
    )


def _tensorrt(root: Path, program: Program) -> Finding:
    """The name of a package's folder tells its version: tensorrt-10.3.0.dist-info."""
    folders = sorted(path.name for path in root.glob(f"{_DIST_PACKAGES}/tensorrt-*-info"))
    version = re.sub(r"\.(dist|egg)-info$", "", folders[-1]).removeprefix("tensorrt-") if folders else ""
    installed = f"TensorRT {version} is installed" if version else "TensorRT's Python module is not installed"
    seen = (
        "" if not version else ", and edge-inspector sees it" if program.sees_tensorrt else ", but not seen from here"
    )
    return judged(
        "jetpack.tensorrt",
        "",
        "ok" if version and program.sees_tensorrt else "fail" if program.needed else "note",
        installed + seen,
        "JetPack's TensorRT, seen from edge-inspector",
        _WHY,
        "make the virtual environment with --system-site-packages; install.sh does: sudo ./install.sh upgrade --force"
        if version
        else _INSTALL,
    )
