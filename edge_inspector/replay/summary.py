"""A replay in figures: what the report, the terminal and the JSON file say. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from edge_inspector.replay.rates import Estimate
from edge_inspector.replay.records import SKIPPED, WORDS, Lack, ReplayedPart, WhatIf
from edge_inspector.replay.replaying import Replay
from edge_inspector.store.kept_parts import Kind

STAGES = ("prepare", "infer", "finish")
"""Those that a replay has, too; the others are of cameras, queues and the PLC."""
_PASSED: tuple[Kind, ...] = ("near", "sample", "unkept")


@dataclass(frozen=True)
class Sameness:
    """How many parts of one kind gave every number again; `lack` None = they must."""

    lack: Lack | None
    words: str
    parts: int
    same: int
    not_run: int


@dataclass(frozen=True)
class Wrong:
    """Of parts of which people know what they are: judged wrongly then and now; `of_all` as far as they speak for all.

    `cured` were wrong and are not any more, `new` the other way round.
    """

    parts: int
    then: int
    now: int
    cured: int
    new: int
    then_of_all: Estimate
    now_of_all: Estimate


@dataclass(frozen=True)
class Times:
    """Milliseconds of one stage: then in the station, now in the replay; None = nothing was measured."""

    stage: str
    then: Mapping[str, float] | None
    now: Mapping[str, float] | None


@dataclass(frozen=True)
class Summary:
    """All of it; `rejected_then` is counted in the book, the estimates are of what was run."""

    in_book: int
    kept: int
    run: int
    skipped: Mapping[str, int]
    rejected_then: int
    rejected_now: Estimate
    now_rejected: Estimate
    now_passed: Estimate
    sameness: tuple[Sameness, ...]
    escapes: Wrong
    overkill: Wrong
    times: tuple[Times, ...]
    by_picture: int


def summarise(replay: Replay) -> Summary:
    """Add it up."""
    parts, strata = replay.parts, replay.strata
    bad = [part for part in parts if part.good is False]
    good = [part for part in parts if part.good is True]
    return Summary(
        in_book=round(strata.total),
        kept=len(parts) + len(replay.skipped),
        run=len(parts),
        skipped={one.value: count for one, count in Counter(s.why for s in replay.skipped).most_common()},
        rejected_then=strata.rejected,
        rejected_now=strata.share(parts, lambda part: not part.passes_now),
        now_rejected=strata.share(parts, lambda part: not part.passes_now, _PASSED),
        now_passed=strata.share(parts, lambda part: part.passes_now, ("reject",)),
        sameness=tuple(_sameness(parts)),
        escapes=_wrong(replay, bad, lambda part: part.passed_before, lambda part: part.passes_now),
        overkill=_wrong(replay, good, lambda part: not part.passed_before, lambda part: not part.passes_now),
        times=tuple(_times(parts)),
        by_picture=sum(part.by_picture for part in parts),
    )


def flips(replay: Replay) -> list[ReplayedPart]:
    """Parts with another verdict, the worst first: new escapes, new false rejects, now passed, now rejected."""

    def badness(part: ReplayedPart) -> int:
        if part.good is not None:
            return 0 if part.passes_now and not part.good else 1 if part.good and not part.passes_now else 4
        return 2 if part.passes_now else 3

    return sorted((part for part in replay.parts if part.flipped), key=badness)


def words(what: WhatIf) -> str:
    """What was asked, for people."""
    said = []
    if what.recipe is not None:
        said.append(f"recipe {what.recipe}")
    if what.bundle is not None:
        said.append(f"bundle {what.bundle}")
    if what.policy is not None:
        said.append("the recipe's own thresholds" if what.policy == "fixed" else f"thresholds by policy {what.policy}")
    said += [f"{name} from {value:g} on" for name, value in what.thresholds.items()]
    return ", ".join(said) or "as it was booked"


def facts(replay: Replay, made: Summary) -> dict[str, object]:
    """For JSON. Numbers of parts are those of the book; shares are of all production parts of the time."""
    what = replay.asked.what
    return {
        "schema": "edge-inspector.replay/1",
        "ledger": str(replay.station.ledger),
        "time": replay.span,
        "asked": {
            "of": replay.asked.of,
            "recipe": what.recipe,
            "bundle": None if what.bundle is None else str(what.bundle),
            "policy": what.policy,
            "thresholds": dict(what.thresholds),
        },
        "summary": asdict(made),
        "strata": [asdict(one) for one in replay.strata.sampled(replay.parts)],
        "policies": [{key: value for key, value in asdict(one).items() if key != "by_seq"} for one in replay.courses],
        "parts": [_part(part) for part in replay.parts],
        "skipped": [
            {"result_id": one.part.result_id, "why": one.why.value, "text": one.text} for one in replay.skipped
        ],
        "notes": list(replay.notes),
    }


def _part(part: ReplayedPart) -> dict[str, object]:
    after = part.after
    return {
        "result_id": part.part.result_id,
        "part_id": part.booked.part_id,
        "wall_utc": part.booked.wall_utc,
        "recipe": part.part.recipe,
        "kept_as": part.part.kind,
        "every_nth": part.part.every_nth,
        "then": part.booked.evaluation.name,
        "then_text": part.booked.reason_text,
        "now": after.evaluation.name,
        "now_text": after.reason_text,
        "now_rule": after.rule,
        "now_scores": after.peaks,
        "now_thresholds": after.thresholds,
        "flipped": part.flipped,
        "by_picture": part.by_picture,
        "good": part.good,
        "lacks": [lack.value for lack in part.lacks],
        "again": None if part.again is None else part.again.evaluation.name,
        "differs": part.differs,
    }


def _sameness(parts: Sequence[ReplayedPart]) -> list[Sameness]:
    found = []
    for lack in (None, *Lack):
        some = [part for part in parts if (part.exact if lack is None else lack in part.lacks)]
        if some or lack is None:
            same = sum(part.again is not None and not part.differs for part in some)
            said = "nothing is lacking: every number must be the same" if lack is None else WORDS[lack]
            found.append(Sameness(lack, said, len(some), same, sum(part.again is None for part in some)))
    return found


def _wrong(
    replay: Replay,
    parts: Sequence[ReplayedPart],
    then: Callable[[ReplayedPart], bool],
    now: Callable[[ReplayedPart], bool],
) -> Wrong:
    """`parts` are those that could be wrong so. They speak for all only together with all that people know of."""
    known = [part for part in replay.parts if part.good is not None]
    these = {part.part.seq for part in parts}
    return Wrong(
        parts=len(parts),
        then=sum(map(then, parts)),
        now=sum(map(now, parts)),
        cured=sum(then(part) and not now(part) for part in parts),
        new=sum(now(part) and not then(part) for part in parts),
        then_of_all=replay.strata.share(known, lambda part: part.part.seq in these and then(part)),
        now_of_all=replay.strata.share(known, lambda part: part.part.seq in these and now(part)),
    )


def _times(parts: Sequence[ReplayedPart]) -> list[Times]:
    made = []
    for stage in STAGES:
        then = [part.booked.stage_ns[stage] / 1e6 for part in parts if stage in part.booked.stage_ns]
        made.append(Times(stage, _spread(then), _spread([p.times_ms[stage] for p in parts if stage in p.times_ms])))
    return made


def _spread(values_ms: Sequence[float]) -> Mapping[str, float] | None:
    if not values_ms:
        return None
    median, high = np.percentile(values_ms, [50, 99]).tolist()
    return {"median_ms": round(median, 3), "p99_ms": round(high, 3), "max_ms": round(max(values_ms), 3)}


def skip_words(skipped: Mapping[str, int]) -> list[tuple[int, str]]:
    """How many, and why, in sentences."""
    return [(count, text) for why, text in SKIPPED.items() if (count := skipped.get(why.value, 0))]
