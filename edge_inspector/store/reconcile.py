"""Whether the books balance: the station's equations, each with its gaps and their reasons."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from edge_inspector.datatypes import Mode
from edge_inspector.store.books import removed_sums
from edge_inspector.store.gaps import Gap, Look, Missing, all_gaps, collect_unpublished
from edge_inspector.store.periods import Period, boots_without_clock
from edge_inspector.store.power_cuts import PowerCut, holes, power_cuts, read_starts
from edge_inspector.store.reading import snapshot

LISTED = 10
"""Parts that are named for each reason; the rest is a number."""


@dataclass(frozen=True)
class Equation:
    """`total` = the sum of `terms`, in the order in which they are read: what is there first, then what is missing."""

    name: str
    total_of: str
    total: int
    terms: tuple[tuple[str, int], ...]
    gaps: tuple[Gap, ...]

    @property
    def balanced(self) -> bool:
        """It adds up, and of all that is missing it is known why."""
        return self.total == sum(count for _, count in self.terms) and all(gap.explained for gap in self.gaps)


@dataclass(frozen=True)
class Balance:
    """One part of the book; `removed` are its parts of which retention has left the sums alone."""

    period: Period
    equations: tuple[Equation, ...]
    power_cuts: tuple[PowerCut, ...]
    acknowledged: int
    late: int
    unannounced: int
    removed: int

    @property
    def balanced(self) -> bool:
        """Each part that was accepted has its result, told or known not to be, and published.

        After a power cut nobody can know it, unless the PLC's count shows it.
        """
        return all(one.balanced for one in self.equations) and all(cut.proven for cut in self.power_cuts)


def reconcile(
    connection: sqlite3.Connection, periods: Sequence[Period], now_utc: str, listed: int = LISTED
) -> list[Balance]:
    """A balance for each period, all of one moment. StorageError: the book cannot be read.

    `now_utc` (the book's UTC text) tells what is on its way from what is missing.
    """
    with snapshot(connection):
        collect_unpublished(connection)
        starts, unset_boots = read_starts(connection), boots_without_clock(connection)
        return [_balance(connection, Look(period, now_utc, starts, unset_boots, listed)) for period in periods]


def _balance(connection: sqlite3.Connection, look: Look) -> Balance:
    period = look.period
    removed: Counter[str] = removed_sums(connection) if period.is_all else Counter()
    parts = _parts(connection, period)
    parts.update({**removed, "published": removed["results"] - removed["given_up"]})

    def count(what: str, table: str, where: str) -> int:
        return int(connection.execute(f"SELECT {what} FROM {table} WHERE {where}", period.values).fetchone()[0])

    refused = count("coalesce(sum(count), 0)", "refusals", period.refusals(look.unset_boots)) + removed["refused"]
    gaps = [*_lost(connection, look), *all_gaps(connection, look), *_removed_gaps(removed)]
    return Balance(
        period,
        tuple(_equations(parts, refused, gaps)),
        power_cuts(connection, period, look.starts),
        acknowledged=parts["acknowledged"],
        late=count("count(*)", "late", period.others()) + removed["late"],
        unannounced=count("count(*)", "unannounced", period.others()) + removed["unannounced"],
        removed=removed["accepted"],
    )


def _equations(parts: Counter[str], refused: int, gaps: Sequence[Gap]) -> Iterator[Equation]:
    lost = sum(gap.count for gap in gaps if gap.equation == "triggers")
    accepted, results = parts["accepted"], parts["results"]
    yield _equation(
        "triggers", "triggers", accepted + refused + lost, (("accepted", accepted), ("refused", refused)), gaps
    )
    yield _equation("accepted", "accepted", accepted, (("results", results),), gaps)
    yield _equation("told", "results", results, (("told", parts["told"]),), gaps)
    yield _equation("published", "results", results, (("published", parts["published"]),), gaps)
    yield _equation("views", "views", parts["views"], (("pictures", parts["frames"]),), gaps)


def _equation(
    name: str, total_of: str, total: int, there: tuple[tuple[str, int], ...], gaps: Sequence[Gap]
) -> Equation:
    mine = tuple(gap for gap in gaps if gap.equation == name)
    missing: Counter[str] = Counter()
    for gap in mine:
        missing[gap.term] += gap.count
    return Equation(name, total_of, total, (*there, *missing.items()), mine)


_PARTS = """
    SELECT count(*) AS accepted, count(r.seq) AS results,
        coalesce(sum(r.told = 1 OR r.acknowledged_utc IS NOT NULL), 0) AS told,
        coalesce(sum(r.acknowledged_utc IS NOT NULL), 0) AS acknowledged,
        coalesce(sum(r.seq IS NOT NULL AND r.seq NOT IN (SELECT seq FROM temp.waiting)
            AND r.seq NOT IN (SELECT seq FROM temp.given_up)), 0) AS published,
        coalesce(sum(json_array_length(r.views)) FILTER (WHERE t.mode <> {manual}), 0) AS views,
        coalesce(sum((SELECT count(*) FROM json_each(r.frame_ids) WHERE value <> -1))
            FILTER (WHERE t.mode <> {manual}), 0) AS frames
    FROM triggers t LEFT JOIN results r USING (seq) WHERE {period}
"""


def _parts(connection: sqlite3.Connection, period: Period) -> Counter[str]:
    query = _PARTS.format(manual=int(Mode.MANUAL), period=period.triggers())
    cursor = connection.execute(query, period.values)
    return Counter(dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True)))


def _lost(connection: sqlite3.Connection, look: Look) -> list[Gap]:
    """Rows that are missing although their numbers were given."""
    found = holes(connection, look.period, look.starts)
    if not found:
        return []
    numbers = (Missing(seq, "", hole.wall_utc) for hole in found for seq in range(hole.first_seq, hole.last_seq + 1))
    reason = "numbers that are missing in the book: rows were lost or taken out"
    return [Gap("triggers", "lost", reason, False, sum(map(len, found)), tuple(islice(numbers, look.listed)))]


def _removed_gaps(removed: Counter[str]) -> list[Gap]:
    """What retention's sums say of parts that are gone themselves."""
    said = (
        Gap("accepted", "unknown", "removed since: had no result", False, removed["unknown"], ()),
        Gap("told", "not told", "removed since: no PLC was told", True, removed["not_told"], ()),
        Gap("told", "unknown", "removed since: nobody knows if a PLC was told", False, removed["telling_unknown"], ()),
        Gap("published", "given up", "removed since", False, removed["given_up"], ()),
        Gap("views", "without picture", "removed since", True, removed["views"] - removed["frames"], ()),
    )
    return [gap for gap in said if gap.count]
