"""What thresholds have learnt, in the ledger: put down now and then, and taken up again by the next start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from edge_inspector.datatypes import Mode
from edge_inspector.station.parts import Parts
from edge_inspector.station.threshold_kept import Release, read_release
from edge_inspector.station.threshold_learner import Learner
from edge_inspector.station.threshold_parts import REMEMBERED, Remembered
from edge_inspector.store.peaks import ScoredPart
from edge_inspector.store.records import BookKept

EVERY = 100
"""Parts between two times that everything is put down, some 50 kB each; so many are learnt from again after a kill."""


def put_down(parts: Parts, learners: Iterable[Learner]) -> None:
    """Hand what has changed to the ledger, whose thread makes the text of it."""
    for learner in learners:
        if learner.changed:
            parts.ledger.submit(BookKept(f"thresholds/{learner.name}", learner.put_down(), parts.clock.utc()))


def put_down_noted(parts: Parts, learner: Learner) -> None:
    """What verdicts do not tell, and a replay needs: at once."""
    parts.ledger.submit(BookKept(f"thresholds-since/{learner.name}", learner.noted(), parts.clock.utc()))


def put_down_release(parts: Parts, recipe: str, release: Release | None) -> None:
    """A release, or its end."""
    text = "" if release is None else release.model_dump_json()
    parts.ledger.submit(BookKept(f"thresholds-release/{recipe}", text, parts.clock.utc()))


def release_of(parts: Parts, recipe: str) -> Release | None:
    """The one that was given last, None = none. Before the ledger runs."""
    return read_release(parts.ledger.kept(f"thresholds-release/{recipe}"))


def take_up(parts: Parts, learners: Mapping[str, Learner]) -> tuple[Remembered, dict[str, str]]:
    """Go on where the last process was when it ended, however it ended; before the ledger runs.

    The parts that people may still speak of, and by recipe why it had to begin anew.
    """
    booked = parts.ledger.scored(REMEMBERED)
    known = {part.seq for part in booked}
    settled = sorted((*booked, *_unbooked(parts, known)), key=lambda part: part.seq)
    of_recipe = defaultdict(list)
    for part in settled:
        of_recipe[part.recipe].append(part)
    anew = {}
    for name, learner in learners.items():
        kept = parts.ledger.kept(f"thresholds/{name}")
        if kept is None:
            why = ""
        else:
            why = learner.take_up(kept, parts.ledger.kept(f"thresholds-since/{name}"), of_recipe[name])
            if why:
                anew[name] = why
        if kept is None or why:
            learner.seq = settled[-1].seq if settled else 0
    return Remembered(settled), anew


def _unbooked(parts: Parts, booked: set[int]) -> Iterable[ScoredPart]:
    """Verdicts that only the flight record has."""
    for entry in parts.flight.left():
        if entry.result is None or entry.trigger is None or entry.trigger.mode is not Mode.PRODUCTION:
            continue
        if entry.trigger.seq not in booked:
            yield ScoredPart.of(entry.result)
