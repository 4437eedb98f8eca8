"""Named slot, buffer and ring: nothing is lost in silence, and a PLC reads only what it has asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract_parts import BOOT, PLC_BOOT, SECOND, a_result, linked

from edge_inspector.datatypes import InspectionResult
from edge_inspector.interfaces import ExposureDone, ResultAcknowledged, TriggerAccepted, TriggerRequest
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import image
from edge_inspector.plc.results import BUFFER, Results


def told(contract: Contract, *seqs: int) -> Contract:
    for at, seq in enumerate(seqs):
        contract = contract.told(a_result(seq), at)
    return contract


def unread(contract: Contract) -> list[int]:
    return [r.trigger.trigger_seq for r in contract.results.unread]


@pytest.mark.parametrize(
    ("settled", "ack", "left"),
    [
        pytest.param((1, 2, 3), 2, [3], id="all up to it"),
        pytest.param((2, 1), 2, [1], id="a lower number that was settled later was not seen in the slot"),
        pytest.param((2, 1, 3), 1, [2, 3], id="a higher number in front is not acknowledged"),
        pytest.param((1, 2, 3), 5, [], id="a number that is not among them"),
        pytest.param((5, 6), 4, [5, 6], id="an older one"),
        pytest.param((1, 3), 2, [3], id="one that was refused in between"),
        pytest.param((2**32 - 1, 0, 1), 0, [1], id="over the wrap"),
    ],
)
def test_an_acknowledgement_frees_what_the_plc_has_seen(settled: tuple[int, ...], ack: int, left: list[int]) -> None:
    contract, requests = told(linked(), *settled).written({"Control.ResultAckSeq": ack}, 9)
    assert unread(contract) == left
    freed = tuple(f"s.b.{seq}" for seq in settled if seq not in left)
    assert requests == ((ResultAcknowledged(ack, freed),) if freed else ())


def test_acknowledgements_wrap_where_the_numbers_do() -> None:
    results, freed = Results(unread=(a_result(3), a_result(0), a_result(1))).acknowledged(0, 4, 1)
    assert ([r.trigger.trigger_seq for r in freed], [r.trigger.trigger_seq for r in results.unread]) == ([3, 0], [1])


def test_the_same_acknowledgement_again_frees_nothing() -> None:
    """As a PLC that writes all its tags in each scan: number 1 settles after number 2 was acknowledged."""
    contract, _ = told(linked(), 2).written({"Control.ResultAckSeq": 2}, 1)
    contract, requests = told(contract, 1).written({"Control.ResultAckSeq": 2}, 2)
    assert (unread(contract), requests) == ([1], ())
    contract, requests = contract.written({"Control.ResultAckSeq": 1}, 3)
    assert requests == (ResultAcknowledged(1, ("s.b.1",)),)


def test_a_restarted_plc_may_acknowledge_the_number_that_its_predecessor_did() -> None:
    contract, _ = told(linked(), 1).written({"Control.ResultAckSeq": 1}, 1)
    contract, _ = contract.written({"Control.PlcBootId": 6, "Control.TriggerSeq": 0, "Control.BootIdEcho": BOOT}, 2)
    contract = contract.told(a_result(1, plc_boot=6), 3)
    _, requests = contract.written({"Control.ResultAckSeq": 1}, 4)
    assert requests == (ResultAcknowledged(1, ("s.b.1",)),)


def test_the_toggle_changes_only_when_another_result_appears() -> None:
    contract = told(linked(), 5)
    first = contract.results.toggle
    assert told(contract, 4).results.toggle is first, "it waits behind"
    contract, _ = told(contract, 4).written({"Control.ResultAckSeq": 4}, 1)
    assert (unread(contract), contract.results.toggle) == ([5], first)
    contract, _ = told(contract, 6).written({"Control.ResultAckSeq": 5}, 2)
    assert (unread(contract), contract.results.toggle) == ([6], not first)
    contract, _ = contract.written({"Control.ResultAckSeq": 6}, 3)
    assert (unread(contract), contract.results.toggle) == ([], not first)


def test_beyond_the_buffer_nothing_is_lost_but_ready_falls_until_all_is_read() -> None:
    contract = told(linked(BUFFER + 2), *range(1, BUFFER + 2))
    assert contract.accepts
    contract = told(contract, BUFFER + 2)
    assert (contract.accepts, image(contract)["Status.ErrorCode"]) == (False, 402)
    for seq in range(1, BUFFER + 2):
        contract, _ = contract.written({"Control.ResultAckSeq": seq}, 1)
        assert not contract.accepts
    contract, requests = contract.written({"Control.ResultAckSeq": BUFFER + 2}, 1)
    assert requests == (ResultAcknowledged(BUFFER + 2, (f"s.b.{BUFFER + 2}",)),)
    assert contract.accepts
    assert contract.written({"Control.TriggerSeq": BUFFER + 3}, 1)[1] == (TriggerRequest(BUFFER + 3, "", 1, PLC_BOOT),)


def test_a_result_that_comes_during_an_overrun_does_not_end_it() -> None:
    contract, _ = told(linked(), *range(1, BUFFER + 3)).written({"Control.ResultAckSeq": BUFFER}, 1)
    assert not told(contract, BUFFER + 3).accepts


def test_an_unread_result_that_leaves_the_ring_is_an_overrun() -> None:
    small = replace(linked(), results=Results(ring=(None, None)))
    assert not told(small, 1, 2).results.overrun
    assert told(small, 1, 2, 3).results.overrun
    read, _ = told(small, 1, 2).written({"Control.ResultAckSeq": 1}, 1)
    assert not told(read, 3).results.overrun


def test_results_of_others_push_an_unread_one_out_of_the_ring_too() -> None:
    small = replace(linked(), results=Results(ring=(None, None))).told(a_result(1), 1)
    small = small.told(a_result(2, plc_boot=9), 2)
    assert not small.results.overrun
    assert small.told(a_result(3, plc_boot=9), 3).results.overrun


def test_without_acknowledgements_nothing_overruns() -> None:
    contract = told(replace(linked(acknowledge=False), results=Results(buffer=1, ring=(None, None))), *range(1, 9))
    assert not contract.results.overrun
    assert unread(contract) == [8]


def test_without_acknowledgements_an_acknowledgement_does_nothing() -> None:
    contract, requests = told(linked(acknowledge=False), 1).written({"Control.ResultAckSeq": 1}, 1)
    assert (unread(contract), requests) == ([1], ())


@pytest.mark.parametrize("asker", [PLC_BOOT, 0, 9])
def test_without_acknowledgements_the_slot_shows_the_stations_own_and_other_links_parts_too(asker: int) -> None:
    assert linked(acknowledge=False).told(a_result(1, plc_boot=asker), 1).shown is not None


def restarted(contract: Contract, plc_boot_id: int) -> Contract:
    values = {"Control.PlcBootId": plc_boot_id, "Control.TriggerSeq": 0, "Control.BootIdEcho": BOOT}
    return contract.written(values, 1)[0]


@pytest.mark.parametrize("acknowledge", [True, False])
def test_a_result_that_an_earlier_start_of_the_plc_asked_for_stands_in_the_ring_alone(acknowledge: bool) -> None:
    contract = restarted(restarted(linked(acknowledge=acknowledge), 6), 7)
    for plc_boot in (PLC_BOOT, 6):
        late = contract.told(a_result(1, plc_boot=plc_boot), 2)
        assert late.shown is None
        assert image(late)["Result.Ring"][5] == plc_boot  # type: ignore[index]
    assert contract.told(a_result(1, plc_boot=7), 2).shown is not None


def test_what_the_plc_had_not_read_before_its_restart_is_not_shown_to_it_afterwards() -> None:
    contract = restarted(told(linked(), *range(1, BUFFER + 3)), 6)
    assert contract.shown is None
    assert contract.accepts, "and its overrun is over"


def test_a_start_whose_number_comes_back_is_a_present_one() -> None:
    contract = restarted(restarted(linked(acknowledge=False), 6), PLC_BOOT)
    assert contract.former == (6,)
    assert contract.told(a_result(1), 2).shown is not None


def test_only_the_last_starts_are_remembered_and_none_is_not_one_of_them() -> None:
    contract = linked()
    assert contract.former == ()
    for plc_boot_id in range(20, 40):
        contract = restarted(contract, plc_boot_id)
    assert contract.former == tuple(range(31, 39))


def test_a_held_result_gets_its_own_time_in_the_slot() -> None:
    contract = linked(acknowledge=False).told(a_result(1), 0).told(a_result(2), SECOND)
    held = contract.hold_ns
    assert contract.ticked(SECOND + held)[0].shown == a_result(2)
    assert contract.ticked(SECOND + held + 1)[0].shown is None


def test_with_acknowledgements_a_result_waits_for_ever() -> None:
    contract = told(linked(), 1).ticked(10_000 * SECOND)[0]
    assert contract.shown == a_result(1)


def test_exposure_done_is_the_accepted_parts_alone() -> None:
    def exposed(contract: Contract) -> bool:
        return contract.answers.exposure_done

    before = linked(2**32 - 1)
    assert not exposed(before.told(ExposureDone(2**32 - 1), 1)), "a part of another link, and none of ours yet"
    accepted = before.told(TriggerAccepted(0), 1)
    assert not exposed(accepted.told(ExposureDone(7), 2))
    done = accepted.told(ExposureDone(0), 2)
    assert exposed(done)
    assert not done.status.acquiring
    assert not exposed(done.told(TriggerAccepted(1), 3))


def test_results_of_one_moment_are_told_apart_by_their_ids() -> None:
    twins: tuple[InspectionResult, ...] = (
        a_result(1),
        replace(a_result(1), trigger=replace(a_result(1).trigger, result_id="s.b.2")),
    )
    contract = linked()
    for twin in twins:
        contract = contract.told(twin, 1)
    assert [r.result_id for r in contract.results.unread] == ["s.b.1", "s.b.2"]
