"""What policies for thresholds do on streams of real parts that drift: false rejects, escapes, time to recover.

    python benchmarks/thresholds.py --data ../shared/data --cache ~/.cache/thresholds --role claim --json FILE

Two products (bare boards before the demo's model, steel before a plain detector), six streams each. Pictures and seeds
of the claim are used neither for golden limits nor for tuning. --quick: one short stream of steel, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from threshold_figures import Row, reduction
from threshold_runs import NEVER, Run
from threshold_scores import PRODUCTS, scored
from threshold_streams import CURED, DRIFTING, KINDS, PARTS, SEEDS
from threshold_study import Study, Unit, study, tried

from edge_inspector.settings.adaptive import Policy

LEAST_FALSE_REJECTS = 100  # of `fixed` in each drifting stream: fewer would say little
QUICK_PARTS = 400
DRAWN = ("boards", "burst", "copper")  # product, stream and class of the drawing


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    rows: list[Row] = []
    limits = {}
    for name in options.products:
        of = study(name, options.data, options.role, options.cache, options.golden)
        limits[name] = dict(zip(of.product.classes, map(asdict, of.limits), strict=True))
        print(_limits(of))
        for kind in options.kinds:
            for seed in options.seeds or SEEDS[options.role]:
                stream = scored(of.product, kind, seed, options.cache, QUICK_PARTS if options.quick else PARTS)
                done = list(tried(of, kind, seed, stream, options.policies, options.looked_at, options.held_from))
                rows += [row for row, _ in done]
                if options.plots is not None and (name, kind) == DRAWN[:2] and seed == SEEDS[options.role][0]:
                    _drawn(of, stream.bad, {r.policy: run for r, run in done if r.looked_at == 0.0}, options.plots)
    print(_table(rows))
    if options.json is not None:
        report = {
            "golden": options.golden,
            "held_from": options.held_from,
            "limits": limits,
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(report) + "\n")
    if options.plots is not None:
        from threshold_plots import false_rejects

        false_rejects(rows, options.plots / "thresholds-false-rejects.svg")
    thin = [r for r in rows if r.policy == "fixed" and r.kind in DRIFTING and r.false_rejects < LEAST_FALSE_REJECTS]
    if thin and not options.quick:
        sys.exit(f"fixed rejects fewer than {LEAST_FALSE_REJECTS} good parts in {len(thin)} drifting streams")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds pcb/ and steel/")
    parser.add_argument("--role", choices=("tuning", "claim"), default="tuning", help="which pictures and seeds")
    parser.add_argument("--cache", type=Path, help="keep the model's scores here")
    parser.add_argument("--products", nargs="+", choices=tuple(PRODUCTS), default=tuple(PRODUCTS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seeds", nargs="+", type=int, help="some of the role's")
    parser.add_argument("--policies", nargs="+", choices=get_args(Policy), default=get_args(Policy))
    parser.add_argument("--looked-at", nargs="+", type=float, default=(0.0, 0.3), help="shares of rejects seen again")
    parser.add_argument("--golden", choices=get_args(Unit), default="parts", help="what limits are made from")
    parser.add_argument("--held-from", type=float, default=NEVER, help="level of drift from which thresholds are held")
    parser.add_argument("--quick", action="store_true", help="one short stream of steel")
    parser.add_argument("--json", type=Path, help="write limits and rows here, too")
    parser.add_argument("--plots", type=Path, help="a folder for two drawings; needs matplotlib")
    options = parser.parse_args()
    if options.quick:
        options.products, options.kinds, options.seeds, options.looked_at = ("steel",), ("light",), (101,), (0.3,)
    return options


def _drawn(of: Study, bad: np.ndarray, runs: dict[str, Run], folder: Path) -> None:
    from threshold_plots import through_a_burst

    class_id = of.product.classes.index(DRAWN[2])
    file = folder / "thresholds-burst.svg"
    through_a_burst(runs, bad, DRAWN[2], class_id, of.bounds.ceiling[class_id], file)


def _limits(of: Study) -> str:
    return "\n".join(
        f"{of.product.name} {name}: fixed {base:.2f}, floor {one.floor:.3f}, ceiling {one.ceiling:.3f}, "
        f"{one.missed} of {one.defects} golden ones missed, at most {100 * one.missed_upper:.1f} % (95 %)"
        for name, base, one in zip(of.product.classes, of.product.base, of.limits, strict=True)
    )


def _table(rows: Sequence[Row]) -> str:
    """A line for each policy on each kind of stream, all seeds together, and one for all drifting streams."""
    lines = [
        f"{'product':8} {'streams':9} {'policy':10} {'again':>5} {'false rejects':>20} {'fewer, 95 % interval':>24} "
        f"{'escapes':>12} {'more':>4} {'fewer':>5} {'golden missed':>13} {'over':>4} {'recovered':>14} {'back':>10}"
    ]
    ways = tuple(dict.fromkeys((row.policy, row.looked_at) for row in rows))
    kinds = tuple(dict.fromkeys(row.kind for row in rows))
    for product in dict.fromkeys(row.product for row in rows):
        for name, of in [*((kind, (kind,)) for kind in kinds), ("drifting", DRIFTING)]:
            for way in ways:
                chosen = [r for r in rows if r.product == product and r.kind in of and (r.policy, r.looked_at) == way]
                if chosen:
                    lines.append(_line(product, name, way, chosen))
    return "\n".join(lines)


def _line(product: str, kind: str, way: tuple[str, float], rows: Sequence[Row]) -> str:
    rejects = sorted(row.false_rejects for row in rows)
    spread = f"{sum(rejects):6} ({rejects[0]} to {rejects[-1]})"
    fewer = reduction(rows)
    share = "-" if fewer is None else "{:.0f} % ({:.0f} to {:.0f})".format(*(100 * one for one in fewer))
    golden_missed = f"{max(r.missed_parts for r in rows)} / {max(r.missed_defects for r in rows)}"
    return (
        f"{product:8} {kind:9} {way[0]:10} {way[1]:5.1f} {spread:>20} {share:>24} "
        f"{sum(r.escapes for r in rows):5} / {sum(r.bad for r in rows):4} {sum(r.additional for r in rows):4} "
        f"{sum(r.caught_more for r in rows):5} {golden_missed:>13} {sum(r.above_ceiling for r in rows):4} "
        f"{_times([r.recovered for r in rows]):>14} {_times([r.back for r in rows if r.kind in CURED]):>10}"
    )


def _times(parts: Sequence[int | None]) -> str:
    """The median over streams, and how many never got there."""
    if not parts:
        return "-"
    known = [one for one in parts if one is not None]
    never = len(parts) - len(known)
    median = f"{np.median(known):.0f}" if known else "-"
    return f"{median}, {never} never" if never else median


if __name__ == "__main__":
    main()
