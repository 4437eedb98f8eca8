"""The PLC contract: no interleaving lets the PLC pass a part on the result of another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason, Trigger
from edge_inspector.interfaces import (
    Alive,
    CommandRequest,
    ExposureDone,
    LinkState,
    PlcRequest,
    RecipeRequest,
    RefusedByLink,
    ResultAcknowledged,
    StationStatus,
    TriggerAccepted,
    TriggerRequest,
)
from edge_inspector.plc.handshake import BUFFER, STARTING, Contract
from edge_inspector.plc.image import changes, image
from edge_inspector.plc.tags import BY_NAME, TAGS, Value

BOOT, PLC_BOOT = 77, 5
READY: StationStatus = replace(STARTING, ready=True, recipe="r", recipe_no=1, recipe_ready=True, error_text="")
SECOND = 1_000_000_000


def linked(last_seq: int = 0, acknowledge: bool = True) -> Contract:
    """A contract whose PLC has greeted, with `last_seq` as the baseline."""
    contract = Contract(BOOT, acknowledge=acknowledge).told(READY, 0)
    contract, _ = contract.written({"Control.PlcBootId": PLC_BOOT, "Control.TriggerSeq": last_seq}, 0)
    contract, requests = contract.written({"Control.BootIdEcho": BOOT, "Control.Heartbeat": 1}, 0)
    assert requests == (LinkState(True, PLC_BOOT),)
    return contract


def a_result(
    seq: int, evaluation: Evaluation = Evaluation.OK, mode: Mode = Mode.PRODUCTION, plc_boot: int = PLC_BOOT
) -> InspectionResult:
    trigger = Trigger(
        seq, f"s.b.{seq}", seq, f"part-{seq}", 1, mode, "r", 1, BOOT, plc_boot, 0, SECOND, "2026-11-22T00:00:00.000Z",
        True,
    )  # fmt: skip
    return InspectionResult(trigger, evaluation, Reason.NONE, "", (), ("a",), 1, (0.5,), "ab" * 32, 2_000_000, {})


def test_a_change_of_trigger_seq_is_a_trigger_with_the_part_id_of_the_same_write() -> None:
    contract, requests = linked(10).written({"Control.TriggerSeq": 11, "Control.PartId": "x"}, 5)
    assert requests == (TriggerRequest(11, "x", 5, PLC_BOOT),)
    assert contract.plc.trigger_seq == 11


def test_writing_the_same_trigger_seq_again_is_no_trigger() -> None:
    contract, _ = linked(10).written({"Control.TriggerSeq": 11}, 5)
    assert contract.written({"Control.TriggerSeq": 11}, 6)[1] == ()


def test_until_the_boot_id_is_echoed_trigger_seq_is_only_a_baseline() -> None:
    contract = Contract(BOOT).told(READY, 0)
    contract, requests = contract.written({"Control.Heartbeat": 1, "Control.TriggerSeq": 40}, 0)
    assert not any(isinstance(r, TriggerRequest | RefusedByLink) for r in requests)
    contract, _ = contract.written({"Control.BootIdEcho": BOOT, "Control.TriggerSeq": 41}, 1)
    assert contract.linked
    assert contract.written({"Control.TriggerSeq": 42}, 2)[1] == (TriggerRequest(42, "", 2, 0),)


def test_a_wrong_echo_does_not_link() -> None:
    contract, _ = Contract(BOOT).told(READY, 0).written({"Control.BootIdEcho": BOOT + 1, "Control.Heartbeat": 1}, 0)
    assert not contract.linked
    assert image(contract)["Status.TriggerReady"] is False


def test_the_sequence_wraps_without_a_gap() -> None:
    _, requests = linked(2**32 - 1).written({"Control.TriggerSeq": 0}, 1)
    assert requests == (TriggerRequest(0, "", 1, PLC_BOOT),)


def test_skipped_numbers_are_booked_as_missed_and_shown() -> None:
    contract, requests = linked(10).written({"Control.TriggerSeq": 14}, 1)
    assert requests == (RefusedByLink(11, "", Reason.MISSED, 3), TriggerRequest(14, "", 1, PLC_BOOT))
    assert image(contract)["Counter.Missed"] == 3
    assert int(str(image(contract)["Status.Word"])) & 1 << 11


def test_a_count_that_goes_backwards_is_refused() -> None:
    contract, requests = linked(10).written({"Control.TriggerSeq": 3}, 1)
    assert requests == (RefusedByLink(3, "", Reason.PLC_RESTART),)
    assert image(contract)["Status.RefusedSeq"] == 3


def test_a_stale_heartbeat_refuses_triggers_and_a_fresh_one_links_again() -> None:
    contract, requests = linked(10).ticked(3 * SECOND)
    assert requests == (LinkState(False, PLC_BOOT),)
    contract, requests = contract.written({"Control.TriggerSeq": 11}, 3 * SECOND)
    assert requests == (RefusedByLink(11, "", Reason.PLC_LINK),)
    contract, requests = contract.written({"Control.Heartbeat": 2}, 3 * SECOND)
    assert requests == (LinkState(True, PLC_BOOT),)
    assert contract.ready


def test_a_heartbeat_that_does_not_change_does_not_count() -> None:
    contract, _ = linked().written({"Control.Heartbeat": 1}, 2 * SECOND)
    assert not contract.ticked(2 * SECOND + 1)[0].alive


def test_a_restarted_plc_must_echo_again_and_loses_what_it_did_not_read() -> None:
    contract, _ = linked(10).told(a_result(10), 1).written({"Control.PlcBootId": 6, "Control.TriggerSeq": 0}, 2)
    assert not contract.linked
    assert contract.shown is None
    contract, _ = contract.written({"Control.BootIdEcho": BOOT}, 3)
    assert contract.linked
    assert contract.written({"Control.TriggerSeq": 1}, 4)[1] == (TriggerRequest(1, "", 4, 6),)


def test_a_result_of_an_earlier_plc_start_goes_into_the_ring_but_never_into_the_named_slot() -> None:
    contract = linked().told(a_result(4, plc_boot=4), 1)
    assert contract.shown is None
    assert image(contract)["Result.Ring"][:6] == (4, 1 | 1 << 8, 0, 1, BOOT, 4)  # type: ignore[index]


def test_on_accept_results_are_not_valid_and_ready_falls() -> None:
    tags = image(linked().told(TriggerAccepted(1), 1))
    assert (tags["Status.ResultsValid"], tags["Status.TriggerReady"], tags["Status.TriggerAckSeq"]) == (False, False, 1)


def test_exposure_done_of_an_older_part_is_not_shown() -> None:
    contract = linked().told(TriggerAccepted(2), 1)
    assert not contract.told(ExposureDone(1), 2).exposure_done
    assert contract.told(ExposureDone(2), 2).exposure_done


def test_results_wait_for_their_acknowledgement_in_order() -> None:
    contract = linked().told(a_result(1), 1).told(a_result(2, Evaluation.NOT_OK), 2)
    assert image(contract)["Result.TriggerSeq"] == 1
    contract, requests = contract.written({"Control.ResultAckSeq": 1}, 3)
    assert requests == (ResultAcknowledged(1, ("s.b.1",)),)
    assert image(contract)["Result.TriggerSeq"] == 2
    contract, requests = contract.written({"Control.ResultAckSeq": 2}, 4)
    assert requests == (ResultAcknowledged(2, ("s.b.2",)),)
    assert image(contract)["Status.ResultsValid"] is False


def test_one_acknowledgement_may_free_several_results() -> None:
    contract = linked()
    for seq in (1, 2, 3):
        contract = contract.told(a_result(seq), seq)
    contract, requests = contract.written({"Control.ResultAckSeq": 2}, 9)
    assert requests == (ResultAcknowledged(2, ("s.b.1", "s.b.2")),)
    assert contract.shown == a_result(3)


def test_an_acknowledgement_of_an_older_result_frees_nothing() -> None:
    contract = linked().told(a_result(5), 1)
    assert contract.written({"Control.ResultAckSeq": 4}, 2) == (
        replace(contract, plc=replace(contract.plc, result_ack_seq=4)),
        (),
    )


def test_a_full_buffer_is_an_overrun_that_ends_ready_until_all_is_acknowledged() -> None:
    contract = linked()
    for seq in range(1, BUFFER + 2):
        contract = contract.told(a_result(seq), seq)
    assert not contract.overrun
    contract = contract.told(a_result(BUFFER + 2), 99)
    assert contract.overrun
    assert not contract.ready
    contract, requests = contract.written({"Control.TriggerSeq": 1}, 100)
    assert requests == (RefusedByLink(1, "", Reason.BUFFER_OVERRUN),)
    contract, _ = contract.written({"Control.ResultAckSeq": BUFFER + 1}, 101)
    assert contract.ready


def test_without_acknowledgement_a_result_holds_for_its_time_and_the_toggle_tells_of_each() -> None:
    contract = linked(acknowledge=False).told(a_result(1), 0)
    assert contract.toggle
    assert contract.told(a_result(2), 1).toggle is False
    assert contract.ticked(contract.hold_ns)[0].shown is not None
    assert contract.ticked(contract.hold_ns + 1)[0].shown is None


@pytest.mark.parametrize("mode", [Mode.GOLDEN, Mode.SIMULATION, Mode.SETUP])
def test_outside_production_no_output_says_ok(mode: Mode) -> None:
    contract = linked().told(a_result(1, Evaluation.OK, mode), 1)
    tags = image(contract)
    assert (tags["Result.Evaluation"], tags["Result.GoldenOutcome"], tags["Counter.Total"]) == (0, 1, 0)
    assert tags["Result.Ring"][1] == int(mode) << 8  # type: ignore[index]
    assert not int(str(tags["Status.Word"])) & 1 << 8


def test_only_changed_tags_are_written_and_results_valid_rises_last() -> None:
    before = image(linked())
    after = image(linked().told(a_result(1), 1))
    names = [name for name, _ in changes(before, after)]
    assert names.index("Status.ResultsValid") > names.index("Result.ResultId")
    assert "Result.Mode" in names
    assert "Status.ErrorCode" not in names


def test_results_valid_falls_before_anything_else_changes() -> None:
    shown = linked().told(a_result(1), 1)
    after, _ = shown.written({"Control.ResultAckSeq": 1}, 2)
    names = [name for name, _ in changes(image(shown), image(after))]
    assert names.index("Status.ResultsValid") < names.index("Result.ResultId")


def test_the_block_says_the_same_as_the_single_tags() -> None:
    words = (2, PLC_BOOT, BOOT, 11, 3, 1, 0, 4 | 9 << 16)
    contract, requests = linked(10).written({"Control.Block": words}, 7)
    assert requests == (TriggerRequest(11, "", 7, PLC_BOOT), RecipeRequest(1, 3, ""), CommandRequest(9, 4))
    assert contract.plc.heartbeat == 2


def test_every_tag_of_the_image_is_in_the_table_with_the_right_length() -> None:
    contract = linked().told(a_result(1, Evaluation.NOT_OK), 1).told(Alive(), 1)
    identity = {"Ident.InterfaceVersion", "Ident.SoftwareVersion", "Ident.StationId", "Status.BootId"}
    later = {"Status.LineStopReason", "Health.TempC", "Health.GpuLoad", "Health.DiskFreePct", "Health.PowerMode"}
    tags = image(contract)
    assert {tag.name for tag in TAGS if tag.writer == "station"} == set(tags) | identity | later
    for name, value in tags.items():
        assert len(value if isinstance(value, tuple) else ()) == BY_NAME[name].length, name


class PlcAndStation(RuleBasedStateMachine):
    """A PLC that scans when it likes, a station that settles when it likes, restarts of either side.

    The PLC applies its rule to whatever the tags say; the model knows what each part really was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.boot = BOOT
        self.contract = Contract(self.boot).told(READY, 0)
        self.plc_boot = PLC_BOOT
        self.seq = 0
        self.beat = 0
        self.echo = 0
        self.truth: dict[tuple[int, int, int], Evaluation] = {}
        self.open: list[TriggerRequest] = []
        self.answered: list[tuple[int, int, int]] = []
        self.asked: list[tuple[int, int, int]] = []
        self.wanted: tuple[int, int, int] | None = None

    def write(self, values: dict[str, Value]) -> None:
        self.contract, requests = self.contract.written(values, self.now)
        self.take(requests)

    def take(self, requests: tuple[PlcRequest, ...]) -> None:
        for request in requests:
            if isinstance(request, TriggerRequest):
                self.open.append(request)
                self.contract = self.contract.told(TriggerAccepted(request.trigger_seq), self.now)
                self.contract = self.contract.told(READY, self.now)
            elif isinstance(request, RefusedByLink) and request.reason is not Reason.MISSED:
                self.answered.append((self.boot, self.plc_boot, request.trigger_seq))

    @rule(by=st.integers(1, 400))
    def time_passes(self, by: int) -> None:
        self.now += by * 1_000_000
        self.contract, requests = self.contract.ticked(self.now)
        self.take(requests)

    @rule()
    def plc_greets(self) -> None:
        self.beat += 1
        self.write({"Control.PlcBootId": self.plc_boot, "Control.TriggerSeq": self.seq})
        self.echo = self.boot
        self.write({"Control.BootIdEcho": self.echo, "Control.Heartbeat": self.beat})

    @rule()
    def plc_beats(self) -> None:
        self.beat += 1
        self.write({"Control.Heartbeat": self.beat})

    @rule()
    def plc_triggers(self) -> None:
        self.seq += 1
        if self.contract.echoed:
            self.asked.append((self.boot, self.plc_boot, self.seq))
        self.wanted = (self.boot, self.plc_boot, self.seq)
        self.write({"Control.PartId": f"part-{self.plc_boot}-{self.seq}"})
        self.write({"Control.TriggerSeq": self.seq})

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 9), evaluation=st.sampled_from(list(Evaluation)))
    def station_settles(self, which: int, evaluation: Evaluation) -> None:
        request = self.open.pop(which % len(self.open))
        key = (self.boot, request.plc_boot_id, request.trigger_seq)
        self.truth[key] = evaluation
        self.answered.append(key)
        trigger = Trigger(
            len(self.truth), f"r{key}", request.trigger_seq, request.part_id, 1, Mode.PRODUCTION, "r", 1, self.boot,
            request.plc_boot_id, self.now, self.now + SECOND, "2026-11-22T00:00:00.000Z", True,
        )  # fmt: skip
        result = InspectionResult(trigger, evaluation, Reason.NONE, "", (), ("a",), 1, (0.5,), "h", self.now, {})
        self.contract = self.contract.told(result, self.now)

    @rule()
    def plc_acknowledges(self) -> None:
        if self.contract.shown is not None:
            self.write({"Control.ResultAckSeq": self.contract.shown.trigger.trigger_seq})

    @rule(ack=st.integers(0, 12))
    def plc_acknowledges_something_stale(self, ack: int) -> None:
        self.write({"Control.ResultAckSeq": ack})

    @rule()
    def plc_restarts(self) -> None:
        self.plc_boot += 1
        self.seq = 0
        self.wanted = None
        self.write({"Control.PlcBootId": self.plc_boot, "Control.TriggerSeq": self.seq})

    @rule()
    def station_restarts(self) -> None:
        self.answered += [(self.boot, r.plc_boot_id, r.trigger_seq) for r in self.open]  # booked as `restart`
        self.open = []
        self.boot += 1
        self.contract = Contract(self.boot).told(READY, self.now)

    @invariant()
    def the_rule_never_passes_a_part_that_was_not_ok(self) -> None:
        tags = image(self.contract)
        if self.wanted is None:
            return
        boot, plc_boot, seq = self.wanted
        named = (tags["Result.BootId"], tags["Result.PlcBootId"], tags["Result.TriggerSeq"], tags["Result.Evaluation"])
        if tags["Status.ResultsValid"] and named == (boot, plc_boot, seq, 1):
            assert self.truth[self.wanted] is Evaluation.OK
        ring = tags["Result.Ring"]
        assert isinstance(ring, tuple)
        for row in range(0, len(ring), 8):
            if (ring[row + 4], ring[row + 5], ring[row]) == self.wanted and ring[row + 1] == 1 | 1 << 8:
                assert self.truth[self.wanted] is Evaluation.OK

    @invariant()
    def every_trigger_is_open_or_was_answered_once(self) -> None:
        waiting = [(self.boot, r.plc_boot_id, r.trigger_seq) for r in self.open]
        assert sorted(self.asked) == sorted(waiting + self.answered)

    @invariant()
    def overall_ok_needs_an_ok_in_the_slot(self) -> None:
        tags = image(self.contract)
        if int(str(tags["Status.Word"])) & 1 << 8:
            assert tags["Result.Evaluation"] == 1


PlcAndStation.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyInterleaving = PlcAndStation.TestCase
