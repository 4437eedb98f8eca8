"""What is evaluated: a bundle alone, or with all that a recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_inspector.datatypes import Calibration, Criteria, PreparePlan, Roi, ThresholdState, Tiling
from edge_inspector.engine.bundle import Bundle
from edge_inspector.errors import ConfigError

ANY = ""
"""The camera of the only plan where no recipe names cameras."""


@dataclass(frozen=True)
class Subject:
    """A model and how its findings become verdicts; `plans` by camera, or one for `ANY`.

    `recipe` is its name, empty = none: then each picture is looked at alike, and a part has as many views as pictures.
    `words` says for people how it judges.
    """

    bundle: Bundle
    criteria: Criteria
    thresholds: ThresholdState
    plans: Mapping[str, PreparePlan]
    recipe: str = ""
    words: tuple[str, ...] = ()

    @property
    def cameras(self) -> tuple[str, ...]:
        """Those that the recipe expects a view of; none without a recipe."""
        return tuple(self.plans) if self.recipe else ()


def bundle_alone(
    bundle: Bundle,
    *,
    calibration: Calibration | None = None,
    roi: Roi | None = None,
    tiling: Tiling | None = None,
) -> Subject:
    """The bundle with its own thresholds; with a calibration, pictures are the camera's, labels in undistorted px."""
    plan = PreparePlan(bundle.spec, roi, calibration, tiling)
    return Subject(bundle, bundle.criteria, ThresholdState(bundle.default_thresholds), {ANY: plan})


def with_thresholds(subject: Subject, by_class: Mapping[str, float]) -> Subject:
    """The same with other thresholds. ConfigError: of no class, or below what the model is ever asked for."""
    bundle = subject.bundle
    for name, threshold in by_class.items():
        if name not in bundle.classes:
            raise ConfigError(f"threshold {name}={threshold:g} is of no class; expected {', '.join(bundle.classes)}")
        if not bundle.score_floor <= threshold <= 1:
            raise ConfigError(
                f"threshold {name}={threshold:g}, expected the bundle's score_floor ({bundle.score_floor:g}) to 1"
            )
    told = zip(bundle.classes, subject.thresholds.by_class, strict=True)
    changed = tuple(by_class.get(name, threshold) for name, threshold in told)
    return replace(subject, thresholds=ThresholdState(changed))
