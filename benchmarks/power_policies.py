"""The power policies through one day in simulation: energy, late parts and changes of the mode, with a drawing.

Run: python benchmarks/power_policies.py [--image docs/images/power-policies.svg]
The board and the line are simulated (power_day.py), what decides is the station's own code. Nothing here is measured.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from power_day import MODES, Day, Outcome, Product, Stretch

GEARS = Product("gears", base_ms=55.0, deadline_ms=150.0, period_s=0.4)
COVERS = Product("covers", base_ms=20.0, deadline_ms=150.0, period_s=0.4)
PLAN = (
    Stretch(6, COVERS, runs=False),
    Stretch(10, GEARS),
    Stretch(12, COVERS),
    Stretch(12.5, COVERS, runs=False),
    Stretch(13, GEARS),
    Stretch(13.5, GEARS, load=1.45),
    Stretch(15, GEARS),
    Stretch(15.1, GEARS, runs=False),
    Stretch(17.5, GEARS, ambient_c=73.0),
    Stretch(17.6, GEARS, runs=False),
    Stretch(22, COVERS),
    Stretch(24, COVERS, runs=False),
)
"""Two shifts, two products; from 13:00 something else loads the machine, from 15:06 the cabinet's fan stands still."""
POLICIES: Mapping[str, dict[str, Any]] = {
    "fixed MAXN": {"kind": "fixed", "mode": "MAXN"},
    "fixed 15W": {"kind": "fixed", "mode": "15W"},
    "schedule": {
        "kind": "schedule",
        "shifts": [{"begin": "06:00", "end": "22:00", "mode": "MAXN"}],
        "otherwise": "15W",
    },
    "takt": {"kind": "takt", "pause_s": 0},
}
COLOURS = {"fixed MAXN": "#555555", "fixed 15W": "#d55e00", "schedule": "#0072b2", "takt": "#009e73"}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "power",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
EACH_MIN = 5
"""Minutes of a point in the drawing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, help="where the drawing goes (SVG)")
    parser.add_argument("--events", action="store_true", help="say what the station told, policy by policy")
    given = parser.parse_args()
    os.environ["TZ"] = "UTC"  # the day's own time
    time.tzset()
    outcomes: dict[str, Outcome] = {}
    print("| policy | Wh | late of inspected parts | refused | changes of the mode | min throttled |")
    print("|---|---|---|---|---|---|")
    for name, policy in POLICIES.items():
        day = Day(policy, PLAN, MODES[-1])
        outcomes[name] = out = day.run()
        late = f"{out.late} of {out.parts}"
        numbers = (f"{out.energy_j / 3600:.0f}", late, out.refused, out.changes, f"{out.throttled_s / 60:.0f}")
        print(f"| {name} | {' | '.join(map(str, numbers))} |", flush=True)
        if given.events:
            for at_s, code, text in day.told:
                print(f"    {int(at_s // 3600):02}:{int(at_s % 3600 // 60):02} {code}: {text}")
    if given.image is not None:
        draw(outcomes, given.image)


def draw(outcomes: Mapping[str, Outcome], file: Path) -> None:
    """Mode, time of the slowest of 100 parts, and power, through the day."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 6.6), layout="constrained")
        above, middle, below = figure.subplots(3, sharex=True)
        for nth, (name, out) in enumerate(outcomes.items()):
            hours = np.arange(len(out.mode)) / 60
            points = slice(0, None, EACH_MIN)
            colour = COLOURS[name]
            steps = [0, *np.flatnonzero(np.diff(out.mode)) + 1, len(out.mode) - 1]
            above.step(
                hours[steps], np.array(out.mode)[steps] + 0.07 * (nth - 1.5), color=colour, label=name, where="post"
            )
            middle.plot(hours[points], _most(out.p99_ms), color=colour, linewidth=1.2)
            below.plot(hours[points], _mean(out.watts), color=colour, linewidth=1.2)
            late = np.array(out.late_each).reshape(-1, EACH_MIN).sum(axis=1) > 0
            top = 165 + 8 * nth
            middle.plot(hours[points][late], np.full(int(late.sum()), top), "|", color=colour, markersize=6)
        some = next(iter(outcomes.values()))
        hours = np.arange(len(some.deadline_ms)) / 60
        middle.step(hours[::EACH_MIN], some.deadline_ms[::EACH_MIN], color="black", linestyle=":", linewidth=1)
        middle.text(19.2, 152, "deadline", va="bottom", fontsize=8)
        middle.text(0.1, 163, "late parts", va="bottom", fontsize=8)
        above.set_yticks(range(len(MODES)), [mode.name for mode in MODES])
        above.set_ylabel("power mode")
        middle.set_ylabel("p99 of a part, ms")
        middle.set_ylim(0, 210)
        below.set_ylabel("board, W")
        below.set_xlabel("hour of the day")
        below.set_ylim(bottom=0)
        below.set_xlim(0, 24)
        below.set_xticks(range(0, 25, 2))
        for axes in (above, middle, below):
            axes.axvspan(13, 13.5, color="#cc9900", alpha=0.15, linewidth=0)
            axes.axvspan(15.1, 17.5, color="#cc0000", alpha=0.1, linewidth=0)
        above.text(13.25, 2.3, "other load", ha="center", fontsize=8)
        above.text(16.3, 2.3, "no fan", ha="center", fontsize=8)
        figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
        figure.savefig(file, metadata={"Date": None})


def _most(values: list[float]) -> list[float]:
    """The largest of each few minutes, rounded: a drawing of a few kB."""
    with np.errstate(invalid="ignore"):
        return [round(float(np.max(one)), 1) for one in np.array(values).reshape(-1, EACH_MIN)]


def _mean(values: list[float]) -> list[float]:
    return [round(float(one), 2) for one in np.array(values).reshape(-1, EACH_MIN).mean(axis=1)]


if __name__ == "__main__":
    main()
