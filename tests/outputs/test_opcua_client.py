"""The client link against a PLC's server: one part from greeting to acknowledgement, types, order, failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from asyncua import ua
from opcua_client_rig import (
    ALL,
    BOOT,
    PLC_BOOT,
    READY,
    FakePlc,
    Faults,
    SetClock,
    eventually,
    link_to,
    mapping,
    received_for_ever,
    result,
    running,
    station,
)

from edge_inspector.datatypes import Evaluation, Mode, Reason
from edge_inspector.errors import OutputError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import (
    Alive,
    LinkState,
    RefusedByLink,
    ResultAcknowledged,
    ResultWritten,
    TriggerAccepted,
    TriggerRequest,
)
from edge_inspector.outputs.opcua_client.session import Session
from edge_inspector.plc.function_block import READS, FunctionBlock

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[FakePlc]:
    async with running() as plc:
        yield plc


@pytest.fixture
async def plc(server: FakePlc) -> AsyncIterator[FakePlc]:
    """The server as after a download of the PLC's program."""
    server.faults = Faults()
    await server.cleared()
    yield server
    await eventually(lambda: server.sessions == 0)


async def test_a_part_goes_from_trigger_to_acknowledgement(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path)) as s:
        await s.linked(plc)
        await s.link.tell(READY)
        await eventually(lambda: plc["Status.TriggerReady"])
        await plc.put(PartId="board-1", TriggerSeq=11)
        (trigger,) = await s.until(TriggerRequest)
        assert (trigger.trigger_seq, trigger.part_id, trigger.plc_boot_id) == (11, "board-1", PLC_BOOT)
        await s.link.tell(TriggerAccepted(11))
        await eventually(lambda: plc["Status.TriggerAckSeq"] == 11)
        await s.link.tell(result(11, Evaluation.NOT_OK, "board-1"))
        (written,) = await s.until(ResultWritten)
        assert written.result_ids == ("s7.0badcafe.11",)
        assert plc["Status.ResultsValid"]
        assert (plc["Result.TriggerSeq"], plc["Result.Evaluation"], plc["Result.PartId"]) == (11, 2, "board-1")
        assert (plc["Result.BootId"], plc["Result.PlcBootId"], plc["Result.RecipeNo"]) == (BOOT, PLC_BOOT, 1)
        assert plc["Result.DefectClass"] == [2, *[0] * 15]
        await plc.put(ResultAckSeq=11)
        assert await s.until(ResultAcknowledged) == [ResultAcknowledged(11, ("s7.0badcafe.11",))]
        await eventually(lambda: not plc["Status.ResultsValid"])
        assert (plc["Result.TriggerSeq"], plc["Result.Evaluation"]) == (0, 0)


async def test_a_verdict_is_one_write_with_number_and_flags_behind_the_data(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path)) as s:
        await s.linked(plc)
        await s.link.tell(result(11))  # the first one with texts of this length
        await s.until(ResultWritten)
        await plc.put(ResultAckSeq=11)
        await eventually(lambda: not plc["Status.ResultsValid"])
        plc.writes.clear()
        await s.link.tell(result(12))
        await eventually(lambda: plc["Status.ResultsValid"])
        (verdict,) = [one for one in plc.writes if "Result.TriggerSeq" in one]
        names = list(verdict)
        assert names[-3:] == ["Result.TriggerSeq", "Status.Word", "Status.ResultsValid"]
        assert {"Result.Evaluation", "Result.PartId", "Result.RecipeNo", "Counter.Ok"} < {*names[:-3]}


async def test_a_result_is_taken_back_before_the_next_one_is_written(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path, acknowledge=False, result_hold_ms=60_000)) as s:
        await s.linked(plc)
        await s.link.tell(result(11))
        await eventually(lambda: plc["Result.TriggerSeq"] == 11)
        plc.writes.clear()
        await s.link.tell(result(12, Evaluation.NOT_OK))
        await eventually(lambda: plc["Result.TriggerSeq"] == 12)
        down, up = [one for one in plc.writes if "Result.TriggerSeq" in one]
        assert (down["Status.ResultsValid"], down["Result.TriggerSeq"], down["Result.Evaluation"]) == (False, 0, 0)
        assert down["Status.Word"] & 0b11_0100_0000 == 0
        assert [*up][-2:] == ["Status.Word", "Status.ResultsValid"]
        assert up["Status.ResultsValid"] is True


