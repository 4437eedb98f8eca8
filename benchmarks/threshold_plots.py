"""Two drawings of the benchmark: false rejects of each policy, and where thresholds go through a burst of defects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from threshold_figures import Row
from threshold_runs import Run
from threshold_streams import BURST, GONE, SINCE

COLOURS = {"fixed": "#555555", "percentile": "#d55e00", "guarded": "#0072b2", "tail": "#009e73"}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "thresholds",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def false_rejects(rows: Sequence[Row], file: Path) -> None:
    """A dot for each stream; where bad parts escaped that `fixed` rejects, their number beside it."""
    products = tuple(dict.fromkeys(row.product for row in rows))
    kinds = tuple(dict.fromkeys(row.kind for row in rows))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 2.8 * len(products)), layout="constrained")
        for axes, product in zip(np.atleast_1d(figure.subplots(len(products))), products, strict=True):
            for nth, (policy, colour) in enumerate(COLOURS.items()):
                for x, kind in enumerate(kinds):
                    shown = [
                        r for r in rows if (r.product, r.kind, r.policy, r.looked_at) == (product, kind, policy, 0.0)
                    ]
                    at = x + (nth - 1.5) * 0.2
                    rejects = [row.false_rejects for row in shown]
                    axes.plot([at] * len(shown), rejects, "o", color=colour, markersize=4, alpha=0.7)
                    more = sum(row.additional for row in shown)
                    if more:
                        axes.annotate(
                            f"+{more}",
                            (at, max(rejects)),
                            (0, 5),
                            textcoords="offset points",
                            ha="center",
                            color=colour,
                        )
                axes.plot([], [], "o", color=colour, label=policy)
            axes.set_yscale("symlog", linthresh=10)
            axes.set_xticks(range(len(kinds)), kinds)
            axes.set_ylabel(f"{product}: good parts rejected")
            axes.set_ylim(bottom=-1)
        figure.axes[0].legend(ncols=len(COLOURS), loc="upper left", bbox_to_anchor=(0, 1.2), frameon=False)
        figure.savefig(file, metadata={"Date": None})


def through_a_burst(
    runs: Mapping[str, Run], bad: npt.NDArray[np.bool_], name: str, class_id: int, ceiling: float, file: Path
) -> None:
    """The threshold of one class, and escapes added up, through dust that settles and a hundred bad parts in a row."""
    parts = np.arange(len(bad))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        above, below = figure.subplots(2, sharex=True)
        for policy, run in runs.items():
            colour = COLOURS[policy]
            above.plot(parts[::5], run.thresholds[::5, class_id], color=colour, label=policy, linewidth=1.2)
            escaped = np.cumsum(bad & ~run.rejected & runs["fixed"].rejected)
            below.plot(parts[::5], escaped[::5], color=colour, linewidth=1.2)
        above.axhline(ceiling, color="black", linestyle=":", linewidth=1)
        above.text(0, ceiling, " ceiling", va="bottom")
        above.set_ylabel(f"threshold of {name}")
        below.set_ylabel("escapes that fixed rejects")
        below.set_xlabel("part")
        for axes in (above, below):
            axes.axvspan(BURST.start, BURST.stop, color="#cc0000", alpha=0.12, linewidth=0)
            axes.axvspan(SINCE["burst"], GONE["burst"], color="#999999", alpha=0.12, linewidth=0)
        above.legend(ncols=len(runs), loc="upper left", bbox_to_anchor=(0, 1.2), frameon=False)
        figure.savefig(file, metadata={"Date": None})
