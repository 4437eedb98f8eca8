"""A policy on one stream, as the station runs it: what it rejects, what escapes, where its thresholds go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threshold_scores import Scored

from edge_inspector.settings.adaptive import AdaptiveSettings, Policy
from edge_inspector.stages.thresholds import Bounds, Seen, Word, advance, begin

NEVER = 2.0  # no level of drift
TOLD_AFTER = 20  # parts, until a person has looked at a reject again


@dataclass(frozen=True)
class Run:
    """By part: what it was judged by (parts, classes), whether it was rejected; and how often an alarm began."""

    thresholds: npt.NDArray[np.float64]
    rejected: npt.NDArray[np.bool_]
    alarms: int


def run(
    settings: AdaptiveSettings,
    policy: Policy,
    bounds: Bounds,
    stream: Scored,
    looked_at: float,
    seed: int,
    held_from: float = NEVER,
) -> Run:
    """`looked_at` is the share of rejects that a person looks at again and tells the station what they were.

    `held_from` is the level of drift from which the station is warned of it, and holds its thresholds.
    """
    rng = np.random.default_rng(seed)
    state = begin(policy, bounds)
    thresholds, rejected, alarms = [], [], 0
    words: dict[int, Seen] = {}
    parts = zip(stream.peaks.tolist(), stream.bad.tolist(), stream.level.tolist(), strict=True)
    for part, (row, bad, level) in enumerate(parts):
        peaks, hold = tuple(row), "the pictures drift" if level >= held_from else ""
        judged = tuple(round(one, 4) for one in state.by_class)  # as results have them
        reject = any(peak >= limit for peak, limit in zip(peaks, judged, strict=True))
        thresholds.append(judged)
        rejected.append(reject)
        before = state.alarm
        state = advance(settings, bounds, state, Seen(part, peaks, judged, Word.REJECT if reject else Word.OK, hold))
        if reject and rng.random() < looked_at:
            words[part + TOLD_AFTER] = Seen(part, peaks, judged, Word.BAD if bad else Word.GOOD, hold)
        if part in words:
            state = advance(settings, bounds, state, words.pop(part))
        alarms += bool(state.alarm) and not before
    return Run(np.array(thresholds), np.array(rejected), alarms)


def missed_golden(run: Run, golden: npt.NDArray[np.float64], base: tuple[float, ...]) -> int:
    """How many of the golden scores (n, classes) that `base` catches were below all thresholds at some moment."""
    caught = golden[(golden >= np.array(base)).any(axis=1)]
    states = np.unique(run.thresholds, axis=0)
    missed = np.zeros(len(caught), bool)
    for state in states:
        missed |= (caught < state).all(axis=1)
    return int(missed.sum())


def recovered(run: Run, bad: npt.NDArray[np.bool_], since: int, until: int, most: int = 5, of: int = 100) -> int | None:
    """Parts from `since` on until at most `most` of the last `of` good parts are rejected, for good; None = never."""
    good = np.flatnonzero(~bad[:until])
    wrong = np.concatenate([[0], np.cumsum(run.rejected[good])])
    if len(good) <= of:
        return None
    quiet = (wrong[of:] - wrong[:-of]) <= most  # of the window that ends with good[i + of - 1]
    loud = np.flatnonzero(~quiet)
    if len(loud) and loud[-1] == len(quiet) - 1:
        return None
    end = int(good[loud[-1] + of]) if len(loud) else since
    return max(0, end - since)
