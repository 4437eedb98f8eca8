"""The replay: part after part from the book and the image folder through the model, beside what was booked."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from edge_inspector.engine.truth import PartVerdicts
from edge_inspector.errors import ConfigError
from edge_inspector.replay.desk import Desk
from edge_inspector.replay.history import History
from edge_inspector.replay.policies import Course, Progress, course
from edge_inspector.replay.records import ReplayedPart, Skip, Skipped, WhatIf
from edge_inspector.replay.running import Runner
from edge_inspector.replay.setups import Setup, Station, with_bundle, with_engine
from edge_inspector.replay.strata import Strata
from edge_inspector.store.kept_parts import KeptPart, changes, configuration_of, confirmed, counted, kept_parts
from edge_inspector.store.opening import open_book
from edge_inspector.store.periods import Period
from edge_inspector.store.reading import StoredResult, read_result


@dataclass(frozen=True)
class Asked:
    """Which parts, and what is to be different for them. `of`: only parts of this recipe; None = of every one."""

    within: Period
    of: str | None
    limit: int
    what: WhatIf
    truth: PartVerdicts | None = None
    as_if_released: bool = False


@dataclass(frozen=True)
class Replay:
    """What has come of it; `now` is by what the parts of each recipe were run.

    `notes` are what a reader should know besides.
    """

    station: Station
    asked: Asked
    now: Mapping[str, Setup]
    parts: tuple[ReplayedPart, ...]
    skipped: tuple[Skipped, ...]
    strata: Strata
    courses: tuple[Course, ...]
    notes: tuple[str, ...]

    @property
    def span(self) -> str:
        """Which parts of the book it is about, in words."""
        label, limit = self.asked.within.label, self.asked.limit
        cut = len(self.parts) + len(self.skipped) >= limit
        return f"{label}, from the newest {limit} with pictures on" if cut else label

    @property
    def broken(self) -> tuple[ReplayedPart, ...]:
        """Parts that lack nothing, and of which the replay is not the same as the book all the same."""
        return tuple(part for part in self.parts if part.exact and part.differs)


def replay(station: Station, asked: Asked, progress: Progress = lambda doing, done, total: None) -> Replay:
    """Run every part of the time of which an original was stored. The station may be running: all is only read.

    ConfigError: nothing was stored, or what is asked for cannot be. StorageError: the book cannot be read.
    DeviceLostError: the device that runs the models is gone.
    """
    _check(asked.what)
    with closing(open_book(station.ledger)) as connection:
        kept = kept_parts(connection, asked.within, asked.of, asked.limit)
        if not kept:
            raise ConfigError(_nothing(station, asked))
        desk, notes = _desk(connection, station, asked, kept, progress)
        good = confirmed(connection)
        parts: list[ReplayedPart] = []
        skipped: list[Skipped] = []
        with Runner(station.backend) as runner:
            for setup in desk.setups():
                runner.load(setup)
            for done, part in enumerate(kept, start=1):
                booked = read_result(connection, part.result_id)
                one = Skipped(part, Skip.GONE, "") if booked is None else desk.run(runner, part, booked)
                if isinstance(one, Skipped):
                    skipped.append(one)
                else:
                    parts.append(replace(one, good=_said(asked.truth, one.booked, good)))
                progress("replay", done, len(kept))
        strata = Strata(counted(connection, asked.within, asked.of, kept[0].seq))
    courses = tuple(desk.courses.values())
    if asked.truth is not None:
        notes += _strangers(asked.truth, parts)
    return Replay(station, asked, desk.now, tuple(parts), tuple(skipped), strata, courses, notes)


def _check(what: WhatIf) -> None:
    moves = what.policy is not None and what.policy != "fixed"
    if moves and (what.recipe is not None or what.bundle is not None):
        raise ConfigError(
            f"policy {what.policy} learns from the scores of every part in a row, and the book has those of each "
            "part's own recipe and model alone: give --policy without --recipe and --bundle"
        )
    if moves and what.thresholds:
        raise ConfigError(f"policy {what.policy} makes the thresholds itself: give --policy or --threshold")


def _desk(
    connection: sqlite3.Connection, station: Station, asked: Asked, kept: Sequence[KeptPart], progress: Progress
) -> tuple[Desk, tuple[str, ...]]:
    what, notes = asked.what, dict[str, None]()
    seqs: dict[str, set[int]] = defaultdict(set)
    for part in kept:
        seqs[part.recipe].add(part.seq)
    now: dict[str, Setup] = {}
    for name in seqs:
        wanted = what.recipe or name
        if what.recipe is not None or wanted in station.setups:
            setup = station.setup(wanted)
            now[name] = with_engine(station, setup if what.bundle is None else with_bundle(station, setup, what.bundle))
    if not now:
        raise ConfigError(
            f"the parts were judged by {', '.join(sorted(seqs))}, and {station.file} has {', '.join(station.setups)}: "
            "give --recipe, or the station file of that time"
        )
    for setup in now.values():
        setup.with_thresholds(what.thresholds, setup.recipe.thresholds)  # a name that is wrong is told before the work
    then: dict[str, Setup] = {}
    for name in seqs.keys() & station.setups.keys():
        try:
            then[name] = with_engine(station, station.setups[name])
        except ConfigError as exc:
            notes[f"recipe {name} could not be run as it was: {exc}"] = None
    notes |= dict.fromkeys(setup.engine.note for setup in (*now.values(), *then.values()) if setup.engine.note)
    courses = dict(_courses(connection, station, asked, now, seqs, progress))
    history = History(changes(connection), configuration_of(connection), station.configuration)
    return Desk(station, what, then, now, courses, history), tuple(notes)


def _courses(
    connection: sqlite3.Connection,
    station: Station,
    asked: Asked,
    now: Mapping[str, Setup],
    seqs: Mapping[str, set[int]],
    progress: Progress,
) -> Iterator[tuple[str, Course]]:
    policy = asked.what.policy
    for name, setup in now.items() if policy not in (None, "fixed") else ():
        if policy is not None:
            wanted, released = seqs[name], asked.as_if_released
            yield name, course(connection, station, setup, policy, wanted, progress, as_if_released=released)


def _said(truth: PartVerdicts | None, booked: StoredResult, confirmed_good: Mapping[int, bool]) -> bool | None:
    """What people say of a part: the file before the book, because who gives a file wants it to count."""
    if truth is not None:
        said = truth.good.get(booked.part_id if truth.key == "part_id" else booked.result_id)
        if said is not None:
            return said
    return confirmed_good.get(booked.seq)


def _strangers(truth: PartVerdicts, parts: Sequence[ReplayedPart]) -> tuple[str, ...]:
    """What the file says of parts that were not run."""
    run = {part.booked.part_id if truth.key == "part_id" else part.booked.result_id for part in parts}
    unknown = sorted(truth.good.keys() - run)
    if not unknown:
        return ()
    return (f"{len(unknown)} of the {len(truth.good)} parts in the truth were not run, such as {unknown[0]}",)


def _nothing(station: Station, asked: Asked) -> str:
    of = "" if asked.of is None else f" of recipe {asked.of}"
    return (
        f"{station.ledger} has no production part{of} with a stored original ({asked.within.label}); set "
        "images.originals (rejects, near_margin, every_nth) in the station file, or ask for another time"
    )
