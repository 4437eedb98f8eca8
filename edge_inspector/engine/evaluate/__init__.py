"""How good a bundle is on labelled pictures: what textbooks ask for, and what a line would feel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_inspector.datatypes import Calibration, Roi, Tiling
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.evaluate.assess import Evaluated, assess
from edge_inspector.engine.evaluate.coco import pycocotools
from edge_inspector.engine.evaluate.labels import check_fit
from edge_inspector.engine.evaluate.looking import Chain, Progress, look
from edge_inspector.engine.evaluate.matching import matches
from edge_inspector.engine.evaluate.parts import check_views
from edge_inspector.engine.evaluate.records import EvaluationReport
from edge_inspector.engine.evaluate.shares import Share, share, wilson
from edge_inspector.engine.evaluate.subject import Subject, bundle_alone, with_thresholds
from edge_inspector.engine.truth import LabelledPicture, Truth, read_truth
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Backend

__all__ = [
    "Chain",
    "Evaluated",
    "EvaluationReport",
    "Share",
    "Subject",
    "bundle_alone",
    "evaluate",
    "evaluated",
    "matches",
    "share",
    "wilson",
    "with_good",
    "with_thresholds",
]


def evaluate(
    bundle: Bundle,
    backend: Backend,
    coco_json: Path,
    images: Path,
    extra_good: Sequence[Path] = (),
    *,
    calibration: Calibration | None = None,
    roi: Roi | None = None,
    tiling: Tiling | None = None,
    chain: Chain = "fused",
) -> EvaluationReport:
    """Look at every picture of a COCO file, and at `extra_good`, which have no defect; as `evaluated`."""
    truth = with_good(read_truth(coco_json, images, format="coco"), extra_good)
    subject = bundle_alone(bundle, calibration=calibration, roi=roi, tiling=tiling)
    return evaluated(subject, backend, truth, chain=chain).report


def evaluated(
    subject: Subject,
    backend: Backend,
    truth: Truth,
    *,
    wanted_escapes: float | None = None,
    chain: Chain = "fused",
    progress: Progress = lambda done, total: None,
) -> Evaluated:
    """Look at every picture of the truth, and judge its parts.

    "fused" prepares a picture as the station does, "plain" in textbook steps. ConfigError: pycocotools is missing;
    classes, cameras, pictures, calibration or ROI do not fit. BundleError: the model is not the bundle's.
    """
    pycocotools()
    check_fit(truth, subject.bundle, subject.criteria)
    check_views(truth, subject)
    return assess(look(subject, backend, truth.pictures, chain, progress), truth, subject, wanted_escapes)


def with_good(truth: Truth, files: Sequence[Path]) -> Truth:
    """The truth with further pictures that show good parts. ConfigError: one of them is listed already, or missing."""
    listed = {picture.path.resolve() for picture in truth.pictures}
    taken = {name for picture in truth.pictures for name in (picture.name, picture.part)}
    files = list(dict.fromkeys(files))
    twice = [str(path) for path in files if path.resolve() in listed]
    if twice:
        raise ConfigError(f"pictures are in {truth.source} and in extra_good: {', '.join(twice)}; name them in one")
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise ConfigError(f"good pictures are missing: {', '.join(missing)}; correct their paths")
    more = []
    for path in files:
        name = str(path) if path.name in taken else path.name
        taken.add(name)
        more.append(LabelledPicture(path, name, name, things=(), good=True))
    return replace(truth, pictures=(*truth.pictures, *more))
