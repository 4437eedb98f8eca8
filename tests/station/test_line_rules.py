"""Rules over many parts: what counts, what ends a row, what is told once and what stays until somebody has looked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from order_rig import order
from station_rig import Rig

from edge_inspector.datatypes import Defect, Evaluation, Event, InspectionResult, Mode, Reason, Trigger
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import CommandRequest, StationStatus
from edge_inspector.settings.line_rules import AnyLineRule, ConsecutiveRule, RejectRateRule, TrendRule
from edge_inspector.station.booking import Booking
from edge_inspector.station.line_rules import LineRules
from edge_inspector.store.line_parts import LinePart
from edge_inspector.store.records import BookKept

OK, BAD, DOUBT, NONE = Evaluation.OK, Evaluation.NOT_OK, Evaluation.NOT_DECIDABLE, Evaluation.UNDEFINED
CLASSES = ("dark", "bright", "screw")
MINUTE = 60 * 10**9
PAST = "1970-01-01T00:00:09.000Z"


def a_result(
    seq: int,
    evaluation: Evaluation,
    defects: Sequence[str] = (),
    *,
    mode: Mode = Mode.PRODUCTION,
    recipe: str = "r",
    rule: str = "",
    peaks: tuple[float, ...] = (),
) -> InspectionResult:
    trigger = Trigger(seq, f"s.0a.{seq}", seq, "", 1, mode, recipe, 1, 7, 9, 0, 1, "2026-11-22T01:02:03.004Z", True)
    reason = Reason.NONE if evaluation is OK else Reason.DEFECT if defects else Reason.DEADLINE
    found = tuple(Defect(name, CLASSES.index(name), 0.9, (0, 0, 1, 1), "top") for name in defects)
    return InspectionResult(
        trigger, evaluation, reason, "late", found, ("top",), 1, (0.25,), "", 0, {}, rule=rule, peaks=peaks
    )  # fmt: skip


class Clock(SystemClock):
    """Goes on when the test says so."""

    now_ns = 10**12
    said_utc = "2026-11-22T01:02:04.000Z"

    def utc(self) -> str:
        return self.said_utc

    def monotonic_ns(self) -> int:
        return self.now_ns


class Bench:
    """Line rules on a book of their own, and what they told."""

    def __init__(self, folder: Path, rules: Sequence[AnyLineRule], line_stop_after: int = 0) -> None:
        self.rig = Rig(folder, line_stop_after=line_stop_after)
        self.rig.recipe("r")
        self.rig.recipe("s", number=2)
        self.wanted = rules
        self.clock = Clock()
        self.events: list[Event] = []
        self.seq = 0
        self.rules: LineRules

    @contextmanager
    def running(self) -> Iterator[LineRules]:
        parts = replace(self.rig.parts(), line_rules=self.wanted, clock=self.clock)
        with parts.flight, parts.ledger:
            booking = Booking(parts, lambda kind, one: self.events.append(one) if kind == "event" else None)  # type: ignore[arg-type]
            self.rules = LineRules(parts, booking)
            yield self.rules

    def told(self, *evaluations: Evaluation, **facts: object) -> list[str]:
        """The codes of what each of these parts made the rules tell; "" = nothing."""
        said = []
        for evaluation in evaluations:
            self.seq += 1
            before = len(self.events)
            self.rules.settled(a_result(self.seq, evaluation, **facts))  # type: ignore[arg-type]
            said.append(",".join(event.code for event in self.events[before:]))
        return said


Made = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path) -> Made:
    def made(*rules: AnyLineRule, line_stop_after: int = 0, folder: str = "book") -> Bench:
        (tmp_path / folder).mkdir()
        return Bench(tmp_path / folder, rules, line_stop_after)

    return made


def row(parts: int, **facts: object) -> ConsecutiveRule:
    return ConsecutiveRule.model_validate({"kind": "consecutive", "name": "tool", "parts": parts, **facts})


def rate(**facts: object) -> RejectRateRule:
    return RejectRateRule.model_validate({"kind": "reject_rate", "name": "many", **facts})


def trend(**facts: object) -> TrendRule:
    return TrendRule.model_validate({"kind": "trend", "name": "wear", "blocks": 8, "block_parts": 10, **facts})


# --- station.line_stop_after: whatever it was ---


@pytest.mark.parametrize("bad", [BAD, DOUBT, NONE])
def test_whatever_is_not_ok_counts_and_the_last_ones_reason_is_latched(bench: Made, bad: Evaluation) -> None:
    made = bench(line_stop_after=3)
    with made.running() as rules:
        assert made.told(bad, bad, bad, bad, OK, OK) == ["", "", "line_stop", "", "", ""]
        assert rules.reason == Reason.DEADLINE
        (event,) = made.events
        assert (event.severity, event.parts) == ("alarm", ("s.0a.1", "s.0a.2", "s.0a.3"))
        assert "3 parts in a row were not OK, the last one by late" in event.text


def test_an_ok_in_between_begins_the_row_again(bench: Made) -> None:
    made = bench(line_stop_after=2)
    with made.running() as rules:
        assert made.told(BAD, OK, BAD, OK) == [""] * 4
        assert rules.reason == 0


@pytest.mark.parametrize("mode", [one for one in Mode if one is not Mode.PRODUCTION])
def test_parts_outside_production_neither_count_nor_end_a_row(bench: Made, mode: Mode) -> None:
    made = bench(row(2), line_stop_after=2)
    with made.running():
        made.told(BAD, defects=["dark"])
        assert made.told(BAD, OK, BAD, mode=mode, defects=["dark"]) == [""] * 3
        assert made.told(BAD, defects=["dark"]) == ["line_stop"]


def test_after_the_acknowledgement_rows_are_counted_from_the_next_part_on(bench: Made) -> None:
    made = bench(row(2), line_stop_after=2)
    with made.running() as rules:
        made.told(BAD, BAD, BAD, defects=["dark"])
        rules.acknowledge()
        assert (rules.reason, rules.text) == (0, "")
        assert made.told(BAD, BAD, defects=["dark"]) == ["", "line_stop"]


# --- the same defect in a row ---


@pytest.mark.parametrize(
    ("steps", "stops"),
    [
        ([(BAD, ["dark"])] * 3, True),  # the plain case
        ([(BAD, ["dark"]), (BAD, ["bright"]), (BAD, ["dark"]), (BAD, ["dark"])], False),  # another defect ends it
        ([(BAD, ["dark"]), (OK, []), (BAD, ["dark"]), (BAD, ["dark"])], False),  # an OK ends it
        ([(BAD, ["dark"]), (NONE, []), (BAD, ["dark"]), (DOUBT, ["dark"]), (BAD, ["dark"])], True),  # passed over
        ([(BAD, ["dark", "bright"]), (BAD, ["bright"]), (BAD, ["bright", "dark"])], True),  # one of several
        ([(BAD, [])] * 3, False),  # rejected by nothing that has a name
    ],
)  # fmt: skip
def test_the_same_defect_in_a_row(bench: Made, steps: list[tuple[Evaluation, list[str]]], stops: bool) -> None:
    made = bench(row(3))
    with made.running() as rules:
        said = [made.told(evaluation, defects=defects)[0] for evaluation, defects in steps]
        assert said == [""] * (len(steps) - 1) + (["line_stop"] if stops else [""])
        assert bool(rules.reason) is stops


def test_the_reason_is_that_of_the_defect_in_common(bench: Made) -> None:
    made = bench(row(2))
    with made.running() as rules:
        made.told(BAD, defects=["dark", "bright"])
        made.told(BAD, defects=["screw", "bright"])
        assert rules.reason == Reason.DEFECT + CLASSES.index("bright")
        assert rules.text == "rule tool: 2 parts in a row with the defect bright"


def test_parts_rejected_by_one_rule_of_the_recipe_are_of_one_kind_too(bench: Made) -> None:
    made = bench(row(2))
    with made.running() as rules:
        assert made.told(BAD, BAD, rule="four-screws") == ["", "line_stop"]
        assert rules.text.endswith("with a reject by rule four-screws")


def test_only_the_classes_and_recipes_that_the_rule_names(bench: Made) -> None:
    made = bench(row(2, classes=["bright"], recipes=["s"]))
    with made.running():
        assert made.told(BAD, BAD, defects=["bright"], recipe="r") == ["", ""]
        assert made.told(BAD, BAD, defects=["dark"], recipe="s", rule="x") == ["", ""]
        assert made.told(BAD, BAD, defects=["bright"], recipe="s") == ["", "line_stop"]


# --- the share of rejects ---


def test_a_rate_is_told_once_and_again_only_after_it_had_fallen(bench: Made) -> None:
    made = bench(rate(above=0.2, parts=10))
    with made.running() as rules:
        assert made.told(*[OK] * 7, BAD, BAD) == [""] * 9
        assert made.told(BAD) == ["reject_rate"], "3 of 10"
        assert made.told(BAD, OK) == ["", ""]
        assert (made.events[-1].severity, made.events[-1].parts) == ("alarm", ("s.0a.8", "s.0a.9", "s.0a.10"))
        assert made.told(*[OK] * 10) == [""] * 7 + ["reject_rate_ended", "", ""], "at 0.1: under 0.8 of the limit"
        assert made.told(BAD, BAD, BAD) == ["", "", "reject_rate"]
        assert rules.reason == 0, "an alarm stops nothing"


def test_rejects_that_are_too_many_for_a_whole_window_need_not_wait_for_its_end(bench: Made) -> None:
    made = bench(rate(above=0.2, parts=100))
    with made.running():
        assert made.told(*[BAD] * 21) == [""] * 20 + ["reject_rate"]


def test_a_window_of_minutes_forgets_older_parts_and_needs_enough_of_them(bench: Made) -> None:
    made = bench(rate(above=0.5, minutes=1, least=5))
    with made.running():
        assert made.told(*[BAD] * 4) == [""] * 4, "too few to speak of a share"
        made.clock.now_ns += 2 * MINUTE
        assert made.told(BAD, OK, OK, OK, BAD, BAD) == [""] * 6, "3 of 6 are not more than half"
        assert made.told(BAD) == ["reject_rate"]


def test_a_rate_may_be_that_of_one_class(bench: Made) -> None:
    made = bench(rate(above=0.1, parts=10, classes=["bright"]))
    with made.running():
        assert made.told(*[BAD] * 10, defects=["dark"]) == [""] * 10
        assert made.told(BAD, BAD, defects=["bright"]) == ["", "reject_rate"]


# --- what rises ---


def test_a_rising_share_of_rejects_is_a_notice_until_reset(bench: Made) -> None:
    made = bench(trend(rise=0.3))
    with made.running() as rules:
        for rejects in range(8):
            made.told(*[BAD] * rejects, *[OK] * (10 - rejects))
        made.told(*[BAD] * 8, OK, OK)
        (event,) = made.events
        assert (event.severity, event.code) == ("warning", "maintenance")
        assert "the share of rejects of recipe r rises: by 0.700" in event.text
        assert len(event.parts) == sum(range(8))
        assert (rules.reason, rules.notice, rules.text) == (0, event.text, event.text)
        rules.reset()
        assert rules.notice == ""


def test_a_rise_that_is_too_small_to_matter_says_nothing(bench: Made) -> None:
    made = bench(trend(rise=0.8))
    with made.running():
        for rejects in range(8):
            assert set(made.told(*[BAD] * rejects, *[OK] * (10 - rejects))) == {""}


@pytest.mark.parametrize("classes", [[], ["bright"]])
def test_scores_that_rise_are_told_before_any_part_is_rejected(bench: Made, classes: list[str]) -> None:
    made = bench(trend(rise=0.05, of="score", classes=classes))
    with made.running():
        for block in range(8):
            for _ in range(10):
                made.told(OK, peaks=(0.1, 0.2 + block / 50, 0.1))
        (event,) = made.events
        assert "the parts' highest score of recipe r rises: by 0.140" in event.text
        assert event.parts[-1] == "s.0a.80"


def test_another_recipe_begins_the_trend_anew(bench: Made) -> None:
    made = bench(trend(rise=0.05))
    with made.running():
        for rejects in range(8):
            recipe = "r" if rejects < 5 else "s"
            made.told(*[BAD] * rejects, *[OK] * (10 - rejects), recipe=recipe)
        assert made.events == []


# --- over a restart ---


@pytest.mark.anyio
async def test_a_stop_survives_a_restart_and_its_acknowledgement_too(rig: Rig) -> None:
    rig.recipe("r")
    rig.cameras["a"].gray = 255
    parts = replace(rig.parts(), line_rules=[row(2, classes=["bright"])])
    async with rig.running_parts(parts) as link:
        for seq in (1, 2):
            await link.ready()
            link.trigger(seq)
            await link.result(seq)
        status = await link.status(lambda s: s.line_stop == Reason.DEFECT + 1)
        assert (status.ready, status.alarm) == (True, True), "the PLC stops the line, not the station"
        assert "2 parts in a row with the defect bright" in status.error_text
    rig.link.told.clear()
    async with rig.running_parts(replace(rig.parts(), line_rules=parts.line_rules)) as link:
        await link.status(lambda s: s.ready and s.line_stop == Reason.DEFECT + 1)
        link.ask(CommandRequest(1, 9))
        await link.status(lambda s: s.line_stop == 0)
        assert (await order(rig, "ack_line_stop")).text == "no line stop was asked for"
    rig.link.told.clear()
    async with rig.running_parts(replace(rig.parts(), line_rules=parts.line_rules)) as link:
        await link.ready()
        link.trigger(3)
        await link.result(3)
        await link.ready()
        assert not any(message.line_stop for message in link.told if isinstance(message, StationStatus))
        link.trigger(4)
        await link.status(lambda s: s.line_stop != 0)
    assert len(rig.events("line_stop")) == 2


def book(made: Bench, results: Sequence[InspectionResult], *kept: BookKept) -> None:
    """Put parts into the book as a run before this one has left them."""
    with closing(sqlite3.connect(made.rig.ledger)) as raw, raw:
        for result in results:
            t = result.trigger
            raw.execute(
                "INSERT INTO triggers VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (t.seq, t.result_id, t.trigger_seq, "", 1, int(t.mode), t.recipe, 1, 7, 9, 0, 1, t.wall_utc, 1),
            )
            raw.execute(
                "INSERT INTO results (seq, evaluation, reason, reason_no, reason_text, views, frame_ids, views_judged, "
                "thresholds, model_hash, settled_ns, cycle_ms, stage_ns, replayed, rule, peaks, policy) "
                "VALUES (?,?,?,?,?,'[\"top\"]','[]',1,'[]','',0,1.0,'{}',0,?,?,'fixed')",
                (t.seq, int(result.evaluation), int(result.reason), result.reason_no, result.reason_text, result.rule,
                 str(list(result.peaks))),
            )  # fmt: skip
            for number, d in enumerate(result.defects):
                raw.execute(
                    "INSERT INTO defects VALUES (?,?,?,?,?,?,?,?,?,?,NULL,NULL)",
                    (t.seq, number, d.class_name, d.class_id, d.score, *d.box, d.camera),
                )
        for one in kept:
            raw.execute("INSERT INTO kept VALUES (?,?,?)", (one.name, one.value, one.utc))


def started(made: Bench) -> Bench:
    with made.running():
        pass
    return made


def test_a_row_goes_on_where_the_last_run_has_left_it(bench: Made) -> None:
    made = started(bench(row(3)))
    book(made, [a_result(1, OK), *(a_result(seq, BAD, ["dark"]) for seq in (2, 3))])
    made.seq = 3
    with made.running():
        assert made.told(BAD, defects=["dark"]) == ["line_stop"]


def test_a_stop_that_a_killed_run_could_not_book_any_more_is_asked_for_by_the_next(bench: Made) -> None:
    made = started(bench(row(2)))
    book(made, [a_result(seq, BAD, ["dark"]) for seq in (1, 2)])
    with made.running() as rules:
        assert rules.reason == Reason.DEFECT
        assert [event.code for event in made.events] == ["line_stop"]


def test_parts_that_only_the_flight_record_knows_count_like_the_others(bench: Made) -> None:
    made = started(bench(row(3)))
    book(made, [a_result(1, BAD, ["dark"])])
    parts = made.rig.parts()
    with parts.flight:
        for seq in (2, 3):
            killed = a_result(seq, BAD, ["dark"])
            parts.flight.verdict(parts.flight.trigger(killed.trigger), killed)
    with made.running() as rules:
        assert rules.reason == Reason.DEFECT
        assert made.events[0].parts == ("s.0a.1", "s.0a.2", "s.0a.3")


def test_a_part_that_was_open_when_the_station_was_killed_is_one_that_is_not_ok(bench: Made) -> None:
    """As in the book, where the next start but one finds it."""
    made = started(bench(line_stop_after=2))
    book(made, [a_result(1, BAD)])
    parts = made.rig.parts()
    with parts.flight:
        parts.flight.trigger(a_result(2, NONE).trigger)
    with made.running() as rules:
        assert rules.reason == Reason.RESTART


def test_a_rule_that_is_new_stops_nobody_for_parts_of_long_ago(bench: Made) -> None:
    made = started(bench(row(2), rate(above=0.5, parts=100)))
    book(made, [*(a_result(seq, BAD, ["dark"]) for seq in (1, 2)), a_result(3, OK)])
    with made.running() as rules:
        assert (rules.reason, made.events) == (0, [])


def test_what_was_acknowledged_before_the_restart_counts_no_more(bench: Made) -> None:
    made = started(bench(row(2)))
    kept = BookKept("line_rules", '{"since": 2}', "2026-11-22T01:02:03.004Z")
    book(made, [a_result(seq, BAD, ["dark"]) for seq in (1, 2, 3)], kept)
    made.seq = 3
    with made.running() as rules:
        assert rules.reason == 0
        assert made.told(BAD, defects=["dark"]) == ["line_stop"]


def test_of_parts_side_by_side_none_that_was_settled_before_the_acknowledgement_counts_after_it(bench: Made) -> None:
    made = started(bench(line_stop_after=2))
    parts = [a_result(seq, BAD) for seq in (1, 2)]
    with made.running() as rules:
        for part in reversed(parts):
            rules.settled(part)
        assert rules.reason
        rules.acknowledge()
    book(made, parts)
    made.seq = 2
    with made.running() as rules:
        assert (made.told(BAD), rules.reason) == ([""], 0)


def test_an_acknowledgement_of_a_book_that_is_gone_hides_no_part_of_the_new_one(bench: Made) -> None:
    made = started(bench(line_stop_after=2))
    book(made, [], BookKept("line_rules", '{"since": 5000}', PAST))
    with made.running():
        assert made.told(BAD, BAD) == ["", "line_stop"]


@pytest.mark.parametrize(
    ("known", "said"), [('{"told": ["many"]}', []), ("{}", ["reject_rate"]), ("?", ["reject_rate"])]
)
def test_a_rate_that_was_told_before_the_restart_is_not_told_again(bench: Made, known: str, said: list[str]) -> None:
    made = started(bench(rate(above=0.2, parts=10)))
    book(made, [a_result(seq, BAD) for seq in range(1, 6)], BookKept("line_rules", known, "2026-11-22T01:02:03.004Z"))
    made.seq = 5
    with made.running():
        assert [event.code for event in made.events] == said
        assert made.told(*[OK] * 9) == [""] * 8 + ["reject_rate_ended"]


def test_after_a_restart_minutes_are_counted_by_the_clock_of_the_wall(bench: Made) -> None:
    """The parts in the book are of 01:02:03; a clock that is behind them cannot say how old they are."""
    for utc, said in (("2026-11-22T01:02:30.000Z", ["reject_rate"]), ("2026-11-22T02:00:00.000Z", []), (PAST, [])):
        made = started(bench(rate(above=0.5, minutes=1, least=5), folder=utc[:4] + utc[11:13]))
        made.clock.said_utc = utc
        book(made, [a_result(seq, BAD) for seq in range(1, 6)])
        made.seq = 5
        with made.running():
            made.told(OK)
            assert [event.code for event in made.events] == said, utc


def test_the_book_gives_back_what_a_result_was(bench: Made) -> None:
    made = started(bench())
    results = [
        a_result(1, BAD, ["dark", "screw"], rule="x", peaks=(0.5, 0.0, 0.9)),
        a_result(2, OK, mode=Mode.GOLDEN),
        a_result(3, NONE),
    ]
    book(made, results)
    parts = made.rig.parts()
    with parts.flight, parts.ledger:
        assert parts.ledger.line_parts(10) == [LinePart.of(results[0]), LinePart.of(results[2])]
        assert parts.ledger.line_parts(1) == [LinePart.of(results[2])]
