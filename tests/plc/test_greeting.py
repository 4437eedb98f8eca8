"""How the two sides find each other: echo, baselines, starts of either side, and writes torn in any order."""

from __future__ import annotations

from itertools import permutations

import pytest
from contract_parts import BOOT, PLC_BOOT, READY, SECOND, a_result, bit, linked

from edge_inspector.datatypes import Reason
from edge_inspector.interfaces import (
    CommandAnswer,
    CommandRequest,
    LinkState,
    PartFeedback,
    PlcRequest,
    RecipeAnswer,
    RecipeRequest,
    RefusedByLink,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
)
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import image
from edge_inspector.plc.tags import ZEROS, Value

STALE: dict[str, Value] = {
    "Control.TriggerSeq": 41,
    "Control.RecipeReqNo": 3,
    "Control.RecipeReqSeq": 7,
    "Control.Command": 2,
    "Control.CommandSeq": 9,
    "Control.PartFeedback": 1,
    "Control.FeedbackSeq": 40,
    "Control.ResultAckSeq": 41,
}
HELLO: dict[str, Value] = {"Control.PlcBootId": PLC_BOOT, "Control.Heartbeat": 1}
ECHO: dict[str, Value] = {"Control.BootIdEcho": BOOT}


def written(contract: Contract, *requests: dict[str, Value]) -> tuple[Contract, list[PlcRequest]]:
    """Several write requests one after the other, and all that they ask, without the state of the link."""
    asked: list[PlcRequest] = []
    for at, values in enumerate(requests):
        contract, some = contract.written(values, at)
        asked += [one for one in some if not isinstance(one, LinkState)]
    return contract, asked


def triggers(*seqs: int) -> list[dict[str, Value]]:
    return [{"Control.TriggerSeq": seq} for seq in seqs]


def fresh() -> Contract:
    return Contract(BOOT).told(READY, 0)


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param([HELLO | STALE | ECHO], id="all in one request"),
        pytest.param([HELLO | STALE, ECHO], id="the echo behind"),
        pytest.param([HELLO, STALE, ECHO], id="in three requests"),
        pytest.param([STALE, HELLO, ECHO], id="the counts before the boot id"),
    ],
)
def test_what_stands_there_at_the_greeting_is_only_a_baseline(requests: list[dict[str, Value]]) -> None:
    contract, asked = written(fresh(), *requests)
    assert asked == []
    assert contract.linked
    _, asked = written(contract, {"Control.TriggerSeq": 42})
    assert asked == [TriggerRequest(42, "", 0, PLC_BOOT)]


def test_what_changes_in_the_request_that_brings_the_echo_is_a_baseline_too() -> None:
    contract, _ = written(fresh(), HELLO | {"Control.TriggerSeq": 41})
    contract, asked = written(contract, STALE | ECHO | {"Control.TriggerSeq": 42})
    assert asked == []
    assert contract.linked
    _, asked = written(contract, *triggers(43))
    assert asked == [TriggerRequest(43, "", 0, PLC_BOOT)]


def test_a_restarted_plc_may_greet_in_one_request_and_nothing_in_it_is_an_order() -> None:
    contract, asked = written(linked(10), STALE | ECHO | {"Control.PlcBootId": 6, "Control.TriggerSeq": 1})
    assert asked == []
    assert contract.linked
    _, asked = written(contract, *triggers(2))
    assert asked == [TriggerRequest(2, "", 0, 6)]


def test_a_restarted_plc_counts_from_where_it_likes_in_whatever_order_it_says_so() -> None:
    for order in ([*triggers(0), ECHO], [ECHO, *triggers(0)]):
        contract, asked = written(linked(10), {"Control.PlcBootId": 6}, *order)
        assert asked == []
        assert not bit(image(contract), 2)
        _, asked = written(contract, *triggers(1))
        assert asked == [TriggerRequest(1, "", 0, 6)]


def test_the_heartbeat_is_fresh_for_its_whole_time() -> None:
    contract = linked()
    assert contract.ticked(contract.stale_ns)[0].linked
    assert not contract.ticked(contract.stale_ns + 1)[0].linked


@pytest.mark.parametrize("order", list(permutations([HELLO, ECHO, {"Control.TriggerSeq": 41}])))
def test_a_count_far_from_zero_is_a_baseline_in_whatever_order_the_greeting_arrives(
    order: list[dict[str, Value]],
) -> None:
    contract, asked = written(fresh(), *order, ECHO)
    assert asked == []
    assert contract.linked
    assert image(contract)["Counter.Missed"] == 0
    _, asked = written(contract, {"Control.TriggerSeq": 42})
    assert asked == [TriggerRequest(42, "", 0, PLC_BOOT)]


