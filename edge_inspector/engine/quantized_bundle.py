"""A new bundle whose network is in 8 bits, made from one in float32."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edge_inspector.engine.bundle import Bundle, load_bundle
from edge_inspector.engine.files import beside
from edge_inspector.engine.quantize import Method, Progress, quantize
from edge_inspector.errors import BundleError, ConfigError

SUFFIX = "-int8"
_NOTICES = ("LICENSE*", "NOTICE*")


def write_quantized(
    bundle: Bundle, out: Path, pictures: Path, method: Method, progress: Progress
) -> Mapping[str, object]:
    """Write the bundle, its network in 8 bits, to the new folder `out`, whole or not at all; gives `quantize`'s report.

    The golden set and the licence go along; [metrics] do not, because they are of another network. ConfigError: the
    folder or the pictures. BundleError: the network, or a model.toml that cannot be rewritten.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; give the name of a new folder")
    with beside(out) as work:
        report = quantize(bundle.folder / "model.onnx", work / "model.onnx", bundle.spec, pictures, method, progress)
        sha256 = hashlib.sha256((work / "model.onnx").read_bytes()).hexdigest()
        toml = (bundle.folder / "model.toml").read_text()
        (work / "model.toml").write_text(_rewritten(toml, bundle.version + SUFFIX, sha256))
        _copy_golden(bundle, work)
        for pattern in _NOTICES:
            for notice in bundle.folder.glob(pattern):
                shutil.copyfile(notice, work / notice.name)
        _check(bundle, work)
        os.rename(work, out)
    return report


def _rewritten(toml: str, version: str, sha256: str) -> str:
    """The same file with its comments, another version and sum, and without [metrics]."""
    top, tables = re.match(r"(.*?)(^\[.*)?\Z", toml, re.DOTALL | re.MULTILINE).groups(default="")  # type: ignore[union-attr]
    for key, value in (("version", version), ("sha256", sha256)):
        top = re.sub(rf"""^({key}\s*=\s*)("[^"\n]+"|'[^'\n]+')""", rf'\g<1>"{value}"', top, flags=re.MULTILINE)
    return top + re.sub(r"^\[metrics(\.[^\]\n]*)?\].*?(?=^\[|\Z)", "", tables, flags=re.DOTALL | re.MULTILINE)


def _copy_golden(bundle: Bundle, work: Path) -> None:
    if bundle.golden is None:
        return
    for path in (bundle.golden.images, bundle.golden.coco):
        if not path.resolve().is_relative_to(bundle.folder.resolve()):
            raise BundleError(f"golden set {path} lies outside the bundle {bundle.folder}; move it inside")
        target = work / os.path.relpath(path, bundle.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)


def _check(bundle: Bundle, work: Path) -> None:
    """BundleError when the new bundle says anything else than the old one did."""
    made = load_bundle(work)
    said = replace(made, folder=bundle.folder, golden=None, sha256=bundle.sha256, model_hash=bundle.model_hash)
    if said != replace(bundle, version=bundle.version + SUFFIX, metrics={}, golden=None):
        raise BundleError(
            f'{bundle.folder / "model.toml"} cannot be rewritten; write version = "..." and sha256 = "..." on '
            "lines of their own, and [metrics] as a table"
        )
