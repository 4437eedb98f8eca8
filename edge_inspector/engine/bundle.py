"""A model bundle: `model.onnx` and the `model.toml` that says what it is."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError

from edge_inspector import plugins
from edge_inspector.datatypes import InputSpec
from edge_inspector.errors import BundleError
from edge_inspector.interfaces import ModelFile
from edge_inspector.settings import Confidence, Name, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = (PACKAGE / "bundles", PACKAGE.parent / "engines")
"""Where bundles that come with edge-inspector lie: in the wheel, and in a checkout."""

Text = Annotated[str, StringConstraints(min_length=1)]


@dataclass(frozen=True)
class Golden:
    """Pictures with known answers that travel with the model."""

    images: Path
    coco: Path


@dataclass(frozen=True)
class Bundle:
    """A checked bundle; `default_thresholds` in the order of `classes`, `sha256` of model.onnx."""

    folder: Path
    name: str
    version: str
    task: str
    decoder: str
    classes: tuple[str, ...]
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

    def model_file(self) -> ModelFile:
        """What a backend needs; the outputs' shapes are the backend's to find out."""
        return ModelFile(str(self.folder / "model.onnx"), self.sha256)


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
    try:
        written = _ModelToml.model_validate(document)
    except ValidationError as exc:
        problems = [*_schema_problems(exc), *_damage(document.get("sha256"), sha256)]
        raise DamagedBundleError(path, [f"{toml_path}: {problem}" for problem in problems]) from exc
    problems = [
        *_damage(written.sha256, sha256),
        *_class_problems(written),
        *_input_problems(written.input),
        *_golden_problems(written.golden, path),
    ]
    if problems:
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
    raise BundleError(f"model bundle {path} is not there; looked for the folders {places}; correct bundle = ...")


def _finite(tree: Any, name: str = "metrics") -> Any:
    """`tree` if it is nothing but numbers by name, nested as one likes."""
    if isinstance(tree, dict):
        return {key: _finite(value, f"{name}.{key}") for key, value in tree.items()}
    if isinstance(tree, bool) or not isinstance(tree, int | float):
        raise ValueError(f"{name} is {tree!r}, expected a number or a table of numbers")  # noqa: TRY004 - pydantic's way
    return tree


class _Input(Settings):
    model_config = ConfigDict(allow_inf_nan=False)

    width_px: int = Field(gt=0, le=8192)
    height_px: int = Field(gt=0, le=8192)
    color: Literal["gray", "rgb", "bgr"]
    scale: float = Field(gt=0)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad_value: int = Field(ge=0, le=255)


class _Golden(Settings):
    images: Path
    coco: Path


class _ModelToml(Settings):
    schema_no: Literal[1] = Field(alias="schema")
    name: Name
    version: Text
    task: Literal["detect"]
    decoder: Name
    classes: tuple[Text, ...] = Field(min_length=1)
    score_floor: float = Field(gt=0, lt=1)
    nms_iou: float = Field(gt=0, le=1)
    licence: Text
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    description: str
    input: _Input
    thresholds: dict[str, Confidence]
    metrics: Annotated[dict[str, Any], AfterValidator(_finite)] = Field(default_factory=dict)
    golden: _Golden | None = None


def _schema_problems(error: ValidationError) -> Iterator[str]:
    for found in error.errors(include_url=False):
        key = ".".join(str(part) for part in found["loc"])
        if found["type"] == "missing":
            yield f"{key} is missing; add it"
        elif found["type"] == "extra_forbidden":
            yield f"{key} = {_shown(found['input'])} is a key that nobody reads; correct its name or remove it"
        else:
            yield f"{key} = {_shown(found['input'])}: {found['msg']}; correct it"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a huge number"
    return text if len(text) <= 80 else text[:77] + "..."


def _damage(written: object, sha256: str) -> Iterator[str]:
    if written != sha256:
        yield (
            f"sha256 = {written!r}, but model.onnx has {sha256!r}; the file is damaged or was replaced: copy the "
            "bundle again, or write the new sum there if the replacement was meant"
        )


def _class_problems(written: _ModelToml) -> Iterator[str]:
    classes, thresholds = written.classes, written.thresholds
    known = plugins.names("decoder")
    if written.decoder not in known:
        yield f"decoder = {written.decoder!r} is not known, expected one of {', '.join(sorted(known))}; correct it"
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        yield f"classes names {', '.join(twice)} twice, expected each once; correct it"
    for name in dict.fromkeys(classes):
        if name not in thresholds:
            yield f"thresholds.{name} is missing, expected one for every class; add it"
    for name, threshold in thresholds.items():
        if name not in classes:
            yield f"thresholds.{name} = {threshold} is of no class, expected {', '.join(classes)}; correct it"
        elif threshold < written.score_floor:
            yield (
                f"thresholds.{name} = {threshold} can never act, expected score_floor = {written.score_floor} or more; "
                "lower score_floor or raise the threshold"
            )


def _input_problems(spec: _Input) -> Iterator[str]:
    channels = 1 if spec.color == "gray" else 3
    for key, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) != channels:
            yield f"input.{key} = {list(values)}, expected {channels} numbers for color = {spec.color!r}; correct it"
    if 0 in spec.std:
        yield f"input.std = {list(spec.std)}, expected no zero: pixels are divided by it; correct it"


def _golden_problems(golden: _Golden | None, folder: Path) -> Iterator[str]:
    if golden and not (folder / golden.images).is_dir():
        yield f"golden.images = '{golden.images}', expected a folder in {folder}; copy it or remove [golden]"
    if golden and not (folder / golden.coco).is_file():
        yield f"golden.coco = '{golden.coco}', expected a file in {folder}; copy it or remove [golden]"


def _bundle(written: _ModelToml, folder: Path, onnx_sha256: str, toml_sha256: str) -> Bundle:
    golden = written.golden
    return Bundle(
        folder=folder,
        name=written.name,
        version=written.version,
        task=written.task,
        decoder=written.decoder,
        classes=written.classes,
        spec=InputSpec(**written.input.model_dump()),
        score_floor=written.score_floor,
        nms_iou=written.nms_iou,
        default_thresholds=tuple(written.thresholds[name] for name in written.classes),
        licence=written.licence,
        description=written.description,
        metrics=written.metrics,
        golden=Golden(folder / golden.images, folder / golden.coco) if golden else None,
        sha256=onnx_sha256,
        model_hash=hashlib.sha256(f"{onnx_sha256} {toml_sha256}".encode()).hexdigest(),
    )
