"""A model bundle: `model.onnx` and the `model.toml` that says what it is."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_inspector import plugins
from edge_inspector.datatypes import Criteria, InputSpec, Limits
from edge_inspector.engine.bundle_file import BundleFile, Task, problems_of
from edge_inspector.errors import BundleError
from edge_inspector.interfaces import ModelFile
from edge_inspector.pipeline import Reading

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = (PACKAGE / "bundles", PACKAGE.parent / "engines")
"""Where bundles that come with edge-inspector lie: in the wheel, and in a checkout."""


@dataclass(frozen=True)
class Golden:
    """Pictures with known answers that travel with the model."""

    images: Path
    coco: Path
    overkill_limit: float
    """Which share of the good pictures an engine may reject that the ONNX file passes; only from 200 pictures on."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle; `default_thresholds` in the order of `classes`, `sha256` of model.onnx."""

    folder: Path
    name: str
    version: str
    task: Task
    decoder: str
    decoder_options: Mapping[str, Any]
    criteria: Criteria
    spec: InputSpec
    score_floor: float
    nms_iou: float
    default_thresholds: tuple[float, ...]
    licence: str
    description: str
    metrics: Mapping[str, Any]
    golden: Golden | None
    sha256: str
    model_hash: str
    """SHA-256 over the weights' and model.toml's own: another threshold is another model."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.criteria.classes

    def model_file(self) -> ModelFile:
        """What a backend needs; the outputs' shapes are the backend's to find out."""
        return ModelFile(str(self.folder / "model.onnx"), self.sha256)


def reading_of(bundle: Bundle) -> Reading:
    """How the bundle's outputs are read."""
    options = plugins.config_model("decoder", bundle.decoder).model_validate(
        {"type": bundle.decoder, **bundle.decoder_options}
    )
    decoder = plugins.load("decoder", bundle.decoder)(options)
    return Reading(decoder, len(bundle.classes), bundle.score_floor, bundle.nms_iou)


class DamagedBundleError(BundleError):
    """Everything that is wrong with one bundle, a line each in `problems`."""

    def __init__(self, folder: Path, problems: Sequence[str]) -> None:
        super().__init__(f"model bundle {folder} cannot be used:\n" + "\n".join(f"- {p}" for p in problems))
        self.problems = tuple(problems)


def load_bundle(path: Path) -> Bundle:
    """Read and check the bundle in folder `path`. BundleError with all that is wrong (`problems`)."""
    toml_path, onnx_path = path / "model.toml", path / "model.onnx"
    missing = [
        f"{file} is missing; a bundle is a folder with model.toml and model.onnx: copy it again"
        for file in (toml_path, onnx_path)
        if not file.is_file()
    ]
    if missing:
        raise DamagedBundleError(path, missing)
    content = toml_path.read_bytes()
    sha256 = hashlib.sha256(onnx_path.read_bytes()).hexdigest()
    try:
        document = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as exc:  # tomllib's own, no UTF-8, absurd numbers, absurd nesting
        raise DamagedBundleError(path, [f"{toml_path} is not TOML: {exc}; correct it there"]) from exc
    written, problems = problems_of(document, sha256, path)
    if written is None or problems:
        raise DamagedBundleError(path, [f"{toml_path}: {problem}" for problem in problems])
    return _bundle(written, path, sha256, hashlib.sha256(content).hexdigest())


def find_bundle(path: Path, beside: Path) -> Path:
    """The folder that `path` means: seen from `beside` or the working directory, or the name of a shipped bundle."""
    looked = [beside / path, Path.cwd() / path]
    if path.name == str(path):
        looked += [folder / path for folder in SHIPPED]
    for folder in looked:
        if folder.is_dir():
            return folder.resolve()
    places = ", ".join(str(folder) for folder in dict.fromkeys(looked))
    raise BundleError(f"model bundle {path} is not there; looked for the folders {places}; correct its name")


def _bundle(written: BundleFile, folder: Path, onnx_sha256: str, toml_sha256: str) -> Bundle:
    golden = written.golden
    return Bundle(
        folder=folder,
        name=written.name,
        version=written.version,
        task=written.task,
        decoder=written.decoder,
        decoder_options=written.decoder_options,
        criteria=Criteria(
            written.classes,
            frozenset(written.classes.index(name) for name in written.good),
            tuple(Limits(**written.limits[name].model_dump()) for name in written.classes) if written.limits else (),
        ),
        spec=InputSpec(**written.input.model_dump()),
        score_floor=written.score_floor,
        nms_iou=written.nms_iou,
        default_thresholds=tuple(written.thresholds.get(name, 1.0) for name in written.classes),
        licence=written.licence,
        description=written.description,
        metrics=written.metrics,
        golden=Golden(folder / golden.images, folder / golden.coco, golden.overkill_limit) if golden else None,
        sha256=onnx_sha256,
        model_hash=hashlib.sha256(f"{onnx_sha256} {toml_sha256}".encode()).hexdigest(),
    )
