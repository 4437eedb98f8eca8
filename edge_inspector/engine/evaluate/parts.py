"""Pictures become parts, and parts get the verdicts that the line would give them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Classification, Detections, Evaluation, Judgement, MeasuredView, ThresholdState
from edge_inspector.engine.evaluate.labels import class_ids, findings_of
from edge_inspector.engine.evaluate.looking import Seen
from edge_inspector.engine.evaluate.subject import Subject
from edge_inspector.engine.truth import Truth, class_names, is_bad
from edge_inspector.engine.truth.problems import refuse
from edge_inspector.stages.rules import adaptable, judge

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """One part: its pictures, their views in the same order, and the cameras from which views are expected.

    `labelled` are the classes of defects that a person sees on it. `scores` (classes,) is the highest score of each
    class over all views, 0 = never seen; it knows no rules.
    """

    name: str
    seen: tuple[Seen, ...]
    views: tuple[MeasuredView, ...]
    cameras: tuple[str, ...]
    bad: bool
    labelled: frozenset[int]
    scores: Doubles

    def judged(self, subject: Subject, by_class: Sequence[float] | None = None) -> Judgement:
        """The verdict at these thresholds; None: at the subject's own."""
        thresholds = subject.thresholds if by_class is None else ThresholdState(tuple(by_class))
        return judge(self.cameras, subject.criteria, thresholds, self.views)

    def passes(self, subject: Subject, by_class: Sequence[float] | None = None) -> bool:
        """Whether it would be judged OK."""
        return self.judged(subject, by_class).evaluation is Evaluation.OK


def check_views(truth: Truth, subject: Subject) -> None:
    """ConfigError: a recipe's cameras are not those of the truth's parts."""
    cameras = subject.cameras
    if not cameras:
        return
    problems = []
    shown: dict[str, list[str]] = {}
    for picture in truth.pictures:
        camera = picture.camera or (cameras[0] if len(cameras) == 1 else "")
        if camera not in cameras:
            said = f"is of camera {camera!r}" if camera else "does not say of which camera it is"
            problems.append(f"{picture.name} {said}; recipe {subject.recipe} has {', '.join(cameras)}")
        shown.setdefault(picture.part, []).append(camera)
    for part, seen in shown.items():
        missing = [camera for camera in cameras if camera not in seen]
        twice = sorted({camera for camera in seen if camera and seen.count(camera) > 1})
        if missing and not problems:
            problems.append(f"part {part} has no picture of {', '.join(missing)}; the recipe judges all of them")
        if twice:
            problems.append(
                f"part {part} has several pictures of {', '.join(twice)}; a camera gives one view of a part"
            )
    refuse(truth.source, problems)


def parts_of(seen: Sequence[Seen], subject: Subject) -> list[Part]:
    """The parts, in the order of their first pictures."""
    grouped: dict[str, list[Seen]] = {}
    for one in seen:
        grouped.setdefault(one.picture.part, []).append(one)
    return [_part(name, pictures, subject) for name, pictures in grouped.items()]


def _part(name: str, seen: Sequence[Seen], subject: Subject) -> Part:
    classes = len(subject.bundle.classes)
    first = next(iter(subject.plans))
    unnamed = (
        [first] if subject.recipe else ["picture"] if len(seen) == 1 else [f"view {i + 1}" for i in range(len(seen))]
    )
    names = [one.picture.camera or unnamed[i] for i, one in enumerate(seen)]
    views = [one.view(c, subject.plans.get(c, subject.plans[first])) for c, one in zip(names, seen, strict=True)]
    cameras = subject.cameras or tuple(names)
    bad, labelled = _labelled(seen, views, cameras, subject)
    return Part(
        name=name,
        seen=tuple(seen),
        views=tuple(views),
        cameras=cameras,
        bad=bad,
        labelled=labelled if bad else frozenset(),
        scores=np.max([_scores(one, classes) for one in seen], axis=0),
    )


def _labelled(
    seen: Sequence[Seen], views: Sequence[MeasuredView], cameras: tuple[str, ...], subject: Subject
) -> tuple[bool, frozenset[int]]:
    """Whether the part is bad, and which classes of defects it has.

    A recipe with rules judges the labels as it judges what is found: a scratch that it tolerates makes no part bad.
    What a person says of the whole part stands above that.
    """
    bundle, pictures = subject.bundle, [one.picture for one in seen]
    said = [picture.good for picture in pictures]
    perfect = [findings_of(picture, bundle) for picture in pictures]
    ids = class_ids(sorted({name for picture in pictures for name in class_names(picture)}), bundle)
    defects = frozenset(c for c in ids if c in defect_classes(subject))
    if not subject.criteria.rules or any(findings is None for findings in perfect):
        bad = any(is_bad(picture, subject.criteria) for picture in pictures)
    else:
        labels = [
            replace(view, findings=findings, failure=None)
            for view, findings in zip(views, perfect, strict=True)
            if findings is not None
        ]
        word = judge(cameras, subject.criteria, subject.thresholds, labels)
        bad = word.evaluation is not Evaluation.OK
        defects &= {defect.class_id for defect in word.defects}
    return (False in said) or (bad and None in said), defects


def _scores(one: Seen, classes: int) -> Doubles:
    """(classes,) highest score of each class on one picture."""
    scores = np.zeros(classes)
    if isinstance(one.findings, Classification):
        scores[:] = one.findings.scores
    elif isinstance(one.findings, Detections):
        np.maximum.at(scores, one.findings.class_id, one.findings.confidence)
    return scores


def defect_classes(subject: Subject) -> list[int]:
    """The classes that reject, by the recipe's rules or by the bundle's word."""
    return sorted(adaptable(subject.criteria))


def highest(parts: Iterable[Part], subject: Subject) -> Doubles:
    """(parts,) the highest score of a class that is a defect."""
    classes = defect_classes(subject)
    return np.array([part.scores[classes].max(initial=0.0) for part in parts], np.float64)
