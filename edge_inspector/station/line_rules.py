"""Rules over many parts: what they ask of the line is told, and latched where the line must stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_inspector.datatypes import InspectionResult, Mode
from edge_inspector.inspection import restarted
from edge_inspector.settings.line_rules import AnyLineRule, ConsecutiveRule, RejectRateRule, TrendRule
from edge_inspector.station.booking import Booking
from edge_inspector.station.line_watches import AnyReject, Finding, RejectRate, RisingTrend, SameDefect
from edge_inspector.station.parts import Parts
from edge_inspector.store.line_parts import LinePart
from edge_inspector.store.records import BookKept

KEPT = "line_rules"
LINE_STOP_AFTER = "station.line_stop_after"
"""Stands for the name of a rule."""
_MOST = 10_000
"""Parts of the book that are looked at again after a start."""
_LONG_AGO_S = 7 * 86_400.0
"""The age of a part of which the clock says that it is still to come: it was wrong then, or is wrong now."""


class _Kept(BaseModel):
    """What the next start must know: the stop that nobody has acknowledged, the notice, and which rates were told.

    Rows of parts are counted from `since` on, the last part before the acknowledgement.
    """

    model_config = ConfigDict(frozen=True)

    since: int = 0
    reason: int = 0
    text: str = ""
    notice: str = ""
    told: tuple[str, ...] = ()


class LineRules:
    """Owned by the line loop; looks at production parts only. After a restart it knows from the book what it knew."""

    def __init__(self, parts: Parts, booking: Booking) -> None:
        """Before the ledger runs."""
        self._parts = parts
        self._booking = booking
        self._rows: list[tuple[str, AnyLineRule | None, AnyReject | SameDefect]] = []
        self._rates: list[tuple[RejectRateRule, RejectRate]] = []
        self._trends: list[tuple[TrendRule, RisingTrend]] = []
        self._last = 0
        if parts.limits.line_stop_after:
            self._rows.append((LINE_STOP_AFTER, None, AnyReject(parts.limits.line_stop_after)))
        for rule in parts.line_rules:
            self._add(rule)
        self._kept = _read(parts.ledger.kept(KEPT))
        if self._kept.since >= parts.ledger.next_seq:  # of a book that was damaged: the new one counts from 1
            self._kept = self._kept.model_copy(update={"since": 0})
        self._look_back()

    @property
    def reason(self) -> int:
        """Reason number of the part that made it enough, latched until it is acknowledged; 0 = no need to stop."""
        return self._kept.reason

    @property
    def text(self) -> str:
        """Why the line should stop, or else what somebody should look at; empty = neither."""
        return self._kept.text or self._kept.notice

    @property
    def notice(self) -> str:
        """What somebody should look at soon, until Reset; empty = nothing."""
        return self._kept.notice

    def settled(self, result: InspectionResult) -> None:
        """Books an event when this result makes it enough."""
        if result.trigger.mode is Mode.PRODUCTION:
            part, at_ns = LinePart.of(result), self._parts.clock.monotonic_ns()
            self._look(part, tell=True)
            for rule, rate in self._rates:
                if _concerns(rule, part):
                    rate.settled(part, at_ns)
                    self._rated(rule, rate)

    def renewed(self, rules: Sequence[AnyLineRule]) -> None:
        """The station has other rules: one that is as it was goes on, a new one begins with the next part.

        What a rule has asked for stands until it is acknowledged, whatever became of the rule.
        """
        rows = {name: (rule, row) for name, rule, row in self._rows}
        rates = {rule.name: (rule, rate) for rule, rate in self._rates}
        trends = {rule.name: (rule, trend) for rule, trend in self._trends}
        self._rows = [(name, rule, row) for name, rule, row in self._rows if rule is None]
        self._rates, self._trends = [], []
        for rule in rules:
            if rows.get(rule.name, (None,))[0] == rule:
                self._rows.append((rule.name, rule, rows[rule.name][1]))
            elif rates.get(rule.name, (None,))[0] == rule:
                self._rates.append(rates[rule.name])
            elif trends.get(rule.name, (None,))[0] == rule:
                self._trends.append(trends[rule.name])
            else:
                self._add(rule)
        told = tuple(name for name in self._kept.told if any(rule.name == name for rule, _ in self._rates))
        if told != self._kept.told:
            self._keep(told=told)

    def acknowledge(self) -> None:
        """Somebody has looked at it: count rows again from the next part on."""
        for _, _, row in self._rows:
            row.again()
        self._keep(since=self._last, reason=0, text="")

    def reset(self) -> None:
        """The notice was read."""
        if self._kept.notice:
            self._keep(notice="")

    def _add(self, rule: AnyLineRule) -> None:
        if isinstance(rule, ConsecutiveRule):
            self._rows.append((rule.name, rule, SameDefect(rule)))
        elif isinstance(rule, RejectRateRule):
            self._rates.append((rule, RejectRate(rule)))
        else:
            self._trends.append((rule, RisingTrend(rule, self._score)))

    def _look(self, part: LinePart, *, tell: bool) -> None:
        """By rows and trends; `tell` False: the part is an old one, of which everything was told at its time."""
        self._last = max(self._last, part.seq)  # parts side by side may settle in any order
        for name, rule, row in self._rows:
            if part.seq > self._kept.since and _concerns(rule, part):
                found = row.settled(part)
                if found is not None and tell and not self.reason:
                    self._stop(name, found)
        for trend_rule, trend in self._trends:
            found = trend.settled(part) if _concerns(trend_rule, part) else None
            text = "" if found is None else f"rule {trend_rule.name}: {found.text}"
            if found is not None and tell and text != self.notice:
                self._booking.event("warning", "maintenance", text, found.parts)
                self._keep(notice=text)

    def _stop(self, name: str, found: Finding) -> None:
        text = found.text if name == LINE_STOP_AFTER else f"rule {name}: {found.text}"
        self._booking.event("alarm", "line_stop", text, found.parts)
        self._keep(reason=found.reason_no, text=text)

    def _rated(self, rule: RejectRateRule, rate: RejectRate) -> None:
        """Tell what has changed, once."""
        told = rule.name in self._kept.told
        if rate.raised and not told:
            found = rate.finding()
            self._booking.event("alarm", "reject_rate", f"rule {rule.name}: {found.text}", found.parts)
            self._keep(told=(*self._kept.told, rule.name))
        elif told and not rate.raised:
            self._booking.event("info", "reject_rate_ended", f"rule {rule.name}: no more too many rejects")
            self._keep(told=tuple(name for name in self._kept.told if name != rule.name))

    def _look_back(self) -> None:
        """The parts of the last runs, as if they came again; what the last run could not tell any more is told.

        A rule that is new in the station file stops nobody for parts of long ago.
        """
        wanted = _MOST if self._parts.line_rules else self._parts.limits.line_stop_after
        if not wanted:
            return
        now_ns, now = self._parts.clock.monotonic_ns(), _seconds(self._parts.clock.utc())
        for part, fresh in self._past(wanted):
            age_s = now - _seconds(part.wall_utc)
            self._look(part, tell=fresh)
            for rule, rate in self._rates:
                if _concerns(rule, part):
                    rate.settled(part, now_ns - round((age_s if age_s >= 0 else _LONG_AGO_S) * 1e9))
        for rule, rate in self._rates:
            rate.look(now_ns)
            self._rated(rule, rate)

    def _past(self, wanted: int) -> Iterator[tuple[LinePart, bool]]:
        """Oldest first, and whether the last run may have been killed before it could tell what the part meant: those
        that only the flight record knows, and the one before them."""
        booked = self._parts.ledger.line_parts(wanted)
        known = {part.seq for part in booked}
        left = [
            LinePart.of(replace(entry.result or restarted(entry.trigger, (), 0), trigger=entry.trigger))
            for entry in self._parts.flight.left()
            if entry.trigger is not None and entry.trigger.mode is Mode.PRODUCTION
        ]
        for part in sorted((*booked, *(part for part in left if part.seq not in known)), key=lambda part: part.seq):
            yield part, part.seq >= max(known, default=0)

    def _score(self, part: LinePart, classes: Sequence[str]) -> float | None:
        """The highest score of these classes, or of all that are defects."""
        recipe = self._parts.recipes.get(part.recipe)
        if recipe is None:
            return None
        criteria = recipe.criteria
        wanted = [
            peak
            for i, (name, peak) in enumerate(zip(criteria.classes, part.peaks, strict=False))
            if (name in classes if classes else i not in criteria.good)
        ]
        return max(wanted, default=None)

    def _keep(self, **changed: object) -> None:
        self._kept = self._kept.model_copy(update=changed)
        self._parts.ledger.submit(BookKept(KEPT, self._kept.model_dump_json(), self._parts.clock.utc()))


def _concerns(rule: AnyLineRule | None, part: LinePart) -> bool:
    return rule is None or not rule.recipes or part.recipe in rule.recipes


def _read(text: str | None) -> _Kept:
    """What a newer version wrote, and this one cannot read, is as nothing: the parts in the book say it again."""
    try:
        return _Kept() if text is None else _Kept.model_validate_json(text)
    except ValidationError:
        return _Kept()


def _seconds(utc: str) -> float:
    return datetime.fromisoformat(utc.replace("Z", "+00:00")).astimezone(timezone.utc).timestamp()
