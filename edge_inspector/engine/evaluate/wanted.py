"""Which threshold reaches a wanted share of escapes, and what it costs in good parts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Classification, Detections
from edge_inspector.engine.evaluate.parts import Part, defect_classes
from edge_inspector.engine.evaluate.records import Reached, Wanted
from edge_inspector.engine.evaluate.shares import parts_to_prove, share
from edge_inspector.engine.evaluate.subject import Subject
from edge_inspector.errors import ConfigError

NEVER = 2.0
"""A threshold that no score reaches."""
STEPS = 10_000
"""Into which 0..1 is divided for a threshold that is proposed."""
Doubles = npt.NDArray[np.float64]


def wanted(parts: Sequence[Part], subject: Subject, escapes: float) -> Wanted | None:
    """The thresholds for at most this share of escapes, 0..1; None: measured values have no thresholds.

    ConfigError: the share is none, or no part is bad.
    """
    if not 0 < escapes < 1:
        raise ConfigError(f"wanted escapes {escapes:g}, expected a share above 0 and below 1, such as 0.01 for 1 %")
    if subject.bundle.task == "measure":
        return None
    if not any(part.bad for part in parts):
        raise ConfigError("no part of the truth is bad: escapes cannot be counted; add pictures of defects")
    classes, names = defect_classes(subject), subject.bundle.classes
    common = _reached("all", parts, [p for p in parts if p.bad], subject, classes, escapes, alone=False)
    each = {c: [part for part in parts if c in part.labelled] for c in classes}
    by_class = {c: _reached(names[c], parts, bad, subject, [c], escapes, alone=True) for c, bad in each.items() if bad}
    together = list(subject.thresholds.by_class)
    for c, one in by_class.items():
        together[c] = subject.bundle.score_floor if one.threshold is None else one.threshold
    return Wanted(
        escapes=escapes,
        common=common,
        classes=tuple(by_class.values()),
        together=_counted("together", None, parts, [p for p in parts if p.bad], subject, together, escapes),
        parts_to_prove=parts_to_prove(escapes),
    )


def critical(part: Part, subject: Subject, classes: Sequence[int], alone: bool) -> float:
    """The highest common threshold of these classes at which the part is still rejected.

    inf: it is rejected whatever the threshold, -inf: never. With `alone` the other classes of defects never reject.
    Rules are monotone in the thresholds, so bisecting the part's own scores finds it.
    """
    if not part.passes(subject, _by_class(subject, classes, NEVER, alone)):
        return math.inf
    scores = _scores(part, classes)
    if not len(scores) or part.passes(subject, _by_class(subject, classes, float(scores[0]), alone)):
        return -math.inf
    low, high = 0, len(scores) - 1  # it is rejected at scores[low]
    if not part.passes(subject, _by_class(subject, classes, float(scores[high]), alone)):
        return float(scores[high])
    while high - low > 1:
        middle = (low + high) // 2
        if part.passes(subject, _by_class(subject, classes, float(scores[middle]), alone)):
            high = middle
        else:
            low = middle
    return float(scores[low])


def _scores(part: Part, classes: Sequence[int]) -> Doubles:
    """Every different score of these classes on the part, rising."""
    found: list[Doubles] = []
    for one in part.seen:
        if isinstance(one.findings, Detections):
            found.append(one.findings.confidence[np.isin(one.findings.class_id, classes)].astype(np.float64))
        elif isinstance(one.findings, Classification):
            found.append(one.findings.scores[list(classes)].astype(np.float64))
    return np.unique(np.concatenate(found)) if found else np.zeros(0)


def _by_class(subject: Subject, classes: Sequence[int], threshold: float, alone: bool) -> list[float]:
    by_class = list(subject.thresholds.by_class)
    if alone:
        for c in defect_classes(subject):
            by_class[c] = NEVER
    for c in classes:
        by_class[c] = threshold
    return by_class


def _reached(
    name: str,
    parts: Sequence[Part],
    bad: Sequence[Part],
    subject: Subject,
    classes: Sequence[int],
    escapes: float,
    *,
    alone: bool,
) -> Reached:
    """The threshold with few enough escapes at the least overkill.

    Below the weakest bad part that must be caught and above the best good part below it, every threshold costs the
    same: it lies in the middle between that good part and the bad part next to it, with most room to both sides.
    """
    allowed = math.floor(escapes * len(bad) + 1e-9)
    caught = sorted(critical(part, subject, classes, alone) for part in bad)
    weakest = caught[allowed] if allowed < len(caught) else math.inf
    floor = subject.bundle.score_floor
    if weakest == -math.inf:
        by_class = _by_class(subject, classes, floor, alone)
        return _counted(name, None, parts, bad, subject, by_class, escapes)
    below = [c for part in parts if not part.bad and (c := critical(part, subject, classes, alone)) < weakest]
    lower: float = max([floor, *(c for c in below if c > floor)])
    highest = min([1.0, *(c for c in caught if c > lower)])  # who is caught at no cost is caught
    known = any(not part.bad for part in parts)  # without a good part nothing speaks for less than the highest
    threshold = floor if weakest <= floor else round_down((lower + highest) / 2 if known else highest, floor)
    if lower > floor and np.float32(threshold) <= np.float32(lower):  # the gap is finer than the digits
        threshold = highest
    return _counted(name, threshold, parts, bad, subject, _by_class(subject, classes, threshold, alone), escapes)


def round_down(threshold: float, floor: float) -> float:
    """To four digits, never up: what reached it still does. Not below the score floor."""
    return max(math.floor(threshold * STEPS) / STEPS, floor)


def _counted(
    name: str,
    threshold: float | None,
    parts: Sequence[Part],
    bad: Sequence[Part],
    subject: Subject,
    by_class: Sequence[float],
    escapes: float,
) -> Reached:
    """Counted by judging every part at the thresholds that are proposed."""
    good = [part for part in parts if not part.bad]
    escaped = share(sum(part.passes(subject, by_class) for part in bad), len(bad))
    rejected = share(sum(not part.passes(subject, by_class) for part in good), len(good))
    return Reached(name, threshold, escaped, rejected, bool(bad) and escaped.high <= escapes)
