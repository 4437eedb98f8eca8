"""The calibration report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import cv2
import numpy as np

from edge_inspector import __version__
from edge_inspector.calibration import plots
from edge_inspector.calibration.accuracy import budget, lines
from edge_inspector.calibration.plots import needed
from edge_inspector.calibration.projection import camera_matrix, undistorted
from edge_inspector.calibration.records import Doubles, Picture, PlaneFit, Solution, SolvedView
from edge_inspector.calibration.summary import budget_rows, facts, parameters, rows

PHOTO_PX = 1200
"""Longest side of an embedded picture."""


@dataclass(frozen=True)
class Plot:
    """One figure: `alt` says in words what a reader without eyes must know."""

    title: str
    source: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Photo:
    """A picture with lines over it: `polylines` are SVG point lists in pixels of a `width` x `height` picture."""

    title: str
    source: str
    width: int
    height: int
    polylines: tuple[str, ...]
    caption: str


def shown_view(solution: Solution) -> SolvedView:
    """The view in which the board takes most of the picture: the one to show."""
    return max(solution.views, key=lambda view: float(cv2.contourArea(cv2.convexHull(view.sighting.points))))


def report_html(solution: Solution, plane: PlaneFit | None, picture_of: Callable[[str], Picture]) -> str:
    """The whole page. `picture_of` gives the gray picture (HxW uint8) of a view by its name; one is asked for.

    ConfigError when matplotlib or jinja2 is missing.
    """
    needed("matplotlib", "jinja2")
    import jinja2

    view = shown_view(solution)
    gray = picture_of(view.sighting.name)
    made = budget(solution, plane)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("edge_inspector.calibration").joinpath("report.html.j2").read_text(encoding="utf-8")
    with plots.style():
        drawn = _plots(solution, gray)
    return environment.from_string(source).render(
        solution=solution,
        facts=list(facts(solution)),
        rows=list(rows(solution, plane, made)),
        parameters=list(parameters(solution)),
        photos=_photos(solution, view, gray),
        plots=drawn,
        budget=list(budget_rows(solution, plane, made)),
        made_with=f"edge-inspector {__version__}, OpenCV {cv2.__version__}, NumPy {np.__version__}",
    )


def _plots(solution: Solution, gray: Picture) -> dict[str, Plot]:
    coverage, cells = solution.coverage, solution.coverage.cells
    vectors, times = plots.residual_vectors(solution)
    worst = max(solution.views, key=lambda view: view.rms_px)
    return {
        "coverage": Plot(
            "Where the board has been", _data_uri(plots.coverage_map(solution, gray)),
            f"Map of {cells.shape[1]} by {cells.shape[0]} cells; {int((cells == 0).sum())} of them hold no corner.",
            "Corners found in each part of the picture, over all views. Cells marked “none” were never reached.",
        ),
        "error_map": Plot(
            "Expected error over the picture", _data_uri(plots.expected_error(solution)),
            "Map of the expected error, which grows towards parts of the picture without measured points.",
            "One standard deviation of where a ray comes out, from the covariance of all parameters, less what a small "
            "turn of the camera would take up. White dots: where the board was seen.",
        ),
        "vectors": Plot(
            "Reprojection errors", _data_uri(vectors), f"Arrows at every measured point, enlarged {times} times.",
            f"Measured minus projected; arrows {times} times enlarged. Arrows that follow each other in one region "
            "mean that the lens model does not fit there.",
        ),
        "cloud": Plot(
            "Their scatter", _data_uri(plots.residual_cloud(solution)),
            f"Scatter plot of the errors around zero, RMS {solution.rms_px:.3f} px.",
            "A round cloud is noise. A long one is motion; two clouds are two cameras or two focus settings.",
        ),
        "views": Plot(
            "Error of each view", _data_uri(plots.view_errors(solution)),
            f"Bar chart; the worst view is {worst.sighting.name} with {worst.rms_px:.3f} px.",
            "RMS of each view, and in orange that of all. A view far above the others was blurred or badly found.",
        ),
        "tilts": Plot(
            "How the board leaned", _data_uri(plots.tilts(solution)),
            f"Tilts from {min(coverage.tilts_deg):.0f} to {max(coverage.tilts_deg):.0f} degrees.",
            "One dot a view: to which side its face leaned, and how far. Good: dots all around, beyond 15°.",
        ),
        "displacement": Plot(
            "What undistorting moves", _data_uri(plots.displacement(solution)),
            "Contour map of the displacement in pixels, which grows from the middle to the corners.",
            "Distance between a place in the undistorted picture and the one in the camera's, in px.",
        ),
    }  # fmt: skip


def _photos(solution: Solution, view: SolvedView, gray: Picture) -> tuple[Photo, Photo]:
    """The shown view before and after, with straight lines from end to end of the board's rows and columns."""
    calibration, rows = solution.calibration, list(lines(view.sighting, solution.board))
    straight = [undistorted(row, calibration) for row in rows]
    matrix, distortion = camera_matrix(calibration), np.array(calibration.distortion)
    if calibration.lens == "fisheye":
        after = cv2.fisheye.undistortImage(gray, matrix, distortion, Knew=matrix)
    else:
        after = cv2.undistort(gray, matrix, distortion)
    name = view.sighting.name
    return (
        _photo(
            "Before", gray, rows, f"{name} as the camera took it. The lines are straight; the board's rows are not."
        ),
        _photo("After", after, straight, f"{name} undistorted, as the model will see it: the rows lie on the lines."),
    )


def _photo(title: str, gray: Picture, rows: list[Doubles], caption: str) -> Photo:
    height, width = gray.shape
    factor = min(1.0, PHOTO_PX / max(height, width))
    small = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    ends = tuple(" ".join(f"{x + 0.5:.2f},{y + 0.5:.2f}" for x, y in (row[0], row[-1])) for row in rows)
    return Photo(title, _encoded(packed, "image/jpeg"), width, height, ends, caption)


def _data_uri(svg: str) -> str:
    return _encoded(svg.encode(), "image/svg+xml")


def _encoded(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