async def test_a_result_that_is_overtaken_before_it_is_written_is_never_written(plc: FakePlc, tmp_path: Path) -> None:
    link = link_to(plc.port, tmp_path, acknowledge=False, result_hold_ms=60_000)
    async with station(link) as s:
        await s.linked(plc)
        await link.tell(result(11))
        await link.tell(result(12))  # nothing was awaited that lets the link write
        (written,) = await s.until(ResultWritten)
        assert written.result_ids == ("s7.0badcafe.12",)
        assert 11 not in plc.seen("Result.TriggerSeq")


async def test_a_result_that_the_plc_cannot_see_is_not_said_to_be_written(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path)) as s:
        await s.linked(plc)
        await plc.put(BootIdEcho=BOOT + 1)
        await s.until(LinkState)
        await s.link.tell(result(11))
        await s.link.tell(Alive())
        await eventually(lambda: plc["Status.Heartbeat"] == 1)
        assert not plc["Status.ResultsValid"]
        assert not [one for one in s.requests if isinstance(one, ResultWritten)]
        await plc.put(BootIdEcho=BOOT)
        (written,) = await s.until(ResultWritten)
        assert written.result_ids == ("s7.0badcafe.11",)


async def test_every_result_in_the_ring_has_reached_the_plc(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path, map=mapping((*ALL, "Result.Ring")))) as s:
        await s.linked(plc)
        await s.link.tell(result(11))
        await s.link.tell(result(12))
        (written,) = await s.until(ResultWritten)
        assert sorted(written.result_ids) == ["s7.0badcafe.11", "s7.0badcafe.12"]
        assert plc["Result.Ring"][:2] == [11, 1 + 256]
        assert plc["Result.Ring"][8:10] == [12, 1 + 256]
        assert plc["Result.TriggerSeq"] == 11  # the first one waits in the slot


async def test_blocks_and_ring_alone_carry_a_part(plc: FakePlc, tmp_path: Path) -> None:
    tags = ("Control.Block", "Control.PartId", "Status.Block", "Result.Ring")
    async with station(link_to(plc.port, tmp_path, map=mapping(tags))) as s:
        await eventually(lambda: plc["Status.Block"][1] == BOOT)
        await plc.put(Block=[1, PLC_BOOT, 0, 10, 0, 0, 0, 0])
        await s.until(LinkState)
        await plc.put(Block=[2, PLC_BOOT, BOOT, 10, 0, 0, 0, 0])
        await eventually(lambda: plc["Status.Block"][2] & 1 << 15 != 0)  # PlcLinkOk
        await s.link.tell(READY)
        await plc.put(PartId="board", Block=[3, PLC_BOOT, BOOT, 11, 0, 0, 0, 0])
        (trigger,) = await s.until(TriggerRequest)
        assert (trigger.trigger_seq, trigger.part_id) == (11, "board")
        await s.link.tell(result(11))
        await s.until(ResultWritten)
        assert plc["Result.Ring"][:6] == [11, 1 + 256, 0, 1, BOOT, PLC_BOOT]
        assert plc["Status.Block"][7] == 11


async def test_part_id_and_number_of_a_torn_read_are_never_mixed(plc: FakePlc, tmp_path: Path) -> None:
    tags = tuple(sorted(ALL, key=lambda tag: tag != "Control.PartId"))  # read before TriggerSeq
    async with station(link_to(plc.port, tmp_path, map=mapping(tags))) as s:
        await s.linked(plc)
        await s.link.tell(READY)
        await plc.put(PartId="old")
        await anyio.sleep(0.03)
        plc.scan_behind = ("Control.PartId", {"Control.PartId": "new", "Control.TriggerSeq": 11})
        (trigger,) = await s.until(TriggerRequest)
        assert (trigger.trigger_seq, trigger.part_id) == (11, "new")


