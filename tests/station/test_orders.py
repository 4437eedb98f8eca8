"""Orders of people, web services and brokers: what they may change, who answers for it, and what stays the PLC's."""

from __future__ import annotations

import json
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import get_args

import anyio
import pytest
from order_rig import JumpingClock, audited, begun, client, order, quiet_line
from station_rig import Rig

from edge_inspector.control import Control
from edge_inspector.datatypes import Evaluation, Event, InspectionResult, Mode, OutboxMessage, Reason, SavedImage
from edge_inspector.interfaces import (
    CommandAnswer,
    CommandRequest,
    Order,
    OrderAnswer,
    RecipeAnswer,
    RecipeRequest,
    TriggerRefused,
)
from edge_inspector.station import daemon
from edge_inspector.station.events import LineEvent, Ordered

pytestmark = pytest.mark.anyio


async def test_a_halt_by_order_ends_ready_until_the_same_way_back(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        assert (await order(rig, "halt")).done
        status = await link.status(lambda s: not s.ready)
        assert status.halted
        assert status.error_text.startswith("halted by anna (uid ")
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.NOT_READY
        assert (await order(rig, "halt", "bert")).text.startswith("was halted by anna")
        assert await order(rig, "resume", "bert") == OrderAnswer(done=True)
        await link.ready()
        link.trigger(2)
        assert (await link.result(2)).evaluation is Evaluation.OK
        assert (await order(rig, "resume")).text == "was not halted"
    assert [(who, what) for who, what, _ in audited(rig)] == [("anna", "halted"), ("bert", "resumed")]


async def test_what_the_plc_has_halted_no_order_resumes(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        link.ask(CommandRequest(1, 2))
        await link.status(lambda s: s.halted)
        answer = await order(rig, "resume")
        assert (answer.done, answer.text) == (False, "the PLC has halted the station: it has to send SelectAutomatic")
        await order(rig, "halt")
        link.ask(CommandRequest(2, 3))
        await link.until(CommandAnswer, lambda a: a.seq == 2)
        assert (await link.status(lambda s: "anna" in s.error_text)).halted, "nor does the PLC resume what anna halted"
        assert (await order(rig, "resume")).done
        await link.ready()


async def test_a_recipe_is_the_plcs_where_the_plc_is_the_master(rig: Rig) -> None:
    rig.recipe("first", number=1)
    rig.recipe("second", number=2)
    async with rig.running() as link:
        await link.ready()
        answer = await order(rig, "recipe", name="second")
        assert not answer.done
        assert "link 'plc' (station.master)" in answer.text
        assert (await link.ready()).recipe == "first"


async def test_a_recipe_is_ordered_by_name_or_number_where_the_station_is_its_own_master(rig: Rig) -> None:
    rig.recipe("first", number=1, trigger="timer", period_s=0.05)
    rig.recipe("second", number=2, trigger="timer", period_s=0.05)
    rig.master = ""
    async with rig.running() as link:
        await link.ready()
        assert await order(rig, "recipe", name="second") == OrderAnswer(done=True)
        assert (await link.until(InspectionResult, lambda r: r.trigger.recipe == "second")).trigger.recipe_no == 2
        answer = await order(rig, "recipe", number=9)
        assert not answer.done
        assert answer.text.startswith("recipe 9: expected one of 1 first, 2 second; the station is not READY until")
        refused = await link.status(lambda s: not s.ready)
        assert (refused.error_code, refused.recipe_ready) == (301, False), "as of a PLC's: the line has changed product"
        assert "anna" in refused.error_text
        assert (await order(rig, "recipe", number=1)).done
        await link.ready()
    assert [detail for _, what, detail in audited(rig) if what == "recipe_selected"] == [
        "first -> second",
        "second -> first",
    ]


async def test_a_line_stop_and_an_alarm_are_acknowledged_by_name(rig: Rig) -> None:
    rig.recipe("r")
    rig.line_stop_after = 2
    async with rig.running() as link:
        await link.ready()
        assert (await order(rig, "ack_line_stop")).text == "no line stop was asked for"
        assert (await order(rig, "reset")).text == "there was no alarm"
        rig.cameras["a"].gray = 255
        for seq in (1, 2):
            await link.ready()
            link.trigger(seq)
            assert (await link.result(seq)).evaluation is Evaluation.NOT_OK
        assert (await link.status(lambda s: s.line_stop != 0)).alarm
        assert await order(rig, "ack_line_stop") == OrderAnswer(done=True)
        assert await order(rig, "reset", "bert") == OrderAnswer(done=True)
        await link.status(lambda s: s.line_stop == 0 and not s.alarm)
    assert audited(rig) == [
        ("anna", "line_stop_acknowledged", "reason number 1001"),
        ("bert", "alarms_reset", "the station's alarm is off until the next one"),
    ]


async def test_what_others_have_seen_or_done_is_booked_for_them(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        assert (await order(rig, "audit", what="image_read", detail="s.1.2 camera a")).done
        assert not (await order(rig, "audit", what="Not A Word", detail="")).done
        assert not (await order(rig, "audit", what="image_read", detail="\ud800")).done
    assert audited(rig) == [("anna", "image_read", "s.1.2 camera a")]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("fly", {}, "order 'fly' is not known; known are audit, ack_line_stop, reset, halt, resume, "),
        ("setup", {}, "order setup: on: Field required"),
        ("setup", {"on": "yes"}, "order setup: on: Input should be a valid boolean"),
        ("setup", {"on": 1}, "order setup: on: Input should be a valid boolean"),
        ("halt", {"why": "lens"}, "order halt: why: Extra inputs are not permitted"),
        ("recipe", {"number": -1}, "order recipe: number: Input should be greater than or equal to 0"),
        ("live", {"camera": "b"}, "camera 'b': expected one of a"),
        ("inspect", {"pictures": {"a": {}}}, "order inspect: pictures.a.file: Field required"),
        ("audit", {"what": "x", "detail": "y" * 1001}, "order audit: detail: String should have at most 1000 "),
    ],
)  # fmt: skip
async def test_an_order_that_makes_no_sense_is_refused_with_what_was_expected(
    rig: Rig, name: str, arguments: dict[str, object], said: str
) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        answer = await order(rig, name, **arguments)
        assert not answer.done
        assert answer.text.startswith(said)
        assert (await link.ready()).mode is Mode.PRODUCTION
    assert audited(rig) == []


@pytest.mark.parametrize("depth", [100, 500, 900, 1300])
async def test_arguments_within_arguments_within_arguments_hurt_nobody(rig: Rig, depth: int) -> None:
    rig.recipe("r")
    nested = '{"pictures": ' + "[" * depth + "]" * depth + "}"
    async with rig.running() as link:
        await link.ready()
        await begun(rig)
        async with await anyio.connect_unix(rig.folder / "c.sock") as stream:
            for name in ("halt", "audit", "inspect", "fly"):
                line = f'{{"command": "order", "name": "{name}", "arguments": {nested}}}\n'
                await stream.send(line.encode())
                assert json.loads(await stream.receive()).keys() <= {"answer", "error"}
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK


async def test_what_the_plc_orders_stands_in_the_audit_trail_with_its_link(rig: Rig) -> None:
    rig.recipe("first", number=1)
    rig.recipe("second", number=2)
    async with rig.running() as link:
        await link.ready()
        link.ask(RecipeRequest(1, 2, ""))
        link.ask(RecipeRequest(2, 2, ""))  # changes nothing
        link.ask(CommandRequest(1, 8))
        link.ask(CommandRequest(2, 99))  # unknown
        await link.until(CommandAnswer, lambda a: a.seq == 2)
        assert len([m for m in link.told if isinstance(m, RecipeAnswer) and m.accepted]) == 2
    assert audited(rig) == [("plc:plc", "recipe_selected", "first -> second"), ("plc:plc", "golden_mode", "on")]


class OrderingPublisher:
    """A destination that orders what the test puts in, and keeps the answers."""

    destination = "broker"

    def __init__(self) -> None:
        self.ordered: queue.SimpleQueue[tuple[object, Order]] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[object, OrderAnswer]] = queue.SimpleQueue()

    def __enter__(self) -> OrderingPublisher:
        return self

    def __exit__(self, *exc: object) -> None: ...
    def render(self, record: InspectionResult | Event | SavedImage) -> tuple[OutboxMessage, ...]:
        return ()

    def publish(self, messages: Sequence[OutboxMessage]) -> int:
        return len(messages)

    def announce(self, state: str, state_no: int, recipe: str) -> None: ...
    def metrics(self, values: dict[str, float]) -> None: ...
    def idle(self, timeout_s: float) -> None:
        time.sleep(timeout_s)

    def orders(self) -> Sequence[tuple[object, Order]]:
        return [self.ordered.get() for _ in range(self.ordered.qsize())]

    def answer(self, token: object, answer: OrderAnswer) -> None:
        self.answers.put((token, answer))