def test_a_plc_that_never_wrote_its_count_begins_with_1() -> None:
    contract, _ = written(fresh(), HELLO, ECHO)
    _, asked = written(contract, {"Control.TriggerSeq": 1})
    assert asked == [TriggerRequest(1, "", 0, PLC_BOOT)]


def test_only_the_first_count_after_the_echo_may_be_a_baseline() -> None:
    contract, _ = written(fresh(), HELLO, ECHO, {"Control.TriggerSeq": 41})
    _, asked = written(contract, {"Control.TriggerSeq": 44})
    assert asked == [RefusedByLink(42, "", Reason.MISSED, 2), TriggerRequest(44, "", 0, PLC_BOOT)]


def test_a_number_that_was_used_is_never_accepted_again_in_one_start_of_the_plc() -> None:
    """A late write of an older number and the number itself once more: one trigger, one visible refusal."""
    _, asked = written(linked(10), *triggers(11, 10, 10, 11, 9, 11))
    assert asked == [
        TriggerRequest(11, "", 0, PLC_BOOT),
        RefusedByLink(10, "", Reason.PLC_RESTART),
        RefusedByLink(9, "", Reason.PLC_RESTART),
    ]


def test_nor_after_a_new_echo_of_the_same_start() -> None:
    """A PLC that restarts without a new PlcBootId: its numbers would match results of before."""
    contract, _ = written(linked(10), {"Control.TriggerSeq": 11}, {"Control.BootIdEcho": 0})
    assert not contract.linked
    contract, asked = written(contract, {"Control.TriggerSeq": 0}, ECHO, *triggers(1, 2))
    assert asked == [RefusedByLink(1, "", Reason.PLC_RESTART), RefusedByLink(2, "", Reason.PLC_RESTART)]
    _, asked = written(contract, {"Control.PlcBootId": 6, "Control.TriggerSeq": 2}, ECHO, {"Control.TriggerSeq": 3})
    assert asked == [TriggerRequest(3, "", 2, 6)]


def test_a_count_that_ran_ahead_without_the_echo_goes_on_from_there() -> None:
    contract, asked = written(linked(10), {"Control.BootIdEcho": 0}, {"Control.TriggerSeq": 14}, ECHO)
    assert asked == []
    _, asked = written(contract, {"Control.TriggerSeq": 15})
    assert asked == [TriggerRequest(15, "", 0, PLC_BOOT)]


def test_a_restarted_plc_can_order_under_the_numbers_of_before() -> None:
    order: dict[str, Value] = {"Control.RecipeReqNo": 3, "Control.RecipeReqSeq": 1}
    order |= {"Control.Command": 2, "Control.CommandSeq": 1, "Control.PartFeedback": 1, "Control.FeedbackSeq": 1}
    contract, _ = written(linked(), order)
    contract = contract.told(RecipeAnswer(1, True, Reason.NONE), 1).told(CommandAnswer(1, 0), 1)
    again: dict[str, Value] = {"Control.PlcBootId": 6, "Control.TriggerSeq": 0}
    contract, _ = written(contract, again, ECHO)
    tags = image(contract)
    answers = (tags["Status.RecipeReqAckSeq"], tags["Status.CommandAckSeq"])
    assert answers == (0, 0), "the answers to its predecessor would be taken for its own"
    _, asked = written(contract, order)
    assert asked == [PartFeedback(1, 6, True), RecipeRequest(1, 3, ""), CommandRequest(1, 2)]


def test_what_a_restarted_plc_has_kept_and_written_before_its_echo_orders_nothing() -> None:
    contract, _ = written(linked(), STALE | {"Control.TriggerSeq": 1})
    contract, asked = written(contract, {"Control.PlcBootId": 6} | STALE, STALE, ECHO, STALE)
    assert asked == []
    _, asked = written(contract, {"Control.RecipeReqSeq": 8}, {"Control.CommandSeq": 10}, {"Control.FeedbackSeq": 41})
    assert asked == [RecipeRequest(8, 3, ""), CommandRequest(10, 2), PartFeedback(41, 6, True)]