async def test_a_heartbeat_that_stands_still_links_nobody(plc: FakePlc, tmp_path: Path) -> None:
    await plc.put(Heartbeat=1234)
    async with station(link_to(plc.port, tmp_path)) as s:
        await eventually(lambda: plc["Status.BootId"] == BOOT)
        await plc.put(PlcBootId=PLC_BOOT, BootIdEcho=BOOT, TriggerSeq=10)
        reads = plc.reads
        await eventually(lambda: plc.reads > reads + 5)
        assert not plc["Status.PlcLinkOk"]
        assert LinkState(True, PLC_BOOT) not in s.requests
        await plc.beat()
        await eventually(lambda: plc["Status.PlcLinkOk"])


async def test_the_heartbeat_is_written_at_its_own_interval(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path, heartbeat_ms=5000)) as s:
        await s.linked(plc)
        for n in range(20):
            await s.link.tell(Alive())
            await s.link.tell(replace(READY, queue_depth=n))
            await eventually(lambda n=n: plc["Health.QueueDepth"] == n)  # type: ignore[misc]
        assert plc.seen("Status.Heartbeat") == [0]


async def test_the_heartbeat_follows_the_verdict_path(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path)) as s:
        for n in range(1, 4):
            await s.link.tell(Alive())
            await eventually(lambda n=n: plc["Status.Heartbeat"] == n)  # type: ignore[misc]
        reads = plc.reads
        await eventually(lambda: plc.reads > reads + 10)  # time goes on, the verdict path does not
        assert plc["Status.Heartbeat"] == 3


async def test_a_golden_part_is_never_ok(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path)) as s:
        await s.linked(plc)
        await s.link.tell(result(11, mode=Mode.GOLDEN))
        await s.until(ResultWritten)
        assert (plc["Result.Evaluation"], plc["Result.Mode"], plc["Result.GoldenOutcome"]) == (0, 2, 1)


async def test_a_server_that_takes_no_timestamps_gets_none_and_is_asked_once(plc: FakePlc, tmp_path: Path) -> None:
    plc.faults.no_timestamps = True
    link = link_to(plc.port, tmp_path)
    async with station(link) as s:
        await s.linked(plc)
        assert plc.refusals
    plc.refusals.clear()
    async with station(link) as s:
        await link.tell(result(11))
        await s.until(ResultWritten)
    assert not plc.refusals


async def test_a_server_with_twenty_nodes_a_call_gets_the_flags_in_the_last_call(plc: FakePlc, tmp_path: Path) -> None:
    plc.faults.most_nodes = 20
    async with station(link_to(plc.port, tmp_path)) as s:
        await s.linked(plc)
        plc.writes.clear()
        await s.link.tell(result(11, Evaluation.NOT_OK))
        await s.until(ResultWritten)
        assert max(map(len, plc.writes)) <= 20
        assert plc["Status.ResultsValid"]
        at = {tag: i for i, write in enumerate(plc.writes) for tag in write if tag.startswith(("Result.", "Status."))}
        assert at["Status.ResultsValid"] == max(at.values()) > at["Result.Evaluation"]


async def test_a_text_that_is_too_long_is_cut_and_stays_short(plc: FakePlc, tmp_path: Path) -> None:
    plc.faults.longest_text = 10
    link = link_to(plc.port, tmp_path)
    async with station(link) as s:
        await s.linked(plc)
        await link.tell(result(11, part_id="a-part-id-of-thirty-characters"))
        await eventually(lambda: plc["Status.ResultsValid"])
        assert plc["Result.PartId"] == "a-part-"
        assert plc["Result.TriggerSeq"] == 11
        valid = [write for write in plc.writes if write.get("Status.ResultsValid")]
        assert len(valid) == 1  # not once before the text was there
    plc.refusals.clear()
    async with station(link):
        await eventually(lambda: plc["Status.ResultsValid"])
        assert plc["Result.PartId"] == "a-part-"
    assert "Result.PartId" not in plc.refusals


