"""Stored pictures of good and bad parts, judged outside the daemon: they prove the software, not camera and light."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from edge_inspector import pipeline
from edge_inspector.config.golden import FOLDERS
from edge_inspector.datatypes import (
    Batch,
    Criteria,
    Detections,
    Evaluation,
    Frame,
    MeasuredView,
    PreparePlan,
    RawView,
    Reason,
)
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.calibration_set import read_frame
from edge_inspector.engine.golden import SUFFIXES, golden_pictures
from edge_inspector.engine.latency import RUN_TIMEOUT_S
from edge_inspector.errors import ConfigError, FrameError, InferenceError
from edge_inspector.interfaces import Backend, Model, ModelFile
from edge_inspector.stages.rules import judge
from edge_inspector.station.parts import LoadedRecipe

MOST_NAMED = 5
"""Parts that a fault names; the rest is a number."""


@dataclass(frozen=True)
class StoredPart:
    """One part: a picture file for each camera."""

    name: str
    good: bool
    pictures: Mapping[str, Path]


@dataclass(frozen=True)
class Way:
    """By what the pictures are prepared and judged."""

    plans: Mapping[str, PreparePlan]
    criteria: Criteria


@dataclass(frozen=True)
class Answer:
    """What the model made of a part: right = a good one is OK, and a bad one is rejected by a verdict."""

    part: StoredPart
    evaluation: Evaluation
    text: str

    @property
    def right(self) -> bool:
        if self.part.good:
            return self.evaluation is Evaluation.OK
        return self.evaluation in (Evaluation.NOT_OK, Evaluation.NOT_DECIDABLE)


def stored_parts(recipe: LoadedRecipe, bundle: Bundle) -> tuple[list[StoredPart], Way]:
    """Those of the recipe's `golden.pictures`, else the bundle's golden set, judged without the recipe's rules.

    ConfigError: there are none, or not a picture of each camera; a set without good or without bad parts shows nothing.
    """
    golden = recipe.settings.golden
    if golden is not None and golden.pictures is not None:
        parts = [part for name in FOLDERS for part in _in_folder(golden.pictures / name, name == "good", recipe)]
        where, way = str(golden.pictures), Way(recipe.plans, recipe.criteria)
    else:
        camera = recipe.cameras[0]
        parts = [StoredPart(one.name, one.label == "good", {camera: one.path}) for one in golden_pictures(bundle)]
        where, way = f"the golden set of bundle {bundle.name}", Way({camera: PreparePlan(bundle.spec)}, bundle.criteria)
    for name, good in (("good", True), ("bad", False)):
        if not any(part.good is good for part in parts):
            raise ConfigError(
                f"recipe {recipe.name}: {where} has no {name} part; put pictures into the folders good and bad of a "
                f"folder, and name it in recipes.{recipe.name}.golden.pictures"
            )
    return parts, way


def answers(
    backend: Backend,
    model_file: ModelFile,
    recipe: LoadedRecipe,
    way: Way,
    parts: Sequence[StoredPart],
    read: Callable[[Path], Frame] = read_frame,
) -> Iterator[Answer]:
    """One after the other, one picture a run. ConfigError: a picture cannot be used, or the backend cannot run here."""
    plans = list(way.plans.values())
    prepare = pipeline.prepare_on_device if backend.prepares_on_device else pipeline.prepare
    with closing(backend.load(model_file, plans[0], 1)) as model:
        recipe.reading.decoder.check(model.output_shapes, recipe.reading.classes)
        for plan in plans[1:]:
            model.rehearse(plan)
        for part in parts:
            views = []
            for camera, plan in way.plans.items():
                path = part.pictures[camera]
                try:
                    batch = prepare(replace(read(path), camera=camera), plan)
                except FrameError as exc:
                    raise ConfigError(f"{path} is no picture for recipe {recipe.name}: {exc}") from exc
                views.append(_measured(model, camera, batch, recipe, plan))
            word = judge(list(way.plans), way.criteria, recipe.thresholds, views)
            yield Answer(part, word.evaluation, word.reason_text)


def faults(found: Sequence[Answer]) -> str:
    """What was judged wrongly, in words; empty = nothing."""
    wrong = [one for one in found if not one.right]
    if not wrong:
        return ""
    named = [f"{one.part.name!r} ({_kind(one.part)}) was {one.evaluation.name}" for one in wrong[:MOST_NAMED]]
    more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
    return f"{len(wrong)} of {len(found)} parts: {', '.join(named)}{more}"


def in_the_record(recipe: LoadedRecipe, found: Sequence[Answer]) -> str:
    """Says of which pictures, and that they show nothing of camera and light."""
    good = sum(one.part.good for one in found)
    return (
        f"software-only: recipe {recipe.name}, pictures of {good} good and {len(found) - good} bad parts, sha256 "
        f"{_sum([one.part for one in found])[:16]}, model {recipe.model_hash[:16]}: {faults(found) or 'all right'}"
    )


def _in_folder(folder: Path, good: bool, recipe: LoadedRecipe) -> Iterator[StoredPart]:
    """A picture a part or, with several cameras, a folder a part."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as exc:
        raise ConfigError(f"pictures in {folder} cannot be read: {exc.strerror}; make it, and put pictures in") from exc
    if len(recipe.cameras) == 1:
        for entry in entries:
            if entry.suffix.lower() in SUFFIXES:
                yield StoredPart(f"{folder.name}/{entry.name}", good, {recipe.cameras[0]: entry})
        return
    for entry in filter(Path.is_dir, entries):
        found = {one.stem: one for one in entry.iterdir() if one.suffix.lower() in SUFFIXES}
        absent = [camera for camera in recipe.cameras if camera not in found]
        if absent:
            raise ConfigError(f"{entry} has no picture of camera {', '.join(absent)}; expected {absent[0]}.png in it")
        yield StoredPart(f"{folder.name}/{entry.name}", good, {camera: found[camera] for camera in recipe.cameras})


def _measured(
    model: Model, camera: str, batch: Batch | RawView, recipe: LoadedRecipe, plan: PreparePlan
) -> MeasuredView:
    plane = None if plan.calibration is None else plan.calibration.plane
    try:
        tensors = model.collect(model.submit(batch, 0), RUN_TIMEOUT_S)
        findings = pipeline.finish(tensors, batch, recipe.reading)
    except InferenceError as exc:
        return MeasuredView(camera, Detections.none(), batch.bounds, Reason.INFERENCE, str(exc))
    return MeasuredView(camera, findings, batch.bounds, plane=plane)


def _kind(part: StoredPart) -> str:
    return "good" if part.good else "bad"


def _sum(parts: Sequence[StoredPart]) -> str:
    """SHA-256 over all pictures and what is said of them."""
    sha256 = hashlib.sha256()
    for part in parts:
        for camera, path in part.pictures.items():
            sha256.update(
                f"{part.name} {part.good} {camera} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
            )
    return sha256.hexdigest()
