"""What policies for thresholds do on streams of real parts that drift: false rejects, escapes, time to recover.

    python benchmarks/thresholds.py --data ../shared/data --cache ~/.cache/thresholds --role tuning

Two products (bare boards before the demo's model, steel before a plain detector), six streams each. Pictures and seeds
of the claim are used neither for golden limits nor for tuning.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from threshold_scores import PRODUCTS, Scored, scored
from threshold_streams import DRIFTING, KINDS, SEEDS, Kind

LEAST_FALSE_REJECTS = 100  # of `fixed` in each drifting stream: fewer would say little


@dataclass(frozen=True)
class Row:
    """One policy on one stream."""

    product: str
    kind: Kind
    seed: int
    policy: str
    good: int
    bad: int
    false_rejects: int
    escapes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds pcb/ and steel/")
    parser.add_argument("--role", choices=("tuning", "claim"), default="tuning", help="which pictures and seeds")
    parser.add_argument("--cache", type=Path, help="keep the model's scores here")
    parser.add_argument("--products", nargs="+", choices=tuple(PRODUCTS), default=tuple(PRODUCTS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seeds", nargs="+", type=int, help="some of the role's")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    print(f"{'product':8} {'stream':8} {'seed':>4} {'policy':10} {'good':>5} {'rejected':>8} {'bad':>4} {'escaped':>7}")
    for name in options.products:
        product = PRODUCTS[name](options.data, options.role)
        for kind in options.kinds:
            for seed in options.seeds or SEEDS[options.role]:
                row = fixed(product.base, scored(product, kind, seed, options.cache), name, kind, seed)
                rows.append(row)
                print(
                    f"{name:8} {kind:8} {seed:4} {row.policy:10} {row.good:5} {row.false_rejects:8} {row.bad:4} "
                    f"{row.escapes:7}",
                    flush=True,
                )
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    thin = [row for row in rows if row.kind in DRIFTING and row.false_rejects < LEAST_FALSE_REJECTS]
    if thin:
        sys.exit(f"fixed rejects fewer than {LEAST_FALSE_REJECTS} good parts in {len(thin)} drifting streams")


def fixed(base: tuple[float, ...], stream: Scored, product: str, kind: Kind, seed: int) -> Row:
    """The recipe's own thresholds all along."""
    rejected = (stream.peaks >= np.array(base)).any(axis=1)
    return Row(
        product=product,
        kind=kind,
        seed=seed,
        policy="fixed",
        good=int((~stream.bad).sum()),
        bad=int(stream.bad.sum()),
        false_rejects=int((rejected & ~stream.bad).sum()),
        escapes=int((~rejected & stream.bad).sum()),
    )


if __name__ == "__main__":
    main()