async def test_a_refused_value_ends_the_session_and_no_ok_is_left(plc: FakePlc, tmp_path: Path) -> None:
    link = link_to(plc.port, tmp_path)
    async with station(link) as s:
        await s.linked(plc)
    plc.faults.refused = {"Result.Evaluation": int(ua.StatusCodes.BadOutOfRange)}
    await link.tell(result(11))
    async with link:
        with pytest.raises(OutputError, match=r"Result\.Evaluation: node nsu=.*Evaluation\" refuses .*BadOutOfRange"):
            await received_for_ever(link)
    assert plc["Result.Evaluation"] == 0
    assert not plc["Status.ResultsValid"]


async def test_a_value_that_is_bad_for_a_moment_is_no_order(plc: FakePlc, tmp_path: Path) -> None:
    clock = SetClock()
    async with station(link_to(plc.port, tmp_path, clock)) as s:
        await s.linked(plc)
        await s.link.tell(READY)
        plc.faults.bad = {"Control.PartId": int(ua.StatusCodes.BadWaitingForInitialData)}
        await plc.put(PartId="one", TriggerSeq=11)
        reads = plc.reads
        await eventually(lambda: plc.reads > reads + 5)
        assert not s.requests
        clock.ahead_s += 0.6
        reads = plc.reads
        await eventually(lambda: plc.reads > reads + 5)
        plc.faults.bad = {}
        (request,) = await s.until(TriggerRequest, RefusedByLink)
        assert request == RefusedByLink(11, "one", Reason.PLC_LINK)  # nobody knows how old it is


async def test_a_node_that_is_gone_ends_the_session(plc: FakePlc, tmp_path: Path) -> None:
    async with link_to(plc.port, tmp_path) as link:
        plc.faults.bad = {"Control.PartId": int(ua.StatusCodes.BadNodeIdUnknown)}
        with pytest.raises(OutputError, match=r"Control\.PartId: node .* is gone \(BadNodeIdUnknown\)"):
            await link.receive()


async def test_a_trigger_of_which_nobody_knows_the_age_is_refused(plc: FakePlc, tmp_path: Path) -> None:
    link = link_to(plc.port, tmp_path)
    async with station(link) as s:
        await s.linked(plc)
    await plc.put(PartId="waited", TriggerSeq=11)
    await plc.beat()
    async with station(link) as s:
        (refused,) = await s.until(RefusedByLink)
        assert (refused.trigger_seq, refused.part_id, refused.reason) == (11, "waited", Reason.PLC_LINK)
        await eventually(lambda: plc["Status.RefusedSeq"] == 11)
        await plc.beat()
        await eventually(lambda: plc["Status.PlcLinkOk"])
        assert not [one for one in s.requests if isinstance(one, TriggerRequest)]


async def test_a_trigger_behind_a_long_silence_in_one_session_is_refused_too(plc: FakePlc, tmp_path: Path) -> None:
    clock = SetClock()
    async with station(link_to(plc.port, tmp_path, clock)) as s:
        await s.linked(plc)
        await s.link.tell(READY)
        clock.ahead_s += 0.6  # a read that took so long: the PLC has given the part up
        beat = plc["Control.Heartbeat"] + 1
        plc.poke({"Control.PartId": "old", "Control.TriggerSeq": 11, "Control.Heartbeat": beat})
        (request,) = await s.until(RefusedByLink, TriggerRequest)
        assert (request.trigger_seq, getattr(request, "reason", None)) == (11, Reason.PLC_LINK)
        await plc.beat()
        await eventually(lambda: plc["Status.PlcLinkOk"])
        await plc.put(PartId="new", TriggerSeq=12)
        (trigger,) = await s.until(TriggerRequest)
        assert trigger.part_id == "new"


