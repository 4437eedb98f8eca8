"""What the lines show: pulses, pauses, and that no line says good where nobody knows that it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason, Trigger
from edge_inspector.interfaces import Alive, PlcMessage, StationStatus
from edge_inspector.outputs.digital.signals import STALE_NS, Signals
from edge_inspector.outputs.digital.train import Pulse, Train
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import image

MS = 1_000_000
HOLD = 100 * MS
BOOT = 77
READY = StationStatus(
    ready=True, busy=False, acquiring=False, halted=False, mode=Mode.PRODUCTION, recipe="r", recipe_no=1,
    recipe_ready=True, warning=False, error_code=0, error_text="", clock_synced=True, queue_depth=0,
)  # fmt: skip


def a_result(
    seq: int, evaluation: Evaluation = Evaluation.OK, mode: Mode = Mode.PRODUCTION, deadline_ns: int = 10**15
) -> InspectionResult:
    trigger = Trigger(
        seq, f"s.0a.{seq}", seq, "", 1, mode, "r", 1, BOOT, 0, 0, deadline_ns, "2026-11-22T01:02:03.004Z", True
    )
    return InspectionResult(trigger, evaluation, Reason.NONE, "", (), ("top",), 1, (0.25,), "", 0, {})


@dataclass
class Lines:
    """Signals on lines that follow at once, from time 0 in ms; every edge of the OK line is kept."""

    signals: Signals = field(default_factory=lambda: Signals.of(HOLD))
    contract: Contract = field(default_factory=lambda: Contract(BOOT, acknowledge=False, hold_ns=HOLD, paired=False))
    now: int = 0
    edges: list[tuple[int, bool]] = field(default_factory=list)
    not_ok_edges: list[tuple[int, bool]] = field(default_factory=list)

    def tell(self, *messages: PlcMessage) -> Lines:
        for message in messages:
            self.contract = self.contract.ticked(self.now)[0].told(message, self.now)
            self.signals = self.signals.told(message, self.contract, image(self.contract), self.now)
            self._put()
        return self

    def until(self, at_ms: float) -> Lines:
        """Let time pass as a link does: from change to change."""
        end = int(at_ms * MS)
        while (due := self.signals.next_ns(self.now)) is not None and due <= end:
            assert due > self.now
            self.now = due
            self._put()
        self.now = end
        self._put()
        return self

    def energised(self) -> set[str]:
        return {role for role, on in self.signals.levels(self.now).items() if on}

    def _put(self) -> None:
        before = self.signals
        self.signals = before.at(self.now)
        self.signals = self.signals.shown(self.now)
        if before.ok.on != self.signals.ok.on:
            self.edges.append((self.now // MS, self.signals.ok.on))
        if before.not_ok.on != self.signals.not_ok.on:
            self.not_ok_edges.append((self.now // MS, self.signals.not_ok.on))


def test_nothing_is_energised_before_the_station_has_said_anything() -> None:
    assert Lines().energised() == set()
    assert Lines().tell(READY).energised() == set()  # the verdict path has not shown that it runs


def test_a_ready_station_that_makes_progress_shows_ready_and_healthy() -> None:
    lines = Lines().tell(READY, Alive())
    assert lines.energised() == {"ready", "healthy", "heartbeat"}
    assert lines.tell(Alive()).energised() == {"ready", "healthy"}


@pytest.mark.parametrize(
    ("status", "energised"),
    [
        (replace(READY, ready=False), {"healthy"}),
        (replace(READY, ready=False, error_code=101, error_text="camera"), set()),
        (replace(READY, mode=Mode.GOLDEN), {"healthy"}),
        (replace(READY, queue_depth=1), {"healthy"}),
    ],
    ids=["not ready", "error", "golden parts", "a part in work"],
)
def test_ready_means_that_a_part_may_come_now(status: StationStatus, energised: set[str]) -> None:
    assert Lines().tell(READY, Alive(), status).energised() - {"heartbeat"} == energised


def test_everything_falls_when_the_verdict_path_stands_still_and_comes_back_with_it() -> None:
    lines = Lines().tell(READY, Alive())
    assert "ready" in lines.until(STALE_NS / MS).energised()
    assert lines.until(STALE_NS / MS + 1).energised() == set()
    assert "ready" in lines.tell(Alive()).energised()


def test_an_ok_is_one_pulse_of_exactly_the_hold_time() -> None:
    lines = Lines().tell(READY, Alive()).until(10).tell(a_result(1)).until(1000)
    assert lines.edges == [(10, True), (110, False)]
    assert lines.not_ok_edges == []


@pytest.mark.parametrize("evaluation", [Evaluation.NOT_OK, Evaluation.UNDEFINED, Evaluation.NOT_DECIDABLE])
def test_everything_but_ok_is_not_ok(evaluation: Evaluation) -> None:
    lines = Lines().tell(READY, Alive(), a_result(1, evaluation)).until(1000)
    assert lines.edges == []
    assert lines.not_ok_edges == [(0, True), (100, False)]


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.PRODUCTION])
def test_an_ok_outside_production_never_rises(mode: Mode) -> None:
    lines = Lines().tell(replace(READY, mode=mode), Alive(), a_result(1, mode=mode)).until(1000)
    assert lines.edges == []


def test_two_oks_in_a_row_are_two_pulses_with_a_pause_between() -> None:
    lines = Lines().tell(READY, Alive(), a_result(1)).until(40).tell(a_result(2)).until(1000)
    assert lines.edges == [(0, True), (100, False), (200, True), (300, False)]


def test_an_ok_that_would_come_after_its_deadline_is_withheld_and_told_as_not_ok() -> None:
    lines = Lines().tell(READY, Alive(), a_result(1)).until(40).tell(a_result(2, deadline_ns=199 * MS)).until(1000)
    assert lines.edges == [(0, True), (100, False)]
    assert lines.not_ok_edges == [(200, True), (300, False)]
    assert lines.signals.withheld == ("s.0a.2",)


def test_an_ok_is_withheld_while_another_part_is_in_work() -> None:
    lines = Lines().tell(replace(READY, queue_depth=2), Alive(), a_result(1)).until(1000)
    assert (lines.edges, lines.signals.withheld) == ([], ("s.0a.1",))


def test_the_part_itself_is_no_other_part() -> None:
    lines = Lines().tell(replace(READY, queue_depth=1), Alive(), a_result(1), READY).until(1000)
    assert lines.edges == [(0, True), (100, False)]


def test_an_ok_that_still_waits_when_the_next_part_comes_is_withheld() -> None:
    lines = Lines().tell(READY, Alive(), a_result(1)).until(40).tell(a_result(2))
    lines.tell(replace(READY, queue_depth=1)).until(1000)
    assert lines.edges == [(0, True), (100, False)]
    assert lines.signals.withheld == ("s.0a.2",)


def test_no_part_is_called_for_while_an_ok_still_waits() -> None:
    """Who sends the next part at READY would take the edge that follows for that part's."""
    lines = Lines().tell(Alive(), READY, a_result(1), a_result(2))
    assert {"ok", "ready"} & lines.energised() == {"ok"}
    lines.until(199)
    assert {"ok", "ready"} & lines.energised() == set()
    lines.until(200)
    assert {"ok", "ready"} & lines.energised() == {"ok", "ready"}


