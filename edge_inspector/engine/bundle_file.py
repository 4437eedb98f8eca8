"""What may stand in a bundle's `model.toml`: its keys, and what they say against each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError

from edge_inspector import plugins
from edge_inspector.settings import Confidence, Name, Settings

Task = Literal["detect", "segment", "classify", "anomaly", "measure"]
Text = Annotated[str, StringConstraints(min_length=1)]


def _finite(tree: Any, name: str = "metrics") -> Any:
    """`tree` if it is nothing but numbers by name, nested as one likes."""
    if isinstance(tree, dict):
        return {key: _finite(value, f"{name}.{key}") for key, value in tree.items()}
    if isinstance(tree, bool) or not isinstance(tree, int | float):
        raise ValueError(f"{name} is {tree!r}, expected a number or a table of numbers")  # noqa: TRY004 - pydantic's way
    return tree


class Input(Settings):
    """What the network wants to see: (value * scale - mean) / std of each 8-bit value, letterboxed."""

    model_config = ConfigDict(allow_inf_nan=False)

    width_px: int = Field(gt=0, le=8192, description="Width of the network's input.")
    height_px: int = Field(gt=0, le=8192, description="Height of the network's input.")
    color: Literal["gray", "rgb", "bgr"] = Field(description="Order of its channels: what it was trained on.")
    scale: float = Field(gt=0, description="Multiplies the 8-bit value; 1/255 for networks that see 0 to 1.")
    mean: tuple[float, ...] = Field(description="Taken off then, one number a channel.")
    std: tuple[float, ...] = Field(description="Divided by then, one number a channel; not zero.")
    pad_value: int = Field(ge=0, le=255, description="8-bit value of the letterbox border.")


class GoldenSet(Settings):
    """Pictures with known answers that travel with the bundle: an engine must judge them as the ONNX file does."""

    images: Path = Field(description="Folder of the pictures, in the bundle; 20 good and 20 bad ones at the least.")
    coco: Path = Field(description="COCO detection file of their labels; a picture without a label is a good one.")
    overkill_limit: float = Field(
        0.005,
        ge=0,
        le=0.1,
        description="Which share of the pictures an engine may reject that the ONNX file passes. Acts from 200 "
        "pictures on; with fewer, it may reject none of them.",
    )


class ValueLimits(Settings):
    """Between which numbers, themselves included, a measured value is good."""

    model_config = ConfigDict(allow_inf_nan=False)

    low: float = Field(description="The lowest good value.")
    high: float = Field(description="The highest good value.")
    unit: str = Field("", description="For people.")


class BundleFile(Settings):
    """The whole file."""

    schema_no: Literal[1] = Field(alias="schema", description="Version of this file's layout.")
    name: Name = Field(description="The bundle's name.")
    version: Text = Field(description="The model's version.")
    task: Task = Field(description="What the model does.")
    decoder: Name = Field(description="Which family of networks this is, and so how its outputs are read.")
    decoder_options: dict[str, Any] = Field(default_factory=dict, description="What that decoder must know: see below.")
    classes: tuple[Text, ...] = Field(
        min_length=1, description="Names in the order of the network's outputs; for task = measure those of the values."
    )
    good: tuple[Text, ...] = Field(
        (), description="Classes that are no defect. A classified view is OK only when it shows one of them."
    )
    limits: dict[str, ValueLimits] = Field(default_factory=dict, description="For task = measure: one for each value.")
    score_floor: float = Field(gt=0, lt=1, description="Candidates below are never looked at.")
    nms_iou: float = Field(gt=0, le=1, description="Two boxes of a class that overlap by more are the same thing.")
    licence: Text = Field(description="The model's licence.")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(description="Of model.onnx.")
    description: str = Field(description="For people.")
    input: Input = Field(description="What the network wants to see.")
    thresholds: dict[str, Confidence] = Field(
        default_factory=dict,
        description="Confidence from which a class counts, for each of them; none for task = measure.",
    )
    metrics: Annotated[dict[str, Any], AfterValidator(_finite)] = Field(
        default_factory=dict, description="Figures for people: numbers by name, nested as one likes."
    )
    golden: GoldenSet | None = Field(None, description="Pictures with known answers.")


def problems_of(document: dict[str, Any], sha256: str, folder: Path) -> tuple[BundleFile | None, list[str]]:
    """The checked file, and all that is wrong with it; `sha256` is that of the model.onnx in `folder`."""
    try:
        written = BundleFile.model_validate(document)
    except ValidationError as exc:
        return None, [*_schema_problems(exc), *_damage(document.get("sha256"), sha256)]
    problems = [
        *_damage(written.sha256, sha256),
        *_decoder_problems(written),
        *_class_problems(written),
        *_task_problems(written),
        *_input_problems(written.input),
        *_golden_problems(written.golden, folder),
    ]
    return written, problems


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


def _class_problems(written: BundleFile) -> Iterator[str]:
    classes, thresholds = written.classes, written.thresholds
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        yield f"classes names {', '.join(twice)} twice, expected each once; correct it"
    for name in dict.fromkeys(classes):
        if name not in thresholds and written.task != "measure":
            yield f"thresholds.{name} is missing, expected one for every class; add it"
    for name, threshold in thresholds.items():
        if name not in classes:
            yield f"thresholds.{name} = {threshold} is of no class, expected {', '.join(classes)}; correct it"
        elif threshold < written.score_floor:
            yield (
                f"thresholds.{name} = {threshold} can never act, expected score_floor = {written.score_floor} or more; "
                "lower score_floor or raise the threshold"
            )


def _task_problems(written: BundleFile) -> Iterator[str]:
    """What a task needs or cannot use."""
    classes, good, limits = written.classes, written.good, written.limits
    for name in good:
        if name not in classes:
            yield f"good names {name!r}, which is of no class, expected {', '.join(classes)}; correct it"
    if written.task == "classify" and not good:
        yield "good is missing: a classified view is OK only when it shows a class named there; add it"
    if good and written.task == "measure":
        yield "good is of no use for task = 'measure', which has limits; remove it"
    if written.task != "measure":
        if limits:
            yield f"limits is of no use for task = {written.task!r}, expected 'measure'; remove it"
        return
    for name in classes:
        if name not in limits:
            yield f"limits.{name} is missing, expected low and high for every value; add it"
    for name, limit in limits.items():
        if name not in classes:
            yield f"limits.{name} is of no value, expected {', '.join(classes)}; correct it"
        if limit.low > limit.high:
            yield f"limits.{name}.low = {limit.low:g} is above high = {limit.high:g}; correct it"


def _decoder_problems(written: BundleFile) -> Iterator[str]:
    known = plugins.names("decoder")
    if written.decoder not in known:
        yield f"decoder = {written.decoder!r} is not known, expected one of {', '.join(sorted(known))}; correct it"
        return
    tasks = plugins.load("decoder", written.decoder).tasks
    if written.task not in tasks:
        yield f"decoder = {written.decoder!r} cannot {written.task}, expected task = {' or '.join(map(repr, tasks))}"
    try:
        plugins.config_model("decoder", written.decoder).model_validate(
            {"type": written.decoder, **written.decoder_options}
        )
    except ValidationError as exc:
        yield from (f"decoder_options.{problem}" for problem in _schema_problems(exc))
    given, needed = written.decoder_options.get("input_px"), [written.input.width_px, written.input.height_px]
    if isinstance(given, list) and given != needed:
        yield f"decoder_options.input_px = {given}, expected {needed}, the width and height of [input]; correct it"


def _input_problems(spec: Input) -> Iterator[str]:
    channels = 1 if spec.color == "gray" else 3
    for key, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) != channels:
            yield f"input.{key} = {list(values)}, expected {channels} numbers for color = {spec.color!r}; correct it"
    if 0 in spec.std:
        yield f"input.std = {list(spec.std)}, expected no zero: pixels are divided by it; correct it"


def _golden_problems(golden: GoldenSet | None, folder: Path) -> Iterator[str]:
    if golden and not (folder / golden.images).is_dir():
        yield f"golden.images = '{golden.images}', expected a folder in {folder}; copy it or remove [golden]"
    if golden and not (folder / golden.coco).is_file():
        yield f"golden.coco = '{golden.coco}', expected a file in {folder}; copy it or remove [golden]"
