"""One product under study: its golden limits, and what each policy does on a stream of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from threshold_figures import Row, in_blocks
from threshold_golden import WITHIN_HEALTH, Golden, golden
from threshold_runs import Run, missed_golden, recovered, run
from threshold_scores import PRODUCTS, Product, Scored
from threshold_streams import GONE, PARTS, SINCE, Kind, Role

from edge_inspector.settings.adaptive import AdaptiveSettings, Policy
from edge_inspector.stages.thresholds import Bounds, ClassLimits, GoldenDefect, bounds_of, golden_limits

Unit = Literal["parts", "clean-parts", "defects"]
LEARNING = ("guarded", "tail")  # the policies to which a word on a reject means something


@dataclass(frozen=True)
class Study:
    """`limits` has one entry for each class of the product, `bounds` are those of a released recipe."""

    product: Product
    golden: Golden
    limits: tuple[ClassLimits, ...]
    bounds: Bounds
    settings: AdaptiveSettings


def study(name: str, data: Path, role: Role, cache: Path | None, unit: Unit) -> Study:
    """Limits from the golden parts of the product, streams from the pictures of the role."""
    settings = AdaptiveSettings.model_validate({})
    product = PRODUCTS[name](data, role)
    known = golden(PRODUCTS[name](data, "ceilings"), cache)
    found = golden_limits(
        product.base, [tuple(row) for row in known.good.tolist()], _units(known, unit), settings.reserve
    )
    return Study(product, known, found, bounds_of(product.classes, product.base, found), settings)


def _units(known: Golden, unit: Unit) -> list[GoldenDefect]:
    """What must not be missed; its scores are the lowest while camera health would let the station go on.

    By "parts" each class that a part has a defect of counts once, and the part is caught as a whole, as in the streams;
    by "clean-parts" as it looks before any drift. By "defects" each has to be caught by itself, as
    `edge-inspector thresholds limits` has it.
    """
    seen = slice(0, 1 if unit == "clean-parts" else len(WITHIN_HEALTH))
    if unit == "defects":
        rows = known.scores[seen].min(axis=0).tolist()
        return [GoldenDefect(c, tuple(row)) for c, row in zip(known.classes.tolist(), rows, strict=True)]
    rows = known.parts[seen].min(axis=0).tolist()
    pairs = sorted(set(zip(known.part.tolist(), known.classes.tolist(), strict=True)))
    return [GoldenDefect(c, tuple(rows[part])) for part, c in pairs]


def tried(
    of: Study,
    kind: Kind,
    seed: int,
    stream: Scored,
    policies: Sequence[Policy],
    looked_at: Sequence[float],
    held_from: float,
) -> Iterator[tuple[Row, Run]]:
    """Each policy on one stream; those that learn from people once for each share of rejects that is looked at."""
    for policy in policies:
        for share in looked_at if policy in LEARNING else (0.0,):
            done = run(of.settings, policy, of.bounds, stream, share, seed, held_from)
            yield _row(of, kind, seed, stream, policy, share, done), done


def _row(of: Study, kind: Kind, seed: int, stream: Scored, policy: Policy, share: float, done: Run) -> Row:
    base, bad = of.product.base, stream.bad
    fixed = (stream.peaks >= np.array(base)).any(axis=1)
    since, gone = (int(part * len(bad) / PARTS) for part in (SINCE[kind], GONE[kind]))
    return Row(
        product=of.product.name,
        kind=kind,
        seed=seed,
        policy=policy,
        looked_at=share,
        good=int((~bad).sum()),
        bad=int(bad.sum()),
        false_rejects=int((done.rejected & ~bad).sum()),
        escapes=int((~done.rejected & bad).sum()),
        additional=int((~done.rejected & fixed & bad).sum()),
        caught_more=int((done.rejected & ~fixed & bad).sum()),
        missed_parts=missed_golden(done, of.golden.parts[0], base),
        missed_defects=missed_golden(done, of.golden.scores[0], base),
        above_ceiling=bool((done.thresholds > np.array(of.bounds.ceiling)).any()),
        recovered=recovered(done, bad, since, gone),
        back=recovered(done, bad, gone, len(bad)),
        alarms=done.alarms,
        blocks=(in_blocks(fixed & ~bad), in_blocks(done.rejected & ~bad)),
    )