def test_a_pulse_that_is_being_given_keeps_its_length_whatever_comes() -> None:
    lines = Lines().tell(READY, Alive(), a_result(1)).until(50)
    lines.tell(replace(READY, queue_depth=1), replace(READY, ready=False, halted=True, queue_depth=1)).until(1000)
    assert lines.edges == [(0, True), (100, False)]


def test_a_lost_line_is_given_none_of_the_pulses_from_before() -> None:
    lines = Lines().tell(READY, Alive(), a_result(1)).until(40).tell(a_result(2))
    lines.signals = lines.signals.silenced()
    assert lines.signals.levels(lines.now)["ok"] is False
    assert lines.until(1000).edges == [(0, True)]


def test_a_pulse_and_its_pause_count_from_when_the_line_has_followed() -> None:
    train = Train(HOLD).queued(Pulse("a", 0)).queued(Pulse("b", 0)).at(0)
    assert train.on
    assert train.next_ns is None  # not on the line yet
    train = train.shown(30 * MS)
    assert train.next_ns == 130 * MS
    train = train.at(130 * MS)
    assert not train.on
    assert not train.at(10**12).on  # has not fallen yet
    train = train.shown(140 * MS)
    assert train.next_ns == 240 * MS
    assert not train.at(240 * MS - 1).on
    assert train.at(240 * MS).giving == Pulse("b", 0)


def test_of_too_many_not_oks_the_oldest_is_dropped() -> None:
    train = Train(HOLD, most=2)
    for name in "abc":
        train = train.queued(Pulse(name, 0))
    assert [pulse.result_id for pulse in train.waiting] == ["b", "c"]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 400)),
        st.tuples(st.just("result"), st.sampled_from(Evaluation), st.sampled_from(Mode), st.integers(0, 500)),
        st.tuples(st.just("status"), st.integers(0, 3), st.sampled_from(Mode)),
        st.tuples(st.just("alive")),
    ),
    max_size=40,
)


@given(steps)
def test_every_rising_edge_is_an_ok_of_production_in_time_with_no_other_part_in_work(
    steps: list[tuple[object, ...]],
) -> None:
    lines, oks, depth = Lines().tell(READY), {}, 0
    for seq, step in enumerate(steps):
        before = len(lines.edges)
        match step:
            case ("wait", int(ms)):
                lines.until(lines.now / MS + ms)
            case ("result", Evaluation() as evaluation, Mode() as mode, int(ms)):
                deadline_ns = lines.now + ms * MS
                if evaluation is Evaluation.OK and mode is Mode.PRODUCTION:
                    oks[f"s.0a.{seq}"] = deadline_ns
                lines.tell(a_result(seq, evaluation, mode, deadline_ns))
            case ("status", int(new_depth), Mode() as mode):
                depth = new_depth
                lines.tell(replace(READY, queue_depth=depth, mode=mode))
            case _:
                lines.tell(Alive())
        for _at, on in lines.edges[before:]:
            assert not on or depth <= 1
        if lines.signals.ok.giving is not None and lines.edges[before:]:
            assert lines.signals.ok.giving.result_id in oks
            assert lines.edges[-1][0] * MS <= oks[lines.signals.ok.giving.result_id]
    lines.until(lines.now / MS + 10_000)
    rises, falls = lines.edges[0::2], lines.edges[1::2]
    assert all(on for _, on in rises)
    assert [fall - rise for (rise, _), (fall, _) in zip(rises, falls, strict=True)] == [100] * len(rises)
    assert all(rise - fall >= 100 for (fall, _), (rise, _) in zip(falls, rises[1:], strict=False))
    assert len(rises) + len(lines.signals.withheld) == len(oks)
    assert lines.energised() == set()  # nobody has said Alive for ten seconds