async def test_a_reconnect_takes_back_what_the_plc_holds_before_anything_else(plc: FakePlc, tmp_path: Path) -> None:
    link = link_to(plc.port, tmp_path)
    async with station(link) as s:
        await s.linked(plc)
        await link.tell(result(11))
        await s.until(ResultWritten)
    plc.poke({"Status.ResultsValid": True, "Result.Evaluation": 1, "Result.TriggerSeq": 7, "Status.Word": 0xFFFF})
    plc.writes.clear()
    async with station(link) as s:
        await eventually(lambda: plc["Result.TriggerSeq"] == 11)
        first, data, flags = plc.writes[:3]
        assert (first["Status.ResultsValid"], first["Result.TriggerSeq"], first["Result.Evaluation"]) == (False, 0, 0)
        assert first["Status.Word"] & 0b11_0100_0000 == 0
        assert "Result.PartId" in data
        assert [*flags][-2:] == ["Status.ResultsValid", "Status.TriggerReady"]
        assert not [one for one in s.requests if isinstance(one, ResultWritten)]  # it was told once


async def test_a_closed_link_leaves_neither_a_result_nor_a_session(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path)) as s:
        await s.linked(plc)
        await s.link.tell(READY)
        await s.link.tell(result(11))
        await eventually(lambda: plc["Status.ResultsValid"] and plc["Status.TriggerReady"])
        assert plc.sessions == 1
    assert (plc["Status.ResultsValid"], plc["Status.TriggerReady"], plc["Status.Word"]) == (False, False, 0)
    assert (plc["Result.TriggerSeq"], plc["Result.Evaluation"]) == (0, 0)
    await eventually(lambda: plc.sessions == 0)