async def test_a_broker_may_order_through_its_publisher_and_is_answered(rig: Rig) -> None:
    rig.recipe("r")
    publisher = OrderingPublisher()
    parts = rig.parts()
    ledger = type(parts.ledger)(rig.ledger, ["broker"], on_booked=parts.flight.free)
    control = Control(rig.folder / "c.sock")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, replace(parts, publishers=[publisher], ledger=ledger), control)
        await rig.link.ready()
        publisher.ordered.put(("token 1", Order("halt", "mqtt:broker")))
        publisher.ordered.put(("token 2", Order("fly", "mqtt:broker")))
        answers = [await anyio.to_thread.run_sync(lambda: publisher.answers.get(timeout=10)) for _ in range(2)]
        assert (await rig.link.status(lambda s: s.halted)).error_text == "halted by mqtt:broker"
        control.stop()
    assert answers[0] == ("token 1", OrderAnswer(done=True))
    assert [(token, answer.done) for token, answer in answers] == [("token 1", True), ("token 2", False)]
    assert [who for who, _, _ in audited(rig)] == ["mqtt:broker"]


class KeepingPublisher(OrderingPublisher):
    """A destination that notes which results it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[int] = []

    def render(self, record: InspectionResult | Event | SavedImage) -> tuple[OutboxMessage, ...]:
        if not isinstance(record, InspectionResult):
            return ()
        return (OutboxMessage("broker", "result", "vision.result/1", b"{}", record.trigger.seq),)

    def publish(self, messages: Sequence[OutboxMessage]) -> int:
        self.published += [message.seq for message in messages]
        return len(messages)


async def test_what_was_decided_last_goes_out_before_the_station_ends_also_from_a_slow_ledger(rig: Rig) -> None:
    rig.recipe("r")
    publisher = KeepingPublisher()
    parts = rig.parts()
    ledger = type(parts.ledger)(rig.ledger, ["broker"], on_booked=parts.flight.free)
    async with rig.running_parts(replace(parts, publishers=[publisher], ledger=ledger)) as link:
        await link.ready()
        with closing(sqlite3.connect(rig.ledger, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            link.trigger(1)
            await link.result(1)
            release = threading.Timer(0.3, other.execute, ("ROLLBACK",))
            release.start()
            await client(rig).ask_async({"command": "stop"})
            await anyio.to_thread.run_sync(release.join)
    assert publisher.published == [1]


async def test_a_ledger_that_cannot_be_written_is_an_alarm_and_its_return_is_told_too(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        with sqlite3.connect(rig.ledger, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            link.trigger(1)
            status = await link.status(lambda s: s.error_code == 501)
            assert status.alarm
            assert "locked" in status.error_text
            assert (await link.result(1)).evaluation is Evaluation.OK, "verdicts go on"
            for name, arguments in (("audit", {"what": "image_read", "detail": "s.1.2"}), ("live", {"camera": "a"})):
                answer = await order(rig, name, **arguments)
                assert (answer.done, answer.facts) == (False, {"not_ready": True}), "nobody looks unseen"
            other.execute("ROLLBACK")
        other.close()
        await link.status(lambda s: s.error_code == 0)
        await rig.booked("ledger_again")
        assert "locked" in rig.events("ledger_stopped")[0]


async def test_a_stop_over_the_socket_stands_in_the_audit_trail(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        await begun(rig)
        await client(rig).ask_async({"command": "stop"})
    assert audited(rig) == [(f"uid {os.getuid()}", "stopped", "the station was stopped")]


async def test_each_who_watches_a_camera_is_audited_once(rig: Rig) -> None:
    rig.recipe("r")
    async with quiet_line(rig, JumpingClock()) as line:
        for who in ("anna", "anna", "bert", "anna"):
            await line.handle(Ordered(Order("live", who, {"camera": "a"}), lambda _: None))
    assert audited(rig) == [("anna", "live_view", "camera a"), ("bert", "live_view", "camera a")]


async def test_a_name_that_no_text_can_carry_is_no_end_of_the_line(rig: Rig) -> None:
    rig.recipe("r")
    answers: list[OrderAnswer] = []
    async with quiet_line(rig, JumpingClock()) as line:
        await line.handle(Ordered(Order("halt", "\ud800"), answers.append))
        assert (answers[0].done, line.condition.held_by) == (True, "?")


async def test_every_event_of_the_line_has_somebody_who_handles_it(rig: Rig) -> None:
    rig.recipe("r")
    async with quiet_line(rig, JumpingClock()) as line:
        assert set(get_args(LineEvent)) == set(line._handlers)


async def test_the_status_says_who_speaks_and_where_the_audit_trail_ends(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        await order(rig, "halt")
        with anyio.fail_after(10):
            while True:
                answer = await client(rig).ask_async({"command": "status"})
                if str(answer["audit_head"]).startswith("1:"):
                    break
                await anyio.sleep(0.02)
        assert (answer["station"], answer["boot_id"], answer["version"]) == ("s", rig.boot_id, "0")
