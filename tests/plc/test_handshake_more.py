"""The PLC contract where a PLC is slow, restarts, wraps round or writes what nobody expects."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract_parts import BOOT, PLC_BOOT, READY, SECOND, TOP, a_result, linked

from edge_inspector.datatypes import Reason
from edge_inspector.interfaces import (
    Alive,
    LinkState,
    RefusedByLink,
    ResultAcknowledged,
    TriggerAccepted,
    TriggerRequest,
)
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import image
from edge_inspector.plc.results import BUFFER, Results
from edge_inspector.plc.sequence import ahead


def test_a_trigger_that_is_read_after_the_heartbeat_has_run_out_is_refused() -> None:
    """As after a stall of ours: nothing has looked at the clock since the last write."""
    contract, requests = linked(10).written({"Control.TriggerSeq": 11}, 3 * SECOND)
    assert requests == (LinkState(False, PLC_BOOT), RefusedByLink(11, "", Reason.PLC_LINK))
    assert not contract.linked


def test_a_heartbeat_after_a_stall_says_that_the_link_was_down_and_is_up_again() -> None:
    contract, requests = linked().written({"Control.Heartbeat": 2}, 3 * SECOND)
    assert requests == (LinkState(False, PLC_BOOT), LinkState(True, PLC_BOOT))
    assert contract.linked


def test_a_held_result_runs_out_before_the_next_write_is_looked_at() -> None:
    contract = linked(acknowledge=False).told(a_result(1), 0)
    contract, _ = contract.written({"Control.Heartbeat": 2}, contract.hold_ns + 1)
    assert contract.shown is None


@pytest.mark.parametrize("last", [0, 1, 2**31 - 1, 2**31, TOP - 1, TOP])
def test_triggers_and_acknowledgements_go_on_over_every_border(last: int) -> None:
    contract = linked(last)
    for step in range(1, 4):
        seq = (last + step) % 2**32
        contract, requests = contract.written({"Control.TriggerSeq": seq}, step)
        assert requests == (TriggerRequest(seq, "", step, PLC_BOOT),)
        contract = contract.told(TriggerAccepted(seq), step).told(a_result(seq), step)
        contract, requests = contract.written({"Control.ResultAckSeq": seq}, step)
        assert requests == (ResultAcknowledged(seq, (f"s.b.{seq}",)),)
        assert contract.shown is None
        assert contract.told(TriggerAccepted(seq), step).answers.trigger_ack_seq == seq
    assert contract.counters.missed == 0


def test_the_acknowledge_bit_is_up_for_the_trigger_number_0_too() -> None:
    contract, _ = linked(TOP).written({"Control.TriggerSeq": 0}, 1)
    assert not int(str(image(contract)["Status.Word"])) & 1 << 2
    contract = contract.told(TriggerAccepted(0), 2)
    assert int(str(image(contract)["Status.Word"])) & 1 << 2


def test_one_acknowledgement_over_the_wrap_frees_what_came_before_it() -> None:
    contract = linked(TOP - 1).told(a_result(TOP), 1).told(a_result(0), 2).told(a_result(1), 3)
    contract, requests = contract.written({"Control.ResultAckSeq": 0}, 4)
    assert requests == (ResultAcknowledged(0, (f"s.b.{TOP}", "s.b.0")),)
    assert contract.shown == a_result(1)


def test_the_heartbeat_wraps() -> None:
    assert replace(linked(), heartbeat=TOP).told(Alive(), 1).heartbeat == 0


def test_the_heartbeat_of_the_plc_may_wrap() -> None:
    contract, _ = linked().written({"Control.Heartbeat": TOP}, SECOND)
    contract, _ = contract.written({"Control.Heartbeat": 0}, 3 * SECOND - 1)
    assert contract.ticked(4 * SECOND)[0].linked


def test_an_acknowledgement_in_the_write_of_a_new_plc_boot_id_frees_nothing() -> None:
    contract = linked().told(a_result(1), 1)
    contract, requests = contract.written({"Control.PlcBootId": 6, "Control.ResultAckSeq": 1}, 2)
    assert not any(isinstance(r, ResultAcknowledged) for r in requests)
    assert contract.shown is None


def test_a_result_of_the_plc_before_is_never_acknowledged_by_its_successor() -> None:
    contract = linked(10)
    contract, _ = contract.written({"Control.PlcBootId": 6, "Control.TriggerSeq": 0}, 1)
    contract, _ = contract.written({"Control.BootIdEcho": BOOT}, 1)
    contract = contract.told(a_result(1), 2)
    contract, requests = contract.written({"Control.ResultAckSeq": 1}, 3)
    assert requests == ()


def test_an_overrun_ends_when_everything_is_acknowledged_and_the_next_trigger_is_accepted() -> None:
    contract = linked(BUFFER + 2)
    for seq in range(1, BUFFER + 3):
        contract = contract.told(a_result(seq), 1)
    assert contract.results.overrun
    contract, _ = contract.written({"Control.ResultAckSeq": BUFFER}, 2)
    assert contract.results.overrun, "one is still unread"
    contract, _ = contract.written({"Control.ResultAckSeq": BUFFER + 2}, 3)
    assert not contract.results.overrun
    _, requests = contract.written({"Control.TriggerSeq": BUFFER + 3}, 4)
    assert requests == (TriggerRequest(BUFFER + 3, "", 4, PLC_BOOT),)


def test_a_block_that_brings_a_new_plc_boot_id_is_a_greeting_and_no_trigger() -> None:
    """A restarted PLC that writes everything at once, its echo still right from before."""
    contract, _ = Contract(BOOT).told(READY, 0).written({"Control.Block": (1, 5, BOOT, 10, 0, 0, 0, 0)}, 0)
    contract, requests = contract.written({"Control.Block": (2, 6, BOOT, 0, 0, 0, 0, 0)}, 1)
    assert requests == (LinkState(True, 6),)
    _, requests = contract.written({"Control.Block": (3, 6, BOOT, 1, 0, 0, 0, 0)}, 2)
    assert requests == (TriggerRequest(1, "", 2, 6),)


@pytest.mark.parametrize(
    ("contract", "state", "code"),
    [
        pytest.param(Contract(BOOT), 1, 0, id="starting"),
        pytest.param(Contract(BOOT).told(READY, 0), 5, 0, id="no PLC yet: fit, but no trigger would be accepted"),
        pytest.param(linked(), 6, 0, id="ready"),
        pytest.param(linked().told(replace(READY, busy=True), 0), 7, 0, id="in work"),
        pytest.param(Contract(BOOT).told(replace(READY, halted=True), 0), 2, 0, id="halted"),
        pytest.param(Contract(BOOT).told(replace(READY, error_code=101), 0), 3, 101, id="a camera is away"),
        pytest.param(linked().ticked(3 * SECOND)[0], 3, 401, id="the PLC's heartbeat is stale"),
        pytest.param(
            replace(linked(), results=Results(unread=(a_result(1),), overrun=True)), 3, 402, id="a buffer overrun"
        ),
    ],
)
def test_the_state_number_says_what_the_station_can_do(contract: Contract, state: int, code: int) -> None:
    tags = image(contract)
    assert (tags["Status.State"], tags["Status.ErrorCode"], tags["Status.Error"]) == (state, code, code != 0)


@pytest.mark.parametrize(
    ("seq", "than", "modulus", "steps"),
    [
        (7, 7, 2**32, 0),
        (8, 7, 2**32, 1),
        (6, 7, 2**32, -1),
        (0, TOP, 2**32, 1),
        (TOP, 0, 2**32, -1),
        (2**31 - 1, 0, 2**32, 2**31 - 1),
        pytest.param(2**31, 0, 2**32, -(2**31), id="half way round counts as behind"),
        (0, 3, 4, 1),
        (1, 3, 4, -2),
    ],
)
def test_which_of_two_numbers_came_later(seq: int, than: int, modulus: int, steps: int) -> None:
    assert ahead(seq, than, modulus) == steps
