"""What a model makes of pictures, on the way that they take through a station."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from edge_inspector import pipeline
from edge_inspector.datatypes import (
    Batch,
    Detections,
    Findings,
    Frame,
    MeasuredView,
    PreparePlan,
    RawView,
    Reason,
    Tensors,
    ThresholdState,
)
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.calibration_set import read_frame
from edge_inspector.engine.differences import nearest
from edge_inspector.engine.golden import Picture
from edge_inspector.engine.latency import RUN_TIMEOUT_S
from edge_inspector.engine.verdicts import Verdict
from edge_inspector.errors import ConfigError, DeviceLostError, FrameError, InferenceError
from edge_inspector.interfaces import Model, Ticket
from edge_inspector.stages.rules import judge


@dataclass(frozen=True)
class Side:
    """One of two models that are compared: how its bundle prepares pictures for it, reads it and judges by it."""

    bundle: Bundle
    model: Model
    reading: pipeline.Reading
    prepare: Callable[[Frame, PreparePlan], Batch | RawView]
    thresholds: tuple[ThresholdState, ...]


@dataclass(frozen=True)
class Seen:
    """What one model made of one picture: a verdict by each of the thresholds.

    No tensors and findings = it gave no answer.
    """

    verdicts: tuple[Verdict, ...]
    tensors: Tensors | None = None
    findings: Findings | None = None


@dataclass(frozen=True)
class _Run:
    """Pictures that are on their way through a model; `ticket` is the failure where they did not get in."""

    pictures: Sequence[Picture]
    views: Sequence[Batch | RawView]
    ticket: Ticket | InferenceError


def looks(side: Side, pictures: Sequence[Picture], size: int = 1) -> Iterator[Seen]:
    """What a model sees on each picture, `size` of them in one run; two runs are under way, as in the station.

    The number of pictures is a multiple of `size`. ConfigError: a picture cannot be used. DeviceLostError: nothing more
    can be seen in this process.
    """
    under_way = None
    for number, first in enumerate(range(0, len(pictures), size)):
        begun = _started(side, pictures[first : first + size], slot=number % 2)
        if under_way is not None:
            yield from _ended(side, under_way)
        under_way = begun
    if under_way is not None:
        yield from _ended(side, under_way)


def prepared(side: Side, picture: Picture) -> Batch | RawView:
    """A picture as the model takes it. ConfigError: it cannot be."""
    try:
        return side.prepare(replace(read_frame(picture.path), camera=picture.name), PreparePlan(side.bundle.spec))
    except FrameError as exc:
        raise ConfigError(f"{picture.path} cannot be prepared for {side.bundle.name}: {exc}; remove it") from exc


def _started(side: Side, pictures: Sequence[Picture], slot: int) -> _Run:
    views = [prepared(side, picture) for picture in pictures]
    try:
        batches = [view for view in views if isinstance(view, Batch)]
        together = pipeline.joined(batches) if len(batches) > 1 else views[0]
        return _Run(pictures, views, side.model.submit(together, slot))
    except DeviceLostError:  # says nothing of the engine
        raise
    except InferenceError as exc:
        return _Run(pictures, views, exc)


def _ended(side: Side, run: _Run) -> list[Seen]:
    """What each of the pictures shows."""
    try:
        if isinstance(run.ticket, InferenceError):
            raise run.ticket
        outputs = side.model.collect(run.ticket, RUN_TIMEOUT_S)
    except DeviceLostError:
        raise
    except InferenceError as exc:
        return [_judged(side, picture, view, str(exc)) for picture, view in zip(run.pictures, run.views, strict=True)]
    seen = []
    for i, (picture, view) in enumerate(zip(run.pictures, run.views, strict=True)):
        tensors = Tensors({name: array[i : i + 1] for name, array in outputs.by_name.items()})
        try:
            found = pipeline.finish(tensors, view, side.reading)
        except InferenceError as exc:
            seen.append(_judged(side, picture, view, str(exc)))
        else:
            seen.append(_judged(side, picture, view, "", tensors, found))
    return seen


def _judged(
    side: Side,
    picture: Picture,
    view: Batch | RawView,
    failure: str,
    tensors: Tensors | None = None,
    findings: Findings | None = None,
) -> Seen:
    measured = MeasuredView(
        camera=picture.name,
        findings=Detections.none() if findings is None else findings,
        bounds=view.bounds,
        failure=None if findings is not None else Reason.INFERENCE,
        failure_text=failure,
    )
    verdicts = []
    for thresholds in side.thresholds:
        word = judge([picture.name], side.bundle.criteria, thresholds, [measured])
        text = word.reason_text or nearest(measured.findings, side.bundle.criteria, thresholds)
        verdicts.append(Verdict(word.evaluation, text))
    return Seen(tuple(verdicts), tensors, findings)