def test_an_answer_to_the_plc_before_is_not_shown_to_its_successor() -> None:
    contract, _ = written(linked(10), {"Control.TriggerSeq": 11})
    contract, _ = written(
        contract, {"Control.PlcBootId": 6, "Control.TriggerSeq": 10}, ECHO, {"Control.TriggerSeq": 11}
    )
    contract = contract.told(TriggerAccepted(11), 3)
    tags = image(contract)
    assert (tags["Status.TriggerAckSeq"], int(str(tags["Status.Word"])) >> 2 & 1) == (10, 0)
    contract = contract.told(TriggerRefused(11, Reason.OVERLOAD), 4)
    tags = image(contract)
    assert (tags["Status.TriggerAckSeq"], tags["Status.RefusedSeq"]) == (10, 11)


def test_until_something_is_answered_the_answers_show_where_the_count_stood() -> None:
    """0 could be the number of the next trigger, and would then answer it before it was asked."""
    contract, _ = written(linked(2**32 - 1), {"Control.TriggerSeq": 0})
    tags = image(contract)
    assert (tags["Status.TriggerAckSeq"], tags["Status.RefusedSeq"]) == (2**32 - 1, 2**32 - 1)
    assert int(str(tags["Status.Word"])) >> 2 & 1 == 0
    refused = contract.told(TriggerRefused(0, Reason.OVERLOAD), 1)
    assert (image(refused)["Status.RefusedSeq"], image(refused)["Status.TriggerAckSeq"]) == (0, 2**32 - 1)
    accepted = contract.told(TriggerAccepted(0), 1)
    assert (image(accepted)["Status.TriggerAckSeq"], image(accepted)["Status.RefusedSeq"]) == (0, 2**32 - 1)
    assert int(str(image(accepted)["Status.Word"])) >> 2 & 1 == 1


def test_before_the_greeting_nothing_can_be_read_and_after_it_everything() -> None:
    waiting = (
        "Status.TriggerReady", "Status.ResultsValid", "Status.TriggerAckSeq", "Status.RefusedSeq",
        "Status.RefusedReason", "Status.RecipeReqAckSeq", "Status.RecipeReqResult", "Status.CommandAckSeq",
        "Status.CommandResult", *(name for name in ZEROS if name.startswith("Result.")),
    )  # fmt: skip
    contract, _ = written(linked(10), {"Control.TriggerSeq": 11}, {"Control.TriggerSeq": 12})
    contract = contract.told(TriggerAccepted(11), 2).told(TriggerRefused(12, Reason.OVERLOAD), 2)
    contract = contract.told(a_result(11), 3).told(READY, 3)
    seen = image(contract)
    assert seen["Status.ResultsValid"]
    contract, _ = written(contract, {"Control.BootIdEcho": 0})
    hidden = image(contract)
    assert {name: hidden[name] for name in waiting} == {name: ZEROS[name] for name in waiting}
    assert hidden["Status.Block"][7] == hidden["Status.Block"][4] == 0  # type: ignore[index]
    assert not int(str(hidden["Status.Word"])) & (1 << 6 | 1 << 8 | 1 << 9 | 1 << 2)
    contract, _ = written(contract, ECHO)
    assert {name: image(contract)[name] for name in waiting} == {name: seen[name] for name in waiting}


def test_a_wrong_echo_is_explained() -> None:
    contract, _ = written(fresh(), HELLO, {"Control.BootIdEcho": BOOT - 1})
    assert image(contract)["Status.ErrorText"] == "Control.BootIdEcho is 76, expected 77: echo Status.BootId"


def test_an_unpaired_contract_needs_no_greeting_and_no_heartbeat() -> None:
    contract = Contract(BOOT, paired=False).told(READY, 0)
    assert contract.linked
    assert contract.accepts
    contract, asked = contract.ticked(0)
    assert asked == (LinkState(alive=True, plc_boot_id=0),), "nobody shows a heartbeat by which he could be missed"
    contract, asked = contract.written({"Control.PartId": "x", "Control.TriggerSeq": 1}, 100 * SECOND)
    assert asked == (TriggerRequest(1, "x", 100 * SECOND, 0),)
    contract, asked = contract.ticked(1000 * SECOND)
    assert asked == ()
    tags = image(contract.told(TriggerAccepted(1), 1).told(a_result(1, plc_boot=0), 2))
    assert (tags["Status.PlcLinkOk"], tags["Status.ErrorCode"], tags["Result.TriggerSeq"]) == (True, 0, 1)


def test_an_empty_write_changes_nothing() -> None:
    contract = linked()
    assert contract.written({}, 1) == (contract, ())
