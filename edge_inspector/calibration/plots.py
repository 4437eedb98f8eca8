"""The plots of the calibration report, each one SVG; drawn inside `style()`."""

from __future__ import annotations

import importlib
import io
from contextlib import AbstractContextManager
from typing import Any

import cv2
import numpy as np

from edge_inspector.calibration.accuracy import distorted, expected_error_px
from edge_inspector.calibration.records import Doubles, Picture, Solution
from edge_inspector.errors import ConfigError

INK, SOFT, BLUE, ORANGE = "#1f2933", "#7b8794", "#0b66a5", "#c2410c"
HALF_IN = 5.2
"""Width of a plot that has half of the page."""
BACKGROUND_PX = 480
"""Width of the faint picture behind the coverage map."""
GRID = (33, 25)
"""Places, across and down, at which a map over the picture is computed."""
ERROR_STEPS_PX = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_STYLE: Any = {  # matplotlib's hints want each key as a literal
    "font.size": 8.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "svg.hashsalt": "edge-inspector",
}


def needed(*packages: str) -> None:
    """ConfigError when one of these packages of the extra `calibrate` is not installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as exc:
            raise ConfigError(
                f"reports and printed boards need {package}, which is not installed ({exc});"
                " pip install 'edge-inspector[calibrate]'"
            ) from exc


def style() -> AbstractContextManager[None]:
    """The look of all plots, for as long as they are drawn."""
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def coverage_map(solution: Solution, gray: Picture) -> str:
    """How many corners fell into each cell of the picture; `gray` (HxW uint8) lies faintly behind."""
    cells = solution.coverage.cells
    figure, axes = _over_picture(solution)
    small = cv2.resize(
        gray, None, fx=(f := min(1.0, BACKGROUND_PX / gray.shape[1])), fy=f, interpolation=cv2.INTER_AREA
    )
    height, width = solution.calibration.image_hw
    whole = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(small, cmap="gray", vmin=-300, vmax=255, extent=whole)
    shown = axes.imshow(np.ma.masked_equal(cells, 0), cmap="viridis_r", alpha=0.72, extent=whole, vmin=0)
    figure.colorbar(shown, ax=axes, label="corners in the cell", shrink=0.85)
    rows, columns = cells.shape
    for row, column in np.ndindex(rows, columns):
        place = ((column + 0.5) * width / columns - 0.5, (row + 0.5) * height / rows - 0.5)
        count = int(cells[row, column])
        dark = count > 0.55 * cells.max()
        style = {"color": "white" if dark else INK} if count else {"color": ORANGE, "weight": "bold"}
        axes.text(*place, str(count) if count else "none", ha="center", va="center", fontsize=7.5, **style)
    return _svg(figure)


def residual_vectors(solution: Solution) -> tuple[str, int]:
    """Measured minus projected at every point, and by how much the arrows are enlarged."""
    points = np.concatenate([view.sighting.points for view in solution.views])
    residuals = np.concatenate([view.residuals for view in solution.views])
    usual = float(np.percentile(np.linalg.norm(residuals, axis=1), 95))
    wanted = 0.08 * solution.calibration.image_hw[1] / max(usual, 1e-9)
    times = max(step * 10**power for power in range(7) for step in (1, 2, 5) if step * 10**power <= max(wanted, 1))
    figure, axes = _over_picture(solution)
    axes.quiver(*points.T, *residuals.T, angles="xy", scale_units="xy", scale=1 / times, color=BLUE, width=0.0018)
    return _svg(figure), times


def residual_cloud(solution: Solution) -> str:
    """All residuals around zero, and the circle of their RMS."""
    from matplotlib.patches import Circle

    residuals = np.concatenate([view.residuals for view in solution.views])
    reach = float(np.abs(residuals).max()) * 1.08
    figure, axes = _figure(HALF_IN, 3.6)
    axes.scatter(*residuals.T, s=5, color=BLUE, alpha=0.45, linewidths=0)
    axes.add_patch(Circle((0, 0), solution.rms_px, fill=False, color=ORANGE, linewidth=1.4))
    axes.set_title(f"circle: RMS {solution.rms_px:.3f} px", color=ORANGE, fontsize=8.5)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", xlabel="to the right, px", ylabel="down, px")
    axes.locator_params(nbins=5)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    return _svg(figure)


def view_errors(solution: Solution) -> str:
    """RMS of each view; those that were dropped have a mark in place of a bar."""
    used = {view.sighting.name: view.rms_px for view in solution.views}
    names = [*used, *(one.name for one in solution.dropped)]
    figure, axes = _figure(2 * HALF_IN, 0.9 + 0.2 * len(names))
    rows, top = np.arange(len(names)), max(used.values())
    axes.barh(rows[: len(used)], list(used.values()), height=0.66, color=BLUE)
    for row, rms in enumerate(used.values()):
        axes.text(0, row, f" {rms:.3f}", va="center", color="white" if rms > 0.1 * top else INK, fontsize=7.5)
    for row in rows[len(used) :]:
        axes.text(0, row, " \N{MULTIPLICATION SIGN} dropped", va="center", color=ORANGE, weight="bold", fontsize=7.5)
    axes.axvline(solution.rms_px, color=ORANGE, linewidth=1.2)
    axes.text(solution.rms_px, -0.8, f"  all views {solution.rms_px:.3f}", color=ORANGE, fontsize=7.5)
    shown = [name if len(name) <= 28 else f"…{name[-27:]}" for name in names]
    axes.set_yticks(rows, shown, fontsize=7.5, parse_math=False)  # a file's name may hold a dollar
    axes.set(xlim=(0, top * 1.12), ylim=(len(names) - 0.4, -1.3), xlabel="RMS reprojection error, px")
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def tilts(solution: Solution) -> str:
    """To which side, and how far, the board leaned in each view, as seen from the camera."""
    from matplotlib.figure import Figure

    leaning = np.array([_leaning(view.rotation) for view in solution.views])
    figure = Figure(figsize=(HALF_IN, 3.6), layout="constrained")
    axes: Any = figure.add_subplot(projection="polar")
    axes.scatter(np.arctan2(-leaning[:, 1], leaning[:, 0]), solution.coverage.tilts_deg, s=26, color=BLUE, alpha=0.8)
    axes.set_rlim(0, max(45.0, *solution.coverage.tilts_deg) * 1.05)
    axes.set_rgrids([15, 30, 45], ["15°", "30°", "45°"], angle=67, color=SOFT)
    axes.set_thetagrids([0, 90, 180, 270], ["right", "up", "left", "down"])
    axes.grid(color="#cbd2d9", linewidth=0.6)
    return _svg(figure)


def displacement(solution: Solution) -> str:
    """How far undistorting moves each place of the picture."""
    places, (across, down) = _places(solution)
    moved = places - distorted(places, solution.calibration)
    figure, axes = _over_picture(solution)
    lengths = np.linalg.norm(moved, axis=1).reshape(across.shape)
    filled = axes.contourf(across, down, lengths, 12, cmap="viridis", alpha=0.85)
    drawn = axes.contour(across, down, lengths, filled.levels[1::2], colors="white", linewidths=0.7)
    axes.clabel(drawn, fmt="%g px", fontsize=7)
    figure.colorbar(filled, ax=axes, label="px moved", shrink=0.85)
    return _svg(figure)


def expected_error(solution: Solution) -> str:
    """One standard deviation of where a ray comes out, over the picture; dots are where the board was seen."""
    from matplotlib.colors import BoundaryNorm

    places, (across, down) = _places(solution)
    error = np.nan_to_num(expected_error_px(solution, places), nan=ERROR_STEPS_PX[-1]).reshape(across.shape)
    low = max([i for i, step in enumerate(ERROR_STEPS_PX) if step <= error.min()], default=0)
    high = min([i for i, step in enumerate(ERROR_STEPS_PX) if step >= error.max()], default=len(ERROR_STEPS_PX) - 1)
    steps = ERROR_STEPS_PX[low : max(high, low + 2) + 1]
    figure, axes = _over_picture(solution)
    colours = {"cmap": "cividis_r", "norm": BoundaryNorm(steps, 256)}
    filled = axes.contourf(across, down, np.clip(error, steps[0], steps[-1]), steps, alpha=0.9, **colours)
    axes.scatter(*np.concatenate([v.sighting.points for v in solution.views]).T, s=1.2, color="white", linewidths=0)
    figure.colorbar(filled, ax=axes, label="px, one standard deviation", shrink=0.85, format="%g")
    return _svg(figure)


def _leaning(rotation: tuple[float, float, float]) -> Doubles:
    """x (to the right) and y (down) of the board's normal that looks at the camera."""
    normal: Doubles = np.asarray(cv2.Rodrigues(np.array(rotation))[0][:, 2], np.float64)
    return (normal if normal[2] < 0 else -normal)[:2]


def _places(solution: Solution) -> tuple[Doubles, tuple[Doubles, Doubles]]:
    """A grid over the picture: (n,2) pixels, and the same as two arrays."""
    height, width = solution.calibration.image_hw
    across, down = np.meshgrid(np.linspace(0, width - 1, GRID[0]), np.linspace(0, height - 1, GRID[1]))
    return np.column_stack([across.ravel(), down.ravel()]), (across, down)


def _figure(width_in: float, height_in: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.add_subplot()


def _over_picture(solution: Solution) -> tuple[Any, Any]:
    """Axes in the picture's pixels, y down."""
    height, width = solution.calibration.image_hw
    figure, axes = _figure(HALF_IN, float(np.clip(4.5 * height / width, 2.2, 6.0)))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal", xlabel="px", ylabel="px")
    return figure, axes


def _svg(figure: Any) -> str:
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()
