"""The plots of the evaluation report, each one SVG; drawn inside `style()`."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inspector.engine.evaluate.records import ClassFigures, Confusion
from edge_inspector.engine.evaluate.shares import wilson
from edge_inspector.errors import ConfigError

INK, SOFT, BLUE, ORANGE = "#1f2933", "#7b8794", "#0b66a5", "#c2410c"
CYCLE = ("#0b66a5", "#c2410c", "#14713f", "#7b3fa0", "#b08900", "#1f2933", "#c23b75", "#0f8b8d")
"""Colours of classes; the ninth class has the first colour again, in a dashed line."""
DASHES = ("-", "--", ":", "-.")
HALF_IN = 5.2
"""Width of a plot that has half of the page."""
BINS = 40
LONGEST = 22
"""Letters of a class name in a plot."""
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_STYLE: Any = {  # matplotlib's hints want each key as a literal
    "font.size": 8.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,  # a class name may hold a dollar
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "svg.hashsalt": "edge-inspector",
    "svg.fonttype": "none",  # the browser has the letters of more scripts than matplotlib's font
}


def needed(*packages: str) -> None:
    """ConfigError when one of these packages of the extra `evaluate` is not installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as exc:
            raise ConfigError(
                f"reports need {package}, which is not installed ({exc}); pip install 'edge-inspector[evaluate]'"
            ) from exc


@contextmanager
def style() -> Iterator[None]:
    """The look of all plots, for as long as they are drawn."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in scripts that the font does not have
        yield


def short(name: str) -> str:
    """A name as a plot has room for it."""
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return printable if len(printable) <= LONGEST else f"{printable[: LONGEST - 1]}…"


def precision_recall(classes: Sequence[ClassFigures]) -> str:
    """Precision over recall of every class that has a curve; the dot is the threshold."""
    figure, axes = _figure(HALF_IN, 3.8)
    for i, one in enumerate(classes):
        if one.curve is None:
            continue
        color, dash = CYCLE[i % len(CYCLE)], DASHES[i // len(CYCLE) % len(DASHES)]
        axes.plot(one.curve.recall, one.curve.precision, dash, color=color, linewidth=1.4, label=f"{short(one.name)}")
        at = _at(one)
        if at is not None:
            axes.plot(one.curve.recall[at], one.curve.precision[at], "o", color=color, markersize=4.5)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
    axes.legend(loc="lower left", fontsize=7.5, frameon=False)
    return _svg(figure)


def f1_over_confidence(classes: Sequence[ClassFigures]) -> str:
    """F1 of every class that has a curve, over the confidence; the upright line is the threshold."""
    figure, axes = _figure(HALF_IN, 3.8)
    for i, one in enumerate(classes):
        if one.curve is None:
            continue
        color, dash = CYCLE[i % len(CYCLE)], DASHES[i // len(CYCLE) % len(DASHES)]
        axes.plot(one.curve.confidence, one.curve.f1, dash, color=color, linewidth=1.4, label=short(one.name))
    for threshold in sorted({one.threshold for one in classes if one.curve is not None}):
        axes.axvline(threshold, color=SOFT, linewidth=0.9, linestyle="--")
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="confidence", ylabel="F1 of boxes at IoU 0.5")
    axes.legend(loc="lower left", fontsize=7.5, frameon=False)
    return _svg(figure)


def confusion(table: Confusion) -> str:
    """Counts; the colour is the share of the row."""
    counts = np.array(table.counts, np.float64)
    size = min(9.5, 2.2 + 0.5 * len(table.names))
    figure, axes = _figure(size + 0.6, size)
    rows = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(rows, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        color = "white" if rows[row, column] > 0.55 else INK
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=7.5, color=color)
    names = [short(name) for name in table.names]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7.5)
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.set(xlabel="seen as", ylabel="labelled")
    return _svg(figure)


def histogram(good: Doubles, bad: Doubles, thresholds: Sequence[float], names: tuple[str, str]) -> str:
    """Scores of good and of bad parts, how many of each; upright lines are thresholds."""
    figure, axes = _figure(HALF_IN, 3.2)
    edges = np.linspace(0, 1, BINS + 1)
    for scores, color, name in ((good, BLUE, names[0]), (bad, ORANGE, names[1])):
        axes.hist(scores, bins=edges, color=color, alpha=0.6, label=f"{len(scores)} {name}")
    for threshold in sorted(set(thresholds)):
        axes.axvline(threshold, color=INK, linewidth=1, linestyle="--")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.set(xlim=(0, 1), xlabel="highest score", ylabel="parts")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=7.5, frameon=False)
    return _svg(figure)


def operating(critical: Doubles, bad: Flags, wanted: float | None, threshold: float | None, floor: float) -> str:
    """Escapes and overkill over one threshold for all classes, with their intervals.

    `critical` (parts,) is the highest threshold at which each part is rejected.
    """
    figure, axes = _figure(HALF_IN, 3.2)
    at = np.linspace(floor, 1, 200)
    for flags, passes, color, name in ((bad, True, ORANGE, "escapes"), (~bad, False, BLUE, "overkill")):
        total = int(flags.sum())
        if not total:
            continue
        counts = [int(((critical[flags] < t) if passes else (critical[flags] >= t)).sum()) for t in at]
        low, high = np.array([wilson(count, total) for count in counts]).T
        axes.plot(at, np.array(counts) / total, color=color, linewidth=1.4, label=name)
        axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
    if wanted is not None:
        axes.axhline(wanted, color=SOFT, linewidth=0.9, linestyle=":")
    if threshold is not None:
        axes.axvline(threshold, color=INK, linewidth=1, linestyle="--")
    axes.set(xlim=(floor, 1), ylim=(-0.02, 1.02), xlabel="one threshold for all classes", ylabel="share of parts")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=7.5, frameon=False)
    return _svg(figure)


def measured(labelled: Doubles, values: Doubles, low: float, high: float, unit: str) -> str:
    """Measured over labelled values, and the limits between which a part is good."""
    figure, axes = _figure(HALF_IN, 3.6)
    ends = [min(labelled.min(), values.min(), low), max(labelled.max(), values.max(), high)]
    axes.axvspan(low, high, color=BLUE, alpha=0.07)
    axes.axhspan(low, high, color=BLUE, alpha=0.07)
    axes.plot(ends, ends, color=SOFT, linewidth=0.9)
    axes.scatter(labelled, values, s=12, color=ORANGE, alpha=0.7, linewidths=0)
    suffix = f", {short(unit)}" if unit else ""
    axes.set(xlabel=f"labelled{suffix}", ylabel=f"measured{suffix}")
    return _svg(figure)


def _at(one: ClassFigures) -> int | None:
    """The point of a curve that belongs to its threshold; None: nothing reaches it."""
    if one.curve is None:
        return None
    reached = [i for i, c in enumerate(one.curve.confidence) if np.float32(c) >= np.float32(one.threshold)]
    return reached[-1] if reached else None


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()
