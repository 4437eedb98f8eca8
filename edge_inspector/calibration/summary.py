"""What the calibration report says in words and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edge_inspector.calibration.accuracy import Budget, straightness
from edge_inspector.calibration.boards import board_text, size_mm
from edge_inspector.calibration.coverage import TILTED_DEG
from edge_inspector.calibration.fit import COEFFICIENTS
from edge_inspector.calibration.records import PlaneFit, Solution

Rating = Literal["good", "fair", "poor"]


@dataclass(frozen=True)
class Row:
    """One line of the summary. The ratings are rules of thumb of the trade; the tolerance of the part decides."""

    name: str
    value: str
    rating: Rating
    meaning: str


def facts(solution: Solution) -> Iterator[tuple[str, str]]:
    """Name and value of what the calibration is about."""
    height, width = solution.calibration.image_hw
    wide, high = size_mm(solution.board)
    yield "Camera", solution.calibration.serial or "serial number not written down"
    yield "Picture", f"{width} x {height} px"
    yield "Lens model", f"{solution.lens}, {' '.join(COEFFICIENTS[solution.lens])}"
    yield "Board", f"{board_text(solution.board)} ({wide:g} x {high:g} mm)"
    yield "Views", f"{len(solution.views)} used, {len(solution.dropped)} dropped"
    yield "Made", solution.made_utc


def rows(solution: Solution, plane: PlaneFit | None, made: Budget) -> Iterator[Row]:
    """The figures by which a calibration is judged."""
    before, after = straightness(solution)
    deviations = solution.deviations
    focal = max(
        deviations[name] / value for name, value in zip(("fx", "fy"), solution.calibration.matrix, strict=False)
    )
    centre = max(deviations["cx"], deviations["cy"])
    tilted = sum(tilt >= TILTED_DEG for tilt in solution.coverage.tilts_deg)
    ratio = solution.held_out_px / solution.rms_px
    yield Row(
        "RMS reprojection error",
        f"{solution.rms_px:.3f} px",
        _up_to(solution.rms_px, 0.3, 0.6),
        "How well the model explains the views it was made from. Up to 0.3 px is good; more: blur, a board that is "
        "not flat, or the wrong lens model.",
    )
    yield Row(
        "Held-out error",
        "too few views" if math.isnan(ratio) else f"{solution.held_out_px:.3f} px",
        "poor" if math.isnan(ratio) else _up_to(ratio, 1.25, 1.6),
        "The same on views that were left out of the solve. Close to the RMS (up to 1.25 times) is good; much more: "
        "too few views, or a model with too many parameters.",
    )
    yield Row(
        "Views used",
        str(len(solution.views)),
        _at_least(len(solution.views), 12, 8),
        "12 or more are good, 20 better.",
    )
    yield Row(
        "Coverage",
        f"{solution.coverage.share * 100:.0f} % of the picture",
        _at_least(solution.coverage.share, 0.8, 0.6),
        "Cells of the picture in which the board was seen. From 80 % is good: where no view reaches, the lens model "
        "is a guess.",
    )
    yield Row(
        "Tilted views",
        f"{tilted} by {TILTED_DEG:g}° or more",
        _at_least(tilted, 6, 3),
        "Without tilt focal length and distance cannot be told apart. 6 or more, to all sides, are good.",
    )
    yield Row("Focal length known to", f"± {focal * 100:.2f} %", _up_to(focal, 0.001, 0.003), "Up to 0.1 % is good.")
    yield Row("Principal point known to", f"± {centre:.2f} px", _up_to(centre, 1.0, 3.0), "Up to 1 px is good.")
    if not math.isnan(after.rms_px):
        yield Row(
            "Straight lines of the board",
            f"{before.rms_px:.2f} px bent, {after.rms_px:.2f} px after",
            _up_to(after.rms_px, 0.15, 0.3),
            "RMS distance of the points from straight lines through them, before and after undistortion. Up to 0.15 px "
            f"is good; the worst single point: {before.worst_px:.2f} px before, {after.worst_px:.2f} px after.",
        )
    yield Row(
        "Expected error where the board was",
        f"{made.covered_px:.2f} px",
        _up_to(made.covered_px, 0.3, 1.0),
        "What the uncertainty of the parameters moves there, at worst. Up to 0.3 px is good.",
    )
    yield Row(
        "Expected error in the worst corner",
        f"{made.corner_px:.2f} px",
        _up_to(made.corner_px, 1.0, 3.0),
        "The same at the corners of the picture. Large where no view came near: do not measure there, or take more "
        "views with the board in the corners."
        # measured: its terms nearly cancel, and the linear covariance sees one of many equally good solutions
        + (" For a rational lens it is too hopeful there." if solution.lens == "rational" else ""),
    )
    if plane is not None:
        yield Row(
            "Inspection plane",
            f"{plane.mm_per_px:.4f} mm per px, {plane.rms_mm:.3f} mm RMS",
            _up_to(plane.rms_mm / plane.mm_per_px, 0.3, 0.6),
            "RMS of the board's points on the plane. Up to 0.3 px worth of it is good.",
        )


def parameters(solution: Solution) -> Iterator[tuple[str, str, str, str]]:
    """Name, value, standard deviation, unit."""
    calibration = solution.calibration
    values = (*calibration.matrix, *calibration.distortion)
    for number, (name, value) in enumerate(zip(solution.deviations, values, strict=True)):
        pixels = number < len(calibration.matrix)
        digits = ".3f" if pixels else ".6f"
        yield name, f"{value:{digits}}", f"± {solution.deviations[name]:{digits}}", "px" if pixels else ""


def budget_rows(solution: Solution, plane: PlaneFit | None, made: Budget) -> Iterator[tuple[str, str, str]]:
    """What it is, how much, and where it comes from."""
    yield "Scatter of the measured points", f"{solution.rms_px:.3f} px", "RMS reprojection error, one point in one view"
    if not math.isnan(solution.held_out_px):
        yield "The same on unseen views", f"{solution.held_out_px:.3f} px", "held-out error"
    places = (
        ("middle of the picture", made.centre_px),
        ("worst place where the board was", made.covered_px),
        ("worst corner of the picture", made.corner_px),
    )
    for place, error in places:
        yield f"Lens parameters, {place}", f"{error:.3f} px", "covariance of all parameters, one standard deviation"
    if plane is not None:
        yield "Scale on the inspection plane", f"{plane.mm_per_px:.4f} mm per px", "mean over the board on the plane"
        yield "The plane itself", f"{plane.rms_mm:.4f} mm", "RMS of the board's points on it"
        yield "A place on the plane", f"{made.plane_mm:.4f} mm", "lens parameters and plane, where the board lay"


def _up_to(value: float, good: float, fair: float) -> Rating:
    return "good" if value <= good else "fair" if value <= fair else "poor"


def _at_least(value: float, good: float, fair: float) -> Rating:
    return "good" if value >= good else "fair" if value >= fair else "poor"
