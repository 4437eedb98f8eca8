"""The account of the outage tests must see each thing that could go wrong: here each of them does."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mqtt_witness import Arrival
from outage_account import account

from edge_inspector.datatypes import Defect, Evaluation, Event, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.outputs import payloads
from edge_inspector.store.ledger import BookEvent, BookResult, BookTrigger, Ledger

BASE = "plant/vision/bench"
ME = Identity("bench", 7, "0.1.0")
NOON = 1_795_348_800.0  # 2026-11-22T12:00:00Z


def a_result(seq: int, book: str) -> InspectionResult:
    """Numbers 1 and 3 are good, 2 and 4 have a defect, as their pictures (0 to 3) have."""
    good = seq % 2 == 1
    wall_utc = f"2026-11-22T12:00:0{seq}.500Z"
    trigger = Trigger(
        seq, f"bench.{book}.{seq}", 100 + seq, f"P{seq}", 1, Mode.PRODUCTION, "spots", 7, 7, 9, seq, seq + 10**9,
        wall_utc, True,
    )  # fmt: skip
    defects = () if good else (Defect("dark", 1, 0.9, (1.0, 2.0, 3.0, 4.0), "cam"),)
    return InspectionResult(
        trigger, Evaluation.OK if good else Evaluation.NOT_OK, Reason.NONE if good else Reason.DEFECT, "", defects,
        ("cam",), 1, (0.5,), "ab" * 32, seq + 5, {}, (seq - 1,),
    )  # fmt: skip


@dataclass
class Story:
    """Three books that agree, to be falsified."""

    ledger: Path
    plc: list[dict[str, Any]]
    arrivals: list[Arrival]

    def wrong(self) -> tuple[str, ...]:
        log = self.ledger.with_name("plc.jsonl")
        log.write_text("".join(json.dumps(line) + "\n" for line in self.plc))
        return account(self.ledger, log, self.arrivals, BASE).wrong

    def change(self, seq: int, **fields: Any) -> None:
        """The published result of that number says something else."""
        at = next(i for i, one in enumerate(self.arrivals) if json.loads(one.payload).get("seq") == seq)
        body = {**json.loads(self.arrivals[at].payload), **fields}
        self.arrivals[at] = replace(self.arrivals[at], payload=json.dumps(body))

    def plc_line(self, event: str, seq: int) -> dict[str, Any]:
        return next(line for line in self.plc if (line["event"], line["trigger_seq"]) == (event, 100 + seq))

    def sql(self, statement: str) -> None:
        with sqlite3.connect(self.ledger) as connection:
            connection.execute(statement)
        connection.close()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    path, event = tmp_path / "ledger.sqlite", Event("info", "audit_head", "4:ab", "2026-11-22T12:00:00.000Z")
    arrivals, plc = [], []
    with Ledger(path, []) as ledger:
        results = [a_result(seq, ledger.book) for seq in (1, 2, 3, 4)]
        for result in results:
            ledger.submit(BookTrigger(None, result.trigger))
            ledger.submit(BookResult(None, result, told=True))
        ledger.submit(BookEvent(event))
        ledger.close()
        ledger.run()
    arrivals.append(Arrival(0.0, f"{BASE}/event", payloads.event_payload(event).to_json().decode(), retain=False))
    for result in results:
        seq, part_id = result.trigger.trigger_seq, result.trigger.part_id
        at = NOON + result.trigger.seq + 0.5
        body = payloads.result_payload(result, ME).to_json().decode()
        arrivals.append(Arrival(at, f"{BASE}/result", body, retain=False))
        if result.defects:
            defects = payloads.defects_payload(result).to_json().decode()
            arrivals.append(Arrival(at, f"{BASE}/defects", defects, retain=False))
        plc += [
            {"event": "trigger", "trigger_seq": seq, "part_id": part_id, "at": at - 0.01},
            {"event": "accepted", "trigger_seq": seq, "at": at + 0.01},
            {
                **{"event": "result", "trigger_seq": seq, "result_id": result.result_id, "part_id": part_id},
                **{"evaluation": int(result.evaluation), "wrong_part_id": False, "round_trip_ms": 5.0},
            },
            {"event": "gate", "trigger_seq": seq, "part_id": part_id, "passed": not result.defects, "why": "pass"},
        ]
    return Story(path, plc, arrivals)


def test_books_that_agree_are_not_wrong_even_when_a_message_came_twice(story: Story) -> None:
    story.arrivals.append(story.arrivals[1])
    assert story.wrong() == ()


WAITING = "INSERT INTO outbox (destination, topic, schema, payload, seq, retain) VALUES ('b', '', '', '', 1, 0)"
FALSE: dict[str, tuple[Callable[[Story], object], str]] = {
    "a result never arrived": (lambda s: s.arrivals.pop(1), "is booked and never arrived"),
    "a result nobody booked": (
        lambda s: s.change(4, result_id="bench.00.9"),
        "bench.00.9 arrived unbooked",
    ),
    "two results out of order": (lambda s: s.arrivals.insert(1, s.arrivals.pop(-2)), "came after"),
    "a second copy differs": (
        lambda s: s.arrivals.append(replace(s.arrivals[1], payload=s.arrivals[1].payload.replace("OK", "UNDEFINED"))),
        " and as ",
    ),
    "another verdict": (lambda s: s.change(1, evaluation="NOT_OK"), "booked ('P1'"),
    "another part": (lambda s: s.change(1, part_id="P3"), "published ('P3'"),
    "the time of its publishing": (lambda s: s.change(1, ts="2026-11-22T12:00:09.000Z"), "the PLC announced it"),
    "a time before its announcement": (lambda s: s.plc_line("trigger", 2).update(at=NOON + 3), ".2 names"),
    "a time after the PLC had read that it was taken": (lambda s: s.plc_line("accepted", 2).update(at=NOON), "taken"),
    "a part that the PLC never announced": (lambda s: s.plc_line("trigger", 3).update(part_id="other"), "announced"),
    "findings never arrived": (lambda s: s.arrivals.pop(3), "1 defects, told None"),
    "an event never arrived": (lambda s: s.arrivals.pop(0), "arrived 0 times"),
    "the PLC read another verdict": (lambda s: s.plc_line("result", 2).update(evaluation=1), "PLC read OK"),
    "a bad part passed": (lambda s: s.plc_line("gate", 2).update(passed=True), "P2 passed"),
    "an accepted trigger without a result": (
        lambda s: s.sql("DELETE FROM results WHERE seq = 3"),
        "accepted triggers without a result: 3",
    ),
    "a message that still waits": (
        lambda s: s.sql(WAITING),
        "1 messages not yet acknowledged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_what_is_false_is_named(story: Story, name: str) -> None:
    falsify, said = FALSE[name]
    falsify(story)
    found = story.wrong()
    assert any(said in text for text in found), found
