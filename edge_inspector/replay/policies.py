"""How thresholds would have gone, had another policy made them: from the scores of all parts in the book."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from edge_inspector.datatypes import Evaluation, ThresholdState
from edge_inspector.engine.golden import golden_sum
from edge_inspector.engine.limits_file import read_limits
from edge_inspector.replay.setups import Setup, Station
from edge_inspector.settings.adaptive import Policy
from edge_inspector.stages.rules import adaptable
from edge_inspector.stages.thresholds import needed
from edge_inspector.station.threshold_kept import Release, read_release
from edge_inspector.station.threshold_learner import Learner
from edge_inspector.store.kept_parts import confirmed, line_of
from edge_inspector.store.peaks import ScoredPart

Progress: TypeAlias = Callable[[str, int, int], None]
"""What is being done, how many parts are done, and of how many."""
LEAD_PARTS = 2000
"""So many parts before the first that is replayed does a policy begin: it must have learnt by then."""
_JUDGED = (Evaluation.OK, Evaluation.NOT_OK)


@dataclass(frozen=True)
class Course:
    """A policy's way through the parts of one recipe; `by_seq` are the thresholds of those that were asked for.

    `learnt_before` is how many parts it had seen before the first of them. `parts`, `rejected_then` and `rejected_now`
    are all parts from there on that have scores: no sample. `note` says what bounds held.
    """

    recipe: str
    policy: Policy
    by_seq: Mapping[int, ThresholdState]
    learnt_before: int
    parts: int
    rejected_then: int
    rejected_now: int
    note: str


def course(
    connection: sqlite3.Connection,
    station: Station,
    setup: Setup,
    policy: Policy,
    wanted: Collection[int],
    progress: Progress,
    *,
    as_if_released: bool,
) -> Course:
    """`wanted` are numbers of parts of this recipe. ConfigError: the policy needs a package that is missing."""
    needed(policy)
    learner, note = _learner(connection, station, setup, policy, as_if_released=as_if_released)
    first, may_move = min(wanted), adaptable(setup.recipe.criteria)
    by_seq: dict[int, ThresholdState] = {}
    good = confirmed(connection)
    lead = parts = then = now = done = 0
    for total, some in line_of(connection, setup.recipe.name, first, LEAD_PARTS):
        for part in some:
            if not _usable(part, setup):
                continue
            thresholds = learner.now()
            rejected = _rejected(part, thresholds, may_move)
            if part.seq < first:
                lead += 1
            else:
                parts += 1
                then += part.evaluation is Evaluation.NOT_OK
                now += rejected
            if part.seq in wanted:
                by_seq[part.seq] = thresholds
            said = Evaluation.NOT_OK if rejected else Evaluation.OK
            seen = replace(part, thresholds=thresholds.by_class, evaluation=said)
            learner.see(seen, "")
            if part.seq in good:
                learner.hear(seen, good[part.seq])
        done += len(some)
        progress(f"policy {policy}", done, total)
    return Course(setup.recipe.name, policy, by_seq, lead, parts, then, now, note)


def _learner(
    connection: sqlite3.Connection, station: Station, setup: Setup, policy: Policy, *, as_if_released: bool
) -> tuple[Learner, str]:
    """The station's own, as it would begin; and by what it is bound, in words."""
    recipe = setup.recipe
    adaptive = recipe.settings.adaptive.model_copy(update={"policy": policy, "shadow": policy})
    recipe = replace(recipe, settings=recipe.settings.model_copy(update={"adaptive": adaptive}))
    total = golden_sum(setup.bundle)
    learner = Learner(recipe, f"sha256 {total[:16]}" if total else "")
    limits = read_limits(station.state_dir, recipe.name)
    why_not = "there are none" if limits is None else learner.why_not(limits)
    if limits is None or why_not:
        make = f"edge-inspector thresholds limits {station.file} {recipe.name}"
        return learner, f"no threshold could be looser than the recipe says: no golden limits hold ({why_not}): {make}"
    learner.set_limits(limits)
    learner.set_release(
        Release(limits=limits.sum, who="replay", utc="") if as_if_released else _release(connection, recipe.name)
    )
    if not learner.released:
        return learner, "no threshold could be looser than the recipe says: it is not released (try --as-if-released)"
    who = "as if somebody had released it" if as_if_released else "released, and taken as if it had been all the time"
    return learner, f"up to the golden limits: {who}"


def _release(connection: sqlite3.Connection, recipe: str) -> Release | None:
    row = connection.execute("SELECT value FROM kept WHERE name = ?", (f"thresholds-release/{recipe}",)).fetchone()
    return read_release(None if row is None else str(row[0]))


def _usable(part: ScoredPart, setup: Setup) -> bool:
    classes = len(setup.recipe.criteria.classes)
    measured = part.whole and len(part.peaks) == len(part.thresholds) == classes
    return measured and part.evaluation in _JUDGED and part.model_hash == setup.recipe.model_hash


def _rejected(part: ScoredPart, thresholds: ThresholdState, may_move: Collection[int]) -> bool:
    """A class rejects from its peak reaching its threshold; what rejected it otherwise still does."""
    peaks = np.array(part.peaks, np.float32)
    moving = [c in may_move for c in range(len(part.peaks))]
    then = bool((peaks >= np.array(part.thresholds, np.float32))[moving].any())
    now = bool((peaks >= np.array(thresholds.by_class, np.float32))[moving].any())
    return now or (part.evaluation is Evaluation.NOT_OK and not then)