@pytest.mark.parametrize("last", [1, 2, 3])
async def test_a_link_that_is_closed_in_the_middle_of_a_write_leaves_no_result(
    plc: FakePlc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    link = link_to(plc.port, tmp_path)
    written = 0

    async def cut_off(session: Session, *args: Any, **kwargs: Any) -> Any:
        nonlocal written
        answers = await write(session, *args, **kwargs)
        written += 1
        if written == last:  # the server has taken it, and we do not hear of it
            stop.cancel()
            await anyio.sleep(10)
        return answers

    async with station(link) as s:
        await s.linked(plc)
        await link.tell(READY)
    plc.poke({"Status.TriggerReady": True, "Status.Word": 0xFFFF})  # as a lost connection leaves it
    await link.tell(result(11))
    with anyio.CancelScope() as stop:
        async with link:
            write = Session.write
            monkeypatch.setattr(Session, "write", cut_off)
            await received_for_ever(link)
    assert written == last + 1
    assert (plc["Status.ResultsValid"], plc["Status.TriggerReady"], plc["Status.Word"]) == (False, False, 0)
    assert (plc["Result.TriggerSeq"], plc["Result.Evaluation"]) == (0, 0)


async def test_a_write_whose_answer_nobody_has_heard_is_taken_back_all_the_same(
    plc: FakePlc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PLC has the flags of a result that is held no longer when the next cycle begins."""
    clock = SetClock()
    link = link_to(plc.port, tmp_path, clock, acknowledge=False)
    async with station(link) as s:
        await s.linked(plc)
    await link.tell(result(11))

    async def cut_off(session: Session, *args: Any, **kwargs: Any) -> Any:
        answers = await write(session, *args, **kwargs)
        if plc["Status.ResultsValid"]:
            stop.cancel()
            await anyio.sleep(10)
        return answers

    write = Session.write
    async with link:
        with anyio.CancelScope() as stop, monkeypatch.context() as patched:
            patched.setattr(Session, "write", cut_off)
            await received_for_ever(link)
        assert (plc["Result.TriggerSeq"], plc["Status.ResultsValid"]) == (11, True)
        clock.ahead_s = 1
        async with anyio.create_task_group() as group:
            group.start_soon(received_for_ever, link)
            await eventually(lambda: plc["Result.TriggerSeq"] == 0 and not plc["Status.ResultsValid"])
            group.cancel_scope.cancel()


async def test_receive_may_be_cancelled_at_any_await(plc: FakePlc, tmp_path: Path) -> None:
    link = link_to(plc.port, tmp_path)
    async with station(link) as s:
        await s.linked(plc)
    told: list[str] = []
    async with link:
        for seq in range(11, 21):
            await plc.put(ResultAckSeq=seq - 1)
            await plc.beat()
            await link.tell(result(seq))
            wait_s = 0.0001
            while len(told) < seq - 10:
                wait_s *= 1.5
                with anyio.move_on_after(wait_s):
                    while True:
                        request = await link.receive()
                        if isinstance(request, ResultWritten):
                            told += request.result_ids
        assert (plc["Result.TriggerSeq"], plc["Result.PartId"], plc["Result.Evaluation"]) == (20, "part-20", 1)
    assert told == [f"s7.0badcafe.{seq}" for seq in range(11, 21)]


async def test_a_subscription_brings_the_trigger(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path, subscribe=True, cycle_ms=20)) as s:
        await s.linked(plc)
        await s.link.tell(READY)
        for seq in range(11, 15):
            await plc.put(PartId=f"p{seq}", TriggerSeq=seq)
            await s.until(TriggerRequest)
            assert [(one.trigger_seq, one.part_id) for one in s.requests if isinstance(one, TriggerRequest)] == [
                (seq, f"p{seq}")
            ]
            s.requests.clear()


@pytest.mark.parametrize("how", ["it tells nothing", "it is deleted"])
async def test_a_subscription_that_goes_silent_is_noticed(plc: FakePlc, tmp_path: Path, how: str) -> None:
    async with link_to(plc.port, tmp_path, subscribe=True, cycle_ms=20) as link:
        with anyio.move_on_after(0.2):
            await link.receive()
        if how == "it tells nothing":
            plc.forget_subscribers()
        else:
            await plc.end_subscriptions()
        await plc.put(TriggerSeq=500)
        with pytest.raises(OutputError, match="subscription"):
            await received_for_ever(link)


async def test_a_ring_that_follows_a_change_seen_before_is_no_silence(plc: FakePlc, tmp_path: Path) -> None:
    clock = SetClock()
    async with station(link_to(plc.port, tmp_path, clock, subscribe=True, cycle_ms=20)) as s:
        await s.linked(plc)
        plc.poke({"Control.TriggerSeq": 11})  # told to nobody: a read finds it
        await s.until(TriggerRequest)
        s.requests.clear()
        await plc.put(TriggerSeq=12)  # told
        await s.until(TriggerRequest)
        clock.ahead_s += 1.5
        reads = plc.reads
        await eventually(lambda: plc.reads > reads + 2)


async def test_the_link_renews_its_secure_channel_in_time(plc: FakePlc, tmp_path: Path) -> None:
    clock = SetClock()
    async with station(link_to(plc.port, tmp_path, clock)) as s:
        await s.linked(plc)
        before = plc.tokens
        clock.ahead_s += 2701
        await eventually(lambda: plc.tokens > before)
        reads = plc.reads
        await eventually(lambda: plc.reads > reads + 3)


async def test_asyncuas_client_has_no_task_of_its_own(plc: FakePlc, tmp_path: Path) -> None:
    async with link_to(plc.port, tmp_path, subscribe=True) as link:
        with anyio.move_on_after(0.1):
            await link.receive()
        places = [task.get_coro().cr_code.co_filename for task in asyncio.all_tasks()]  # type: ignore[union-attr]
        assert not [place for place in places if "/asyncua/client/" in place or "/asyncua/common/" in place]
        assert [place for place in places if "/asyncua/server/" in place]  # the list shows tasks at all


async def test_a_plc_that_has_lost_its_memory_gets_the_whole_image_again(plc: FakePlc, tmp_path: Path) -> None:
    async with station(link_to(plc.port, tmp_path)) as s:
        await s.linked(plc)
        await s.link.tell(result(11))
        await s.until(ResultWritten)
        plc.writes.clear()
        zeros = {"Status.BootId": 0, "Result.PartId": "", "Result.TriggerSeq": 0, "Ident.StationId": ""}
        plc.poke(zeros)  # STOP and RUN: the session stays, the data block begins anew
        await eventually(lambda: plc["Status.BootId"] == BOOT and plc["Result.TriggerSeq"] == 11)
        assert (plc["Result.PartId"], plc["Ident.StationId"]) == ("part-11", "s7")
        assert plc.writes[0]["Status.ResultsValid"] is False


async def test_a_plc_that_lets_nobody_read_our_boot_id_gets_it_again_when_it_starts_anew(tmp_path: Path) -> None:
    async with running() as plc:
        await plc.only_to_be_written("Status.BootId")
        async with station(link_to(plc.port, tmp_path)) as s:
            await s.linked(plc)
            await plc.cleared()
            await plc.put(PlcBootId=PLC_BOOT + 1)
            await eventually(lambda: plc["Status.BootId"] == BOOT)


async def test_a_plc_whose_program_writes_our_tags_is_told_so(plc: FakePlc, tmp_path: Path) -> None:
    async with link_to(plc.port, tmp_path) as link:
        plc.faults.reads_as = {"Status.BootId": 0}
        with pytest.raises(OutputError, match=r"does not keep Status\.BootId"):
            await received_for_ever(link)


async def test_only_good_parts_pass_the_gate_of_a_plc_with_our_function_block(plc: FakePlc, tmp_path: Path) -> None:
    """The shipped rule over the PLC's own memory, scanned in between all writes."""
    async with station(link_to(plc.port, tmp_path)) as s:
        await s.link.tell(READY)
        block = FunctionBlock(PLC_BOOT, recipe_no=1, gate_ns=int(5e9), one_read=False, orders_recipe=False)
        passed: dict[int, bool] = {}
        with anyio.fail_after(20):
            while len(passed) < 8:
                now = SystemClock().monotonic_ns()
                block = block.scanned({tag: plc[tag] for tag in READS["slot"]}, now)
                done = [part.seq for part in block.parts if part.verdict is not None]
                for seq in done:
                    passed[seq] = block.at_gate(seq, now)
                    block = block.left(seq)
                if block.ready and block.beat_ns is not None and not block.parts:
                    block = block.announce(f"board-{block.seq + 1}", now)
                await plc.put(**{tag.partition(".")[2]: value for tag, value in block.writes().items()})
                await s.link.tell(Alive())
                for trigger in [one for one in s.requests if isinstance(one, TriggerRequest)]:
                    good = Evaluation.OK if trigger.trigger_seq % 2 else Evaluation.NOT_OK
                    await s.link.tell(TriggerAccepted(trigger.trigger_seq))
                    await s.link.tell(result(trigger.trigger_seq, good, trigger.part_id))
                    await s.link.tell(READY)
                s.requests.clear()
                await anyio.sleep(0.003)
        assert passed == {seq: seq % 2 == 1 for seq in range(1, 9)}


async def test_a_plc_that_comes_back_with_its_namespaces_in_another_order_is_found(
    plc: FakePlc, tmp_path: Path
) -> None:
    """The last test with this server: its variables stay where they are then."""
    link = link_to(plc.port, tmp_path)
    assert plc.nodes["Result.Mode"].NamespaceIndex == 3
    async with station(link) as s:
        await s.linked(plc)
        await link.tell(result(11))
        await s.until(ResultWritten)
    async with link:
        await plc.restart_with_namespaces_moved()
        with pytest.raises(OutputError):
            await received_for_ever(link)
    assert plc.nodes["Result.Mode"].NamespaceIndex == 4
    async with station(link) as s:
        await s.linked(plc)
        assert plc["Ident.StationId"] == "s7"
