"""The PLC contract: no interleaving lets the PLC pass a part on the result of another."""

from __future__ import annotations

import pytest
from contract_parts import BOOT, PLC_BOOT, READY, SECOND, a_result, linked

from edge_inspector.datatypes import Evaluation, Mode, Reason
from edge_inspector.interfaces import (
    Alive,
    CommandRequest,
    ExposureDone,
    LinkState,
    RecipeRequest,
    RefusedByLink,
    ResultAcknowledged,
    TriggerAccepted,
    TriggerRequest,
)
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import changes, image
from edge_inspector.plc.results import BUFFER
from edge_inspector.plc.tags import BY_NAME, TAGS


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
    assert contract.accepts


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
    assert not contract.told(ExposureDone(1), 2).answers.exposure_done
    assert contract.told(ExposureDone(2), 2).answers.exposure_done


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
    contract, requests = linked().told(a_result(5), 1).written({"Control.ResultAckSeq": 4}, 2)
    assert requests == ()
    assert contract.shown == a_result(5)


def test_a_full_buffer_is_an_overrun_that_ends_ready_until_all_is_acknowledged() -> None:
    contract = linked()
    for seq in range(1, BUFFER + 2):
        contract = contract.told(a_result(seq), seq)
    assert not contract.results.overrun
    contract = contract.told(a_result(BUFFER + 2), 99)
    assert contract.results.overrun
    assert not contract.accepts
    contract, requests = contract.written({"Control.TriggerSeq": 1}, 100)
    assert requests == (RefusedByLink(1, "", Reason.BUFFER_OVERRUN),)
    contract, _ = contract.written({"Control.ResultAckSeq": BUFFER + 1}, 101)
    assert contract.shown == a_result(BUFFER + 2), "nothing is lost"
    assert not contract.accepts
    contract, _ = contract.written({"Control.ResultAckSeq": BUFFER + 2}, 102)
    assert contract.accepts


def test_without_acknowledgement_a_result_holds_for_its_time_and_the_toggle_tells_of_each() -> None:
    contract = linked(acknowledge=False).told(a_result(1), 0)
    assert contract.results.toggle
    assert contract.told(a_result(2), 1).results.toggle is False
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
    assert requests == (RecipeRequest(1, 3, ""), CommandRequest(9, 4), TriggerRequest(11, "", 7, PLC_BOOT))
    assert contract.plc.heartbeat == 2


def test_every_tag_of_the_image_is_in_the_table_with_the_right_length() -> None:
    contract = linked().told(a_result(1, Evaluation.NOT_OK), 1).told(Alive(), 1)
    identity = {"Ident.InterfaceVersion", "Ident.SoftwareVersion", "Ident.StationId", "Status.BootId"}
    tags = image(contract)
    assert {tag.name for tag in TAGS if tag.writer == "station"} == set(tags) | identity
    for name, value in tags.items():
        assert len(value if isinstance(value, tuple) else ()) == BY_NAME[name].length, name
