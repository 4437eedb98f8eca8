"""What the PLC orders beside parts: recipes, commands, feedback; and the block that holds them all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract_parts import BOOT, PLC_BOOT, READY, SECOND, a_result, bit, linked

from edge_inspector.datatypes import Mode, Reason
from edge_inspector.interfaces import (
    CommandAnswer,
    CommandRequest,
    PartFeedback,
    PlcRequest,
    RecipeAnswer,
    RecipeRequest,
    TriggerRequest,
    Unannounced,
)
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import image
from edge_inspector.plc.results import BUFFER

ORDER = {"Control.RecipeReqNo": 9, "Control.RecipeReqSeq": 1}
REFUSED = RecipeAnswer(1, False, Reason.RECIPE)


def test_a_refused_recipe_leaves_ready_low_until_a_valid_one_succeeds() -> None:
    """Even if the station said READY: the line has changed product."""
    contract, requests = linked().written(ORDER, 1)
    assert requests == (RecipeRequest(1, 9, ""),)
    contract = contract.told(REFUSED, 2).told(READY, 3)
    tags = image(contract)
    assert (tags["Status.RecipeReqAckSeq"], tags["Status.RecipeReqResult"]) == (1, int(Reason.RECIPE))
    assert (tags["Status.TriggerReady"], bit(tags, 1), bit(tags, 12), bit(tags, 14)) == (False, False, False, True)
    assert (tags["Status.ErrorCode"], tags["Status.State"]) == (301, 3)
    contract, _ = contract.written({"Control.RecipeReqNo": 1, "Control.RecipeReqSeq": 2}, 4)
    tags = image(contract.told(RecipeAnswer(2, True, Reason.NONE), 5))
    assert (tags["Status.TriggerReady"], bit(tags, 12), tags["Status.ErrorCode"]) == (True, True, 0)
    assert (tags["Status.RecipeReqAckSeq"], tags["Status.RecipeReqResult"]) == (2, 0)


def test_a_refused_recipe_stays_refused_when_the_plc_restarts() -> None:
    contract, _ = linked().written(ORDER, 1)
    contract = contract.told(REFUSED, 2)
    contract, _ = contract.written({"Control.PlcBootId": 6, "Control.TriggerSeq": 0, "Control.BootIdEcho": BOOT}, 3)
    assert contract.linked
    assert not contract.accepts


def test_a_refusal_that_comes_after_the_plc_has_restarted_counts_all_the_same() -> None:
    contract, _ = linked().written(ORDER, 1)
    contract, _ = contract.written({"Control.PlcBootId": 6, "Control.TriggerSeq": 0, "Control.BootIdEcho": BOOT}, 3)
    contract = contract.told(REFUSED, 4)
    assert not contract.accepts
    assert image(contract)["Status.RecipeReqAckSeq"] == 0


def test_ready_is_low_while_an_order_waits_for_its_answer() -> None:
    contract, _ = linked().written(ORDER, 1)
    assert not contract.accepts
    assert contract.told(RecipeAnswer(1, True, Reason.NONE), 2).accepts


def test_the_answer_to_another_order_does_not_end_the_waiting() -> None:
    contract, _ = linked().written(ORDER, 1)
    assert not contract.told(RecipeAnswer(2, True, Reason.NONE), 2).accepts


def test_an_order_of_a_link_that_is_not_the_master_changes_nothing() -> None:
    contract, _ = linked().written(ORDER, 1)
    contract = contract.told(RecipeAnswer(1, False, Reason.WRONG_MASTER), 2)
    assert contract.accepts
    assert image(contract)["Status.RecipeReqResult"] == int(Reason.WRONG_MASTER)


def test_orders_come_before_the_trigger_of_the_same_write() -> None:
    values = {"Control.TriggerSeq": 1, "Control.CommandSeq": 4, "Control.Command": 2, "Control.PartFeedback": 2}
    _, requests = linked().written(values | ORDER | {"Control.FeedbackSeq": 7}, 1)
    assert requests == (
        PartFeedback(7, PLC_BOOT, False),
        RecipeRequest(1, 9, ""),
        CommandRequest(4, 2),
        TriggerRequest(1, "", 1, PLC_BOOT),
    )


def test_a_number_that_does_not_change_orders_nothing() -> None:
    values = {"Control.CommandSeq": 4, "Control.FeedbackSeq": 7, "Control.PartFeedback": 1} | ORDER
    contract, _ = linked().written(values, 1)
    assert contract.written(values | {"Control.Command": 3, "Control.RecipeReqNo": 2}, 2)[1] == ()


@pytest.mark.parametrize(("value", "good"), [(1, True), (2, False)])
def test_feedback_is_for_the_part_whose_number_it_bears(value: int, good: bool) -> None:
    _, requests = linked(50).written({"Control.PartFeedback": value, "Control.FeedbackSeq": 44}, 1)
    assert requests == (PartFeedback(44, PLC_BOOT, good),)


@pytest.mark.parametrize("value", [0, 3, 65535])
def test_feedback_that_is_neither_good_nor_bad_is_ignored_and_shown_until_the_next(value: int) -> None:
    contract, requests = linked().written({"Control.PartFeedback": value, "Control.FeedbackSeq": 44}, 1)
    assert requests == ()
    tags = image(contract)
    assert bit(tags, 13)
    assert tags["Status.ErrorText"] == f"Control.PartFeedback was {value}, expected 1 (good) or 2 (bad): ignored"
    contract, _ = contract.written({"Control.PartFeedback": 1, "Control.FeedbackSeq": 45}, 2)
    assert not bit(image(contract), 13)


def with_an_overrun() -> Contract:
    contract, _ = linked().written({"Control.TriggerSeq": 5, "Control.PartFeedback": 9, "Control.FeedbackSeq": 1}, 1)
    for seq in range(1, BUFFER + 3):
        contract = contract.told(a_result(seq), seq)
    return contract


def given(contract: Contract, command: int, result: int) -> Contract:
    contract, requests = contract.written({"Control.Command": command, "Control.CommandSeq": 3}, SECOND)
    assert requests == (CommandRequest(3, command),)
    return contract.told(CommandAnswer(3, result), SECOND)


def test_reset_ends_an_overrun_once_the_station_has_done_it() -> None:
    before = image(with_an_overrun())
    assert (bit(before, 10), bit(before, 11), bit(before, 13)) == (True, True, True)
    after = image(given(with_an_overrun(), 1, 0))
    assert [bit(after, number) for number in (6, 10, 11, 13)] == [False] * 4
    assert (after["Status.CommandAckSeq"], after["Status.CommandResult"], after["Status.TriggerReady"]) == (3, 0, True)
    assert after["Result.Ring"] == before["Result.Ring"]
    assert after["Counter.Total"] == BUFFER + 2


def test_a_refused_command_changes_nothing_but_its_answer() -> None:
    tags = image(given(with_an_overrun(), 1, 2))
    assert (bit(tags, 10), tags["Status.CommandResult"]) == (True, 2)
    assert image(given(with_an_overrun(), 5, 2))["Counter.Total"] == BUFFER + 2


def test_clear_counters_clears_every_counter_and_nothing_else() -> None:
    contract = with_an_overrun().told(Unannounced("top"), 1)
    assert {image(contract)[f"Counter.{name}"] for name in ("Unannounced", "Missed")} == {1, 4}
    tags = image(given(contract, 5, 0))
    assert [value for name, value in tags.items() if name.startswith("Counter.")] == [0] * 8
    assert bit(tags, 10)


@pytest.mark.parametrize("command", [2, 3, 4, 6, 7, 8, 9])
def test_every_other_command_is_the_stations_alone(command: int) -> None:
    before = with_an_overrun()
    after = given(before, command, 0)
    assert (after.results, after.counters) == (before.results, before.counters)


def test_a_reset_of_the_plc_before_does_not_empty_the_slot_of_its_successor() -> None:
    contract, _ = linked().written({"Control.Command": 1, "Control.CommandSeq": 3}, 1)
    contract, _ = contract.written({"Control.PlcBootId": 6, "Control.TriggerSeq": 0, "Control.BootIdEcho": BOOT}, 2)
    contract = contract.told(a_result(1, plc_boot=6), 3).told(CommandAnswer(3, 0), 4)
    assert contract.shown == a_result(1, plc_boot=6)
    assert image(contract)["Status.CommandAckSeq"] == 0


def block(trigger_seq: int = 10, command: int = 0, recipe: tuple[int, int] = (0, 0), ack: int = 0) -> dict[str, object]:
    return {"Control.Block": (2, PLC_BOOT, BOOT, trigger_seq, *recipe, ack, command)}


def asked(contract: Contract, values: dict[str, object]) -> tuple[Contract, tuple[PlcRequest, ...]]:
    return contract.written(values, 7)  # type: ignore[arg-type]


def test_the_same_command_in_a_block_and_as_a_tag_is_given_once() -> None:
    """The block has room for the lower half of CommandSeq."""
    contract, requests = asked(linked(10), {"Control.Command": 2, "Control.CommandSeq": 70_000})
    assert requests == (CommandRequest(70_000, 2),)
    contract, requests = asked(contract, block(command=2 | (70_000 % 65_536) << 16))
    assert requests == ()
    contract, requests = asked(contract, {"Control.CommandSeq": 70_000})
    assert requests == ()
    _, requests = asked(contract, block(command=3 | (70_001 % 65_536) << 16))
    assert requests == (CommandRequest(70_001 % 65_536, 3),)


def test_a_tag_beside_a_block_counts_more() -> None:
    _, requests = asked(linked(10), {**block(trigger_seq=10), "Control.TriggerSeq": 11, "Control.PartId": "x"})
    assert requests == (TriggerRequest(11, "x", 7, PLC_BOOT),)


def test_a_block_acknowledges_and_orders() -> None:
    contract, requests = asked(linked(10).told(a_result(10), 1), block(recipe=(3, 5), ack=10))
    assert [type(one).__name__ for one in requests] == ["ResultAcknowledged", "RecipeRequest"]
    assert contract.shown is None


def test_golden_parts_have_a_ready_bit_of_their_own() -> None:
    contract = linked().told(replace(READY, mode=Mode.GOLDEN), 1)
    tags = image(contract)
    assert (contract.accepts, tags["Status.TriggerReady"], bit(tags, 1)) == (True, False, False)
    assert (bit(tags, 0, "Status.Word2"), tags["Status.State"], tags["Status.Mode"]) == (True, 6, 2)
    _, requests = contract.written({"Control.TriggerSeq": 1}, 2)
    assert requests == (TriggerRequest(1, "", 2, PLC_BOOT),)
    assert not bit(image(contract.told(replace(READY, mode=Mode.GOLDEN, ready=False), 2)), 0, "Status.Word2")
    assert not bit(image(linked()), 0, "Status.Word2")
