"""What a truth says, in the words of a bundle: class indices in place of names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from edge_inspector.datatypes import Classification, Criteria, Detections, Findings, Measurement, Region
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.truth import LabelledPicture, Thing, Truth, class_names, is_bad, says_good
from edge_inspector.engine.truth.problems import refuse


def check_fit(truth: Truth, bundle: Bundle, criteria: Criteria) -> None:
    """ConfigError with every label that the bundle cannot have meant, and contradictions.

    With rules a good part may have labels: somebody says that they are of no harm.
    """
    problems = _value_problems(truth, bundle) if bundle.task == "measure" else _class_problems(truth, bundle)
    refuse(truth.source, problems)
    if not criteria.rules:
        refuse(truth.source, _contradictions(truth, bundle))


def _class_problems(truth: Truth, bundle: Bundle) -> Iterator[str]:
    criteria, task = bundle.criteria, bundle.task
    used = sorted({name for picture in truth.pictures for name in class_names(picture)})
    unknown = [name for name in used if name not in bundle.classes and not says_good(name, criteria)]
    if unknown and task != "anomaly":
        yield (
            f"labels are of the classes {', '.join(unknown)}; bundle {bundle.name} has the classes "
            f"{', '.join(bundle.classes)}; correct the names, or take the labels of this bundle's classes"
        )
    if any(picture.values for picture in truth.pictures):
        yield f"it has measured values, and bundle {bundle.name} measures none (task = {task!r}); remove them"


def _value_problems(truth: Truth, bundle: Bundle) -> Iterator[str]:
    names = {name for picture in truth.pictures for name in picture.values}
    unknown = sorted(names - set(bundle.classes))
    if unknown:
        yield f"it has the values {', '.join(unknown)}; bundle {bundle.name} measures {', '.join(bundle.classes)}"
    if not names and all(picture.good is None for picture in truth.pictures):
        yield f"it says nothing that bundle {bundle.name} measures; expected columns such as value.{bundle.classes[0]}"


def _contradictions(truth: Truth, bundle: Bundle) -> Iterator[str]:
    for picture in truth.pictures:
        if picture.good and is_bad(replace(picture, good=None), bundle.criteria):
            labels = sorted(name for name in class_names(picture) if not says_good(name, bundle.criteria))
            values = [f"{name} {value:g}" for name, value in picture.values.items()]
            yield f"{picture.name} is said to be good, but has {', '.join([*labels, *values])}; correct one"


def class_ids(names: Sequence[str], bundle: Bundle) -> list[int | None]:
    """Class indices; None: no class of the bundle, but a word for good. An anomaly is an anomaly by any name."""
    if bundle.task == "anomaly":
        return [None if says_good(name, bundle.criteria) else 0 for name in names]
    return [bundle.classes.index(name) if name in bundle.classes else None for name in names]


def things_of(picture: LabelledPicture, bundle: Bundle) -> list[tuple[Thing, int]]:
    """The labelled things with their class indices; what only says that a place is good is left out."""
    things = picture.things or ()
    ids = class_ids([thing.class_name for thing in things], bundle)
    return [(thing, c) for thing, c in zip(things, ids, strict=True) if c is not None]


def boxes_of(picture: LabelledPicture, bundle: Bundle) -> Detections:
    """The same as boxes, each with confidence 1."""
    things = things_of(picture, bundle)
    return Detections(
        np.array([thing.xyxy for thing, _ in things], np.float32).reshape(-1, 4),
        np.ones(len(things), np.float32),
        np.array([c for _, c in things], np.int64),
    )


def whole_class(picture: LabelledPicture, bundle: Bundle) -> int | None:
    """The one class of a whole picture; None: it has several, or none and no single class that means good."""
    ids = class_ids(sorted(class_names(picture)), bundle)
    good = sorted(bundle.criteria.good)
    if (not ids and picture.good is not False) or ids == [None]:
        return good[0] if len(good) == 1 else None
    return ids[0] if len(ids) == 1 else None


def findings_of(picture: LabelledPicture, bundle: Bundle) -> Findings | None:
    """What a perfect model would say of the picture, each score 1; None: the labels do not say all that it would."""
    if bundle.task == "classify":
        c = whole_class(picture, bundle)
        return None if c is None else Classification(np.eye(len(bundle.classes), dtype=np.float32)[c])
    if bundle.task == "measure":
        told = all(name in picture.values for name in bundle.classes)
        return Measurement(tuple(picture.values[name] for name in bundle.classes)) if told else None
    if picture.things is None:
        return None
    boxes, things = boxes_of(picture, bundle), things_of(picture, bundle)
    if not things or not all(thing.polygons for thing, _ in things):
        return boxes
    return replace(boxes, regions=tuple(_region(thing) for thing, _ in things))


def _region(thing: Thing) -> Region:
    """The outline of its largest piece, and the area of all of them."""
    pieces = [np.array(polygon, np.float32) for polygon in thing.polygons]
    areas = [float(cv2.contourArea(piece)) for piece in pieces]
    return Region(pieces[int(np.argmax(areas))], sum(areas))
