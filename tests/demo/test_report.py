"""The demo's books: each side counts for itself, and what does not agree is found."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, OutboxMessage, Reason, Trigger
from edge_inspector.demo.filming import Filmed
from edge_inspector.demo.report import DemoReport, make_report
from edge_inspector.plc_sim.log import PlcLog
from edge_inspector.store.ledger import BookResult, BookTrigger, Ledger

GOOD = [Filmed(Path("0.png"), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))]


def a_result(seq: int) -> InspectionResult:
    trigger = Trigger(
        seq,
        f"s.b.{seq}",
        seq,
        f"part-{seq}",
        1,
        Mode.PRODUCTION,
        "r",
        1,
        7,
        9,
        0,
        10**9,
        "2026-11-22T00:00:00.000Z",
        True,
    )
    return InspectionResult(
        trigger, Evaluation.OK, Reason.NONE, "", (), ("cam1",), 1, (0.5,), "h", 10**6, {"tell": 10**5}, (0,)
    )


class Run:
    """Three parts that went well on every side; a test changes one side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.booked = [1, 2, 3]
        self.announced = [1, 2, 3]
        self.read = dict.fromkeys((1, 2, 3), Evaluation.OK)
        self.unanswered: list[int] = []
        self.received = {f"s.b.{seq}": 1 for seq in (1, 2, 3)}
        self.waiting: list[int] = []

    def report(self) -> DemoReport:
        with Ledger(self.folder / "ledger", ["broker"]) as ledger:
            booking = threading.Thread(target=ledger.run)
            booking.start()
            for seq in self.booked:
                messages = (OutboxMessage("broker", "t", "vision.result/1", b"{}", seq),) if seq in self.waiting else ()
                ledger.submit(BookTrigger(None, a_result(seq).trigger))
                ledger.submit(BookResult(None, a_result(seq), told=True, messages=messages))
            ledger.close()
            booking.join()
        log = PlcLog(self.folder / "plc.jsonl")
        for seq in self.announced:
            log.write("trigger", trigger_seq=seq, part_id=f"part-{seq}")
            log.write("unanswered" if seq in self.unanswered else "accepted", trigger_seq=seq)
        for seq, evaluation in self.read.items():
            facts = {"result_id": f"s.b.{seq}", "part_id": f"part-{seq}", "wrong_part_id": False}
            log.write("result", trigger_seq=seq, evaluation=int(evaluation), round_trip_ms=5.0, **facts)
            log.write("acknowledged", trigger_seq=seq)
        log.close()
        return make_report(self.folder / "ledger", self.folder / "plc.jsonl", self.received, GOOD, restarts=0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_what_everybody_counted_alike_balances(run: Run) -> None:
    report = run.report()
    assert report.balanced
    assert (report.parts["triggered"], report.mqtt["published"], report.truth.overkill.total) == (3, 3, 3)


def test_a_part_that_the_plc_announced_and_nobody_booked_does_not_balance(run: Run) -> None:
    run.announced.append(4)
    report = run.report()
    assert not report.balanced
    assert report.disagreements == ("the PLC saw 'part-4' accepted, which the ledger does not know",)


def test_a_trigger_that_a_dead_station_never_saw_balances_as_unanswered(run: Run) -> None:
    run.announced.append(4)
    run.unanswered.append(4)
    assert run.report().balanced


def test_more_parts_than_the_plc_announced_do_not_balance(run: Run) -> None:
    run.announced.remove(3)
    assert not run.report().balanced


def test_a_verdict_that_plc_and_ledger_tell_differently_is_listed(run: Run) -> None:
    run.read[2] = Evaluation.NOT_OK
    report = run.report()
    assert not report.balanced
    assert report.disagreements == ("s.b.2: PLC read NOT_OK for 'part-2', ledger has OK for 'part-2'",)


def test_a_result_that_was_told_and_never_read_is_listed(run: Run) -> None:
    del run.read[3]
    assert run.report().disagreements == ("s.b.3: told to the PLC, which never read it",)


def test_a_result_that_no_subscriber_received_is_lost(run: Run) -> None:
    del run.received["s.b.2"]
    report = run.report()
    assert (report.lost, report.mqtt["published"], report.mqtt["received"], report.balanced) == (1, 3, 2, False)


def test_a_result_that_waits_in_the_outbox_is_not_published(run: Run) -> None:
    run.waiting.append(1)
    report = run.report()
    assert (report.mqtt["published"], report.ledger["outbox_pending"], report.balanced) == (2, 1, False)
