"""How many parts of the book each kind of kept part stands for. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from edge_inspector.replay.rates import Estimate, Stratum, estimate
from edge_inspector.replay.records import ReplayedPart
from edge_inspector.store.kept_parts import Counted, Kind


class Strata:
    """Of one replay: every production part of the time belongs to one kind, and each was meant to be kept 1 in n.

    OK parts that were not kept are shared out among the sampling fractions that were in force, by what each has kept.
    """

    def __init__(self, counted: Sequence[Counted]) -> None:
        parts: dict[tuple[Kind, int], float] = {(one.kind, one.every_nth): one.parts for one in counted}
        unkept = parts.pop(("unkept", 1), 0)
        sampled = {key: kept * key[1] for key, kept in parts.items() if key[0] == "sample"}
        together = unkept + sum(kept for key, kept in parts.items() if key[0] == "sample")
        for key, promised in sampled.items():
            parts[key] = together * promised / sum(sampled.values())
        if unkept and not sampled:
            parts["unkept", 1] = unkept
        self.promised = together / sum(sampled.values()) if sampled else None
        """How many OK parts there are for each that the sampling promises: 1 = as many as are meant to be."""
        self._parts = parts

    @property
    def total(self) -> float:
        return sum(self._parts.values())

    @property
    def rejected(self) -> int:
        """Parts that were no OK: the book has counted them."""
        return round(sum(count for (kind, _), count in self._parts.items() if kind == "reject"))

    def sampled(self, parts: Sequence[ReplayedPart]) -> list[Stratum]:
        """With how many of each were run."""
        run = Counter((one.part.kind, one.part.every_nth) for one in parts)
        return [Stratum(*key, count, run[key]) for key, count in sorted(self._parts.items())]

    def share(
        self,
        parts: Sequence[ReplayedPart],
        holds: Callable[[ReplayedPart], bool],
        among: Sequence[Kind] = ("reject", "near", "sample", "unkept"),
    ) -> Estimate:
        """To what share of all parts something holds, as far as `parts` can tell.

        Only to the kinds `among` it can hold.
        """
        seen = Counter((one.part.kind, one.part.every_nth) for one in parts if holds(one))
        strata = [one for one in self.sampled(parts) if one.kind in among]
        others = self.total - sum(one.parts for one in strata)
        return estimate(strata, [seen[one.kind, one.every_nth] for one in strata], others)
