"""Posted pictures: judged as any part's, behind production, and nothing of them reaches a PLC."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from order_rig import JumpingClock, audited, begun, client, inspect, order, put, quiet_line
from station_rig import SIDE, SPEC, FakeBackend, FakeModel, Rig

from edge_inspector import pipeline
from edge_inspector.datatypes import (
    Batch,
    Detections,
    Evaluation,
    Frame,
    InspectionResult,
    Mode,
    Picture,
    PreparePlan,
    RawView,
    Reason,
    Trigger,
)
from edge_inspector.interfaces import ModelFile, Order, OrderAnswer, StationStatus, Ticket, TriggerRequest
from edge_inspector.station.events import (
    CameraDown,
    CameraUp,
    Exposed,
    FromPlc,
    Inferred,
    Job,
    Ordered,
    PostedPictures,
    TimerTick,
    ViewFailed,
)
from edge_inspector.station.inbox import FOLDER, LEFT_S, Inbox
from edge_inspector.station.line import Line

pytestmark = pytest.mark.anyio


def posted_job(number: int = -1) -> Job:
    """The only view of an inspection, ready for the model."""
    batch = pipeline.prepare(Frame("a", -1, 0, 0, np.zeros((SIDE, SIDE), np.uint8), "Mono8"), PreparePlan(SPEC))
    return Job(Picture("a", number), "r", batch, -1, 0, 0, None)


def taking(jobs: list[Job]) -> Callable[[Job], bool]:
    """A model's queue that has room for everything."""

    def take(job: Job) -> bool:
        jobs.append(job)
        return True

    return take


def inbox(rig: Rig) -> list[str]:
    return sorted(os.listdir(rig.folder / FOLDER))


class Posting:
    """One inspection that is under way."""

    def __init__(self) -> None:
        self.answer: OrderAnswer

    async def run(self, rig: Rig, **arguments: Any) -> None:
        self.answer = await inspect(rig, **arguments)


class Gate:
    """Where the runs of a model wait one by one; `submitted` is the brightest gray of each."""

    def __init__(self) -> None:
        self.open = threading.Semaphore(0)
        self.submitted: list[int] = []


class GatedModel(FakeModel):
    def __init__(self, backend: GatedBackend) -> None:
        super().__init__(backend)
        self._gate = backend.gate

    def submit(self, batch: Batch | RawView, slot: int) -> Ticket:
        ticket = super().submit(batch, slot)
        assert isinstance(batch, Batch)
        self._gate.submitted.append(round(float(batch.pixels.max()) * 255))
        assert self._gate.open.acquire(timeout=10)
        return ticket


class GatedBackend(FakeBackend):
    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> GatedModel:
        return GatedModel(self)


async def submitted(gate: Gate, count: int) -> None:
    with anyio.fail_after(10):
        while len(gate.submitted) < count:  # noqa: ASYNC110 - the model's thread sets no event of the loop
            await anyio.sleep(0.005)


@pytest.mark.parametrize(
    ("gray", "evaluation", "reason"),
    [(0, Evaluation.OK, Reason.NONE), (255, Evaluation.NOT_OK, Reason.DEFECT)],
)
async def test_a_posted_picture_is_judged_and_booked_and_the_plc_hears_nothing_of_it(
    rig: Rig, gray: int, evaluation: Evaluation, reason: Reason
) -> None:
    rig.recipe("r", number=7)
    async with rig.running() as link:
        await link.ready()
        before = len([m for m in link.told if isinstance(m, StationStatus)])
        answer = await inspect(rig, gray, part_id="x-1")
        assert answer.done
        assert inbox(rig) == [], "the daemon deletes what it has read"
        told = link.told.copy()
        assert not [m for m in told if isinstance(m, InspectionResult)]
        assert len([m for m in told if isinstance(m, StationStatus)]) == before, "READY and BUSY do not even twitch"
        await link.ready()
        link.trigger(1)
        assert (await link.result(1)).trigger.seq == 2
    facts = answer.facts
    assert (facts["evaluation"], facts["reason"], facts["recipe"], facts["recipe_no"]) == (
        evaluation.name,
        reason.name.lower(),
        "r",
        7,
    )
    assert [d["class_name"] for d in facts["defects"]] == ["bright"] * bool(gray)
    with closing(sqlite3.connect(rig.ledger)) as book:
        booked = book.execute("SELECT mode, trigger_seq, part_id, attempt FROM triggers WHERE seq = 1").fetchone()
    assert booked == (Mode.MANUAL, 0, "x-1", 1)
    manual = next(row for row in rig.rows() if row.seq == 1)
    assert (manual.evaluation, manual.reason, manual.told) == (evaluation, reason, False)
    assert facts["result_id"].endswith(".1")
    assert audited(rig) == [("anna", "inspect", f"{facts['result_id']}: part 'x-1' is {evaluation.name}")]


async def test_while_a_part_is_in_work_a_posted_picture_is_busy_and_not_booked(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=20_000)
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.trigger(1)
        await link.status(lambda s: s.queue_depth == 1)
        answer = await inspect(rig)
        assert (answer.done, answer.text, answer.facts) == (False, "busy: the line has a part", {"busy": True})
        rig.backend.slow.clear()
        assert (await link.result(1)).evaluation is Evaluation.OK
        assert (await inspect(rig)).done
    assert rig.books().accepted == 2


async def test_two_posted_pictures_at_once_are_one_inspection_and_one_busy(rig: Rig) -> None:
    rig.backend = GatedBackend()
    rig.recipe("r", deadline_ms=20_000)
    posting = Posting()
    async with rig.running() as link:
        await link.ready()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(posting.run, rig)
            await submitted(rig.backend.gate, 1)
            answer = await inspect(rig)
            rig.backend.gate.open.release()
    assert (answer.done, answer.text) == (False, "busy: another posted picture is being inspected")
    assert posting.answer.facts["evaluation"] == "OK"


async def test_a_part_that_comes_in_the_middle_waits_for_one_view_and_the_other_views_wait_for_the_part(
    rig: Rig,
) -> None:
    rig.backend = GatedBackend()
    rig.recipe("r", cameras=("a", "b"), deadline_ms=20_000)
    gate, answers = rig.backend.gate, []
    for camera in rig.cameras.values():
        camera.gray = 200

    async def post() -> None:
        await begun(rig)
        pictures = {"a": put(rig, 10, "a"), "b": put(rig, 20, "b")}
        answers.append(await order(rig, "inspect", part_id="p", pictures=pictures))

    async with rig.running() as link:
        await link.ready()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post)
            await submitted(gate, 1)  # the first posted view is in the model
            link.trigger(1)
            await link.status(lambda s: s.queue_depth == 1 and not s.acquiring)
            for count in (2, 3):
                gate.open.release()
                await submitted(gate, count)
            assert gate.submitted == [10, 200, 200], "the part goes first"
            gate.open.release()
            assert (await link.result(1)).evaluation is Evaluation.NOT_OK
            await submitted(gate, 4)
            gate.open.release()
    assert gate.submitted == [10, 200, 200, 20]
    assert answers[0].facts["evaluation"] == "OK"


async def test_pictures_that_are_ready_wait_a_second_for_a_gap_between_parts_and_then_the_line_is_busy(
    rig: Rig,
) -> None:
    """The line begins a part while the picture is being prepared, and another one behind it."""
    rig.recipe("r", deadline_ms=60_000)
    clock, answers, jobs = JumpingClock(), list[OrderAnswer](), list[Job]()
    async with quiet_line(rig, clock) as line:
        line.manual.infer = taking(jobs)
        asked = Order("inspect", "anna", {"pictures": {"a": put(rig)}})
        await line.handle(Ordered(asked, answers.append))
        await line.handle(FromPlc(rig.link, TriggerRequest(1, "part", time.monotonic_ns(), 9)))
        await line.handle(PostedPictures((posted_job(),), ""))
        line.manual.turn()
        assert (answers, jobs) == ([], []), "it waits for the part"
        clock.jump(1.1)
        line.manual.turn()
        assert [answer.text for answer in answers] == ["busy: the line has one part after the other"]
        await line.handle(Exposed(Picture("a", 1), 1, "r", time.monotonic_ns()))
        await line.handle(ViewFailed(Picture("a", 1), 1, Reason.NO_FRAME, "none"))
        line.manual.turn()
        assert (len(answers), jobs) == (1, []), "and is forgotten"


async def test_pictures_that_are_ready_are_judged_when_the_part_before_them_is_done(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=60_000)
    answers, jobs = list[OrderAnswer](), list[Job]()
    async with quiet_line(rig, JumpingClock()) as line:
        line.manual.infer = taking(jobs)
        await line.handle(Ordered(Order("inspect", "anna", {"pictures": {"a": put(rig)}}), answers.append))
        await line.handle(FromPlc(rig.link, TriggerRequest(1, "part", time.monotonic_ns(), 9)))
        await line.handle(PostedPictures((posted_job(),), ""))
        await line.handle(Exposed(Picture("a", 1), 1, "r", time.monotonic_ns()))
        line.manual.turn()
        assert jobs == [], "photographed, and not judged yet"
        await line.handle(ViewFailed(Picture("a", 1), 1, Reason.NO_FRAME, "none"))
        line.manual.turn()
        assert [job.picture for job in jobs] == [Picture("a", -1)]
        await line.handle(Inferred(jobs[0], Detections.none(), 0, 1, 1))
    assert [answer.facts["evaluation"] for answer in answers] == ["OK"]


async def judged(rig: Rig, line: Line, number: int, infer_s: float) -> OrderAnswer:
    """Order an inspection and play the threads for it; the model takes so long."""
    answers, jobs = list[OrderAnswer](), list[Job]()
    line.manual.infer = taking(jobs)
    await line.handle(Ordered(Order("inspect", "anna", {"pictures": {"a": put(rig)}}), answers.append))
    if not answers:
        await line.handle(PostedPictures((posted_job(number),), ""))
        line.manual.turn()
        await line.handle(Inferred(jobs[0], Detections.none(), 0, round(infer_s * 1e9), 0))
    return answers[0]


async def test_while_the_line_runs_posted_pictures_have_a_small_share_of_the_model(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=600_000)
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        assert (await judged(rig, line, -1, 0.1)).done
        assert (await judged(rig, line, -2, 0.1)).done, "no part has ever come"
        await line.handle(FromPlc(rig.link, TriggerRequest(1, "part", time.monotonic_ns(), 9)))
        await line.handle(CameraDown("a", "unplugged"))
        await line.handle(CameraUp("a", 2))
        refused = await judged(rig, line, -3, 0.1)
        assert (refused.text, refused.facts) == (
            "busy: the line is running, and posted pictures have 1/25 of the model's time",
            {"busy": True},
        )
        clock.jump(3)
        assert not (await judged(rig, line, -3, 0.1)).done
        clock.jump(1.9)  # 24 times 0.1 s for each of the two
        assert (await judged(rig, line, -4, 1.0)).done
        clock.jump(2)
        assert not (await judged(rig, line, -5, 0.1)).done
        clock.jump(3.2)
        assert (await judged(rig, line, -6, 0.1)).done, "no part for ten seconds: the line does not run"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shape": [32, 31]}, "has 1024 bytes, expected 992 for 32x31 uint8"),
        ({"shape": [32, 16], "dtype": "uint16"}, "a Mono8 picture came as uint16 (32, 16), expected uint8 height"),
        ({"pixel_format": "BayerRG12"}, "a BayerRG12 picture came as uint8 (32, 32), expected uint16 height x width"),
        ({"shape": [65_535, 65_535]}, "would have 4294836225 bytes, expected at most 268435456"),
        ({"file": "none.raw"}, "picture none.raw cannot be read: No such file or directory"),
        ({"file": "link.raw"}, "picture link.raw cannot be read: Too many levels of symbolic links"),
        ({"file": "pipe.raw"}, "picture pipe.raw is not a file"),
        ({"file": "folder.raw"}, "picture folder.raw is not a file"),
        ({"file": "../flight.bin"}, "order inspect: pictures.a.file: String should match pattern"),
        ({"file": ".hidden"}, "order inspect: pictures.a.file: String should match pattern"),
        ({"file": "a\n"}, "order inspect: pictures.a.file: String should match pattern"),
        ({"shape": [0, 32]}, "order inspect: pictures.a.shape"),
        ({"dtype": "float64"}, "order inspect: pictures.a.dtype: Input should be 'uint8' or 'uint16'"),
        ({"pixel_format": "YUV"}, "order inspect: pictures.a.pixel_format: Input should be"),
    ],
)  # fmt: skip
async def test_a_file_that_is_not_what_was_said_is_refused_and_not_booked(
    rig: Rig, changed: dict[str, Any], said: str
) -> None:
    rig.recipe("r")
    rig.cameras["a"].image_hw = None
    async with rig.running() as link:
        await link.ready()
        await begun(rig)
        secret = rig.folder / "secret.raw"
        secret.write_bytes(bytes(1024))
        (rig.folder / FOLDER / "link.raw").symlink_to(secret)
        os.mkfifo(rig.folder / FOLDER / "pipe.raw")
        os.mkdir(rig.folder / FOLDER / "folder.raw")
        answer = await inspect(rig, **changed)
        assert not answer.done
        assert said in answer.text
        assert secret.exists()
        assert (rig.folder / "flight.bin").exists()
        assert (await inspect(rig)).done, "and the next one is fine"
    assert rig.books().accepted == 1


async def test_an_inbox_that_somebody_deletes_costs_one_answer_and_no_part(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        await begun(rig)
        picture = put(rig)
        shutil.rmtree(rig.folder / FOLDER)
        answer = await client(rig).order_async(Order("inspect", "anna", {"pictures": {"a": picture}}))
        assert (answer.done, answer.text) == (False, "picture 0-a.raw cannot be read: No such file or directory")
        assert (await inspect(rig)).done, "the folder is there again"
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK


@pytest.mark.parametrize("linked", [True, False])
async def test_what_stands_in_the_place_of_the_inbox_is_replaced_and_no_file_elsewhere_is_swept(
    rig: Rig, linked: bool
) -> None:
    rig.recipe("r")
    elsewhere = rig.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("kept")
    if linked:
        (rig.folder / FOLDER).symlink_to(elsewhere)
    else:
        (rig.folder / FOLDER).write_text("a file")
    async with rig.running() as link:
        await link.ready()
        with anyio.fail_after(5):
            while (rig.folder / FOLDER).is_symlink() or not (rig.folder / FOLDER).is_dir():  # noqa: ASYNC110 - its thread
                await anyio.sleep(0.01)
        assert (await inspect(rig)).done
    assert [file.name for file in elsewhere.iterdir()] == ["precious"]


def test_an_inbox_that_cannot_be_made_or_read_is_no_error(tmp_path: Path) -> None:
    nowhere = Inbox(tmp_path / "not there")
    nowhere.make()
    nowhere.sweep()
    nowhere.keep()
    assert list(tmp_path.iterdir()) == []


async def test_a_picture_larger_than_the_cameras_is_refused_because_it_would_hold_up_a_part(rig: Rig) -> None:
    """It may have more tiles, and a run of the model cannot be stopped."""
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        for shape in ([SIDE + 1, SIDE], [SIDE, SIDE + 1]):
            answer = await inspect(rig, shape=shape)
            expected = f"picture of camera a is {shape[1]}x{shape[0]}, expected at most the camera's own 32x32"
            assert (answer.done, answer.text) == (False, expected)
        assert (await inspect(rig, side=SIDE - 1)).done
        rig.cameras["a"].image_hw = None  # a camera that does not say it
        assert (await inspect(rig, side=SIDE + 1)).done
    assert rig.books().accepted == 2


async def test_posted_pictures_never_fill_the_flight_record_when_the_ledger_is_behind(rig: Rig) -> None:
    """Half of it is the line's alone; here nobody books anything."""
    rig.recipe("r", deadline_ms=600_000)
    async with quiet_line(rig, JumpingClock()) as line:
        answers = [await judged(rig, line, -number, 0.0) for number in range(1, 65)]
        assert [answer.done for answer in answers] == [True] * 32 + [False] * 32
        assert (answers[-1].text, answers[-1].facts) == (
            "the flight record is half full: the ledger is behind",
            {"not_ready": True},
        )
        assert line.condition.blocked() is None


async def test_posted_pictures_leave_no_hole_in_the_numbers_that_the_plc_of_a_line_sees(rig: Rig) -> None:
    """A hole would be a result that was lost on its way."""
    rig.recipe("r", trigger="timer", period_s=0.05, deadline_ms=600_000)
    rig.master = ""
    async with quiet_line(rig, JumpingClock()) as line:
        numbers = []
        for number in (-1, -2):
            assert (await judged(rig, line, number, 0.0)).done
            await line.handle(TimerTick())
            numbers += [opened.inspection.trigger.trigger_seq for opened in line.work.open.values()]
            await line.handle(CameraDown("a", "unplugged"))
            await line.handle(CameraUp("a", 2))
            line.condition.parts.clock.jump(60)  # type: ignore[attr-defined]
    assert numbers == [1, 2]


async def test_a_posted_picture_that_was_open_when_the_station_was_killed_is_nobodys_part(rig: Rig) -> None:
    rig.recipe("r")
    parts = rig.parts()
    with parts.flight:  # the ledger has not got anything yet
        trigger = Trigger(
            5, "s.0.5", 0, "part-1", 1, Mode.MANUAL, "r", 1, 70, 0, 1, 2, parts.clock.utc(), True
        )  # fmt: skip
        parts.flight.trigger(trigger)
    async with rig.running() as link:
        status = await link.ready()
        await begun(rig)
        assert (status.line_stop, status.alarm) == (0, False)
        link.trigger(1)
        result = await link.result(1)
        assert (result.trigger.attempt, result.trigger.seq) == (1, 6)
        assert [result.trigger.seq for result in link.results] == [6]
        counters = (await client(rig).ask_async({"command": "counters"}))["counters"]
    assert (counters["results_ok"], counters["results_undefined"]) == (1, 0)
    left = next(row for row in rig.rows() if row.seq == 5)
    assert (left.evaluation, left.reason, left.told) == (Evaluation.UNDEFINED, Reason.RESTART, False)
    with closing(sqlite3.connect(rig.ledger)) as book:
        assert book.execute("SELECT mode FROM triggers WHERE seq = 5").fetchone() == (Mode.MANUAL,)


async def test_pictures_of_other_cameras_than_the_recipes_are_refused(rig: Rig) -> None:
    rig.recipe("r", cameras=("a", "b"))
    async with rig.running() as link:
        await link.ready()
        answer = await inspect(rig)
    expected = "pictures of a: expected exactly one of each camera of recipe r: a, b"
    assert (answer.done, answer.text) == (False, expected)


async def test_when_one_of_the_pictures_cannot_be_read_none_of_them_is_left_behind(rig: Rig) -> None:
    rig.recipe("r", cameras=("a", "b"))
    async with rig.running() as link:
        await link.ready()
        await begun(rig)
        pictures = {"a": put(rig, camera="a", side=SIDE - 1, shape=[SIDE, SIDE]), "b": put(rig, camera="b")}
        answer = await order(rig, "inspect", pictures=pictures)
        assert "has 961 bytes, expected 1024" in answer.text
        assert inbox(rig) == []


async def test_a_picture_that_the_cameras_gate_would_refuse_is_undefined_as_a_part_would_be(rig: Rig) -> None:
    rig.gate = rig.gate.model_copy(update={"min_brightness": 0.1})
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        facts = (await inspect(rig, gray=0)).facts
    assert (facts["evaluation"], facts["reason"]) == ("UNDEFINED", "bad_frame")


async def test_a_posted_picture_that_is_judged_too_late_is_undefined_and_the_next_waits_for_the_model(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=200)
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        facts = (await inspect(rig)).facts
        assert (facts["evaluation"], facts["reason"]) == ("UNDEFINED", "deadline")
        assert (await inspect(rig)).text == "busy: another posted picture is being inspected"
        rig.backend.slow.clear()
        with anyio.fail_after(10):
            while not (answer := await inspect(rig)).done:
                assert answer.facts == {"busy": True}
                await anyio.sleep(0.02)
        assert answer.facts["evaluation"] == "OK"
        assert (await client(rig).ask_async({"command": "counters"}))["counters"]["late_views"] == 0
    assert rig.books().late == 1


async def test_a_station_that_stops_settles_the_posted_picture_and_says_so_before_it_goes(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=20_000)
    posting = Posting()
    async with anyio.create_task_group() as tasks, rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        tasks.start_soon(posting.run, rig)
        with anyio.fail_after(10):
            while not rig.backend.runs:  # noqa: ASYNC110 - the model's thread sets no event of the loop
                await anyio.sleep(0.005)
        threading.Timer(0.1, rig.backend.slow.clear).start()
        assert await client(rig).ask_async({"command": "stop"}) == {"ok": True}
    assert (posting.answer.done, posting.answer.facts["reason"]) == (True, "shutdown")
    assert [(row.evaluation, row.reason) for row in rig.rows()] == [(Evaluation.UNDEFINED, Reason.SHUTDOWN)]


class SlowlyLoadingBackend(FakeBackend):
    def __init__(self) -> None:
        super().__init__()
        self.may_load = threading.Event()

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> FakeModel:
        assert self.may_load.wait(10)
        return super().load(model, plan, max_batch)


async def test_while_the_model_is_being_loaded_no_posted_picture_is_inspected(rig: Rig) -> None:
    rig.backend = SlowlyLoadingBackend()
    rig.recipe("r")
    async with rig.running() as link:
        answer = await inspect(rig)
        assert (answer.done, answer.text, answer.facts) == (False, "the model is being loaded", {"not_ready": True})
        rig.backend.may_load.set()
        await link.ready()
        assert (await inspect(rig)).done


async def test_bad_posted_pictures_stop_no_line_and_count_for_no_attempt(rig: Rig) -> None:
    rig.recipe("r")
    rig.line_stop_after = 1
    async with rig.running() as link:
        await link.ready()
        for _ in range(3):
            assert (await inspect(rig, 255, part_id="part-1")).facts["evaluation"] == "NOT_OK"
        assert (await link.ready()).line_stop == 0
        link.trigger(1)
        assert (await link.result(1)).trigger.attempt == 1


async def test_a_halted_station_still_inspects_posted_pictures(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        await order(rig, "halt")
        assert (await inspect(rig)).facts["evaluation"] == "OK"
        assert not [m for m in link.told if isinstance(m, InspectionResult)]


async def test_what_an_earlier_run_left_in_the_inbox_is_deleted(rig: Rig) -> None:
    rig.recipe("r")
    leave_behind(rig.folder / FOLDER)
    async with rig.running() as link:
        await link.ready()
        assert (await inspect(rig)).done
    assert inbox(rig) == ["folder"]


def leave_behind(folder: Path) -> None:
    folder.mkdir()
    (folder / "folder").mkdir()
    (folder / "left.raw").write_bytes(b"x")
    os.utime(folder / "left.raw", (time.time() - 1, time.time() - 1))


async def test_a_file_that_nobody_asks_for_is_deleted_after_a_minute(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        await begun(rig)
        now = time.time()
        for name, age_s in (("old.raw", LEFT_S + 1), ("new.raw", LEFT_S - 10)):
            (rig.folder / FOLDER / name).write_bytes(b"x")
            os.utime(rig.folder / FOLDER / name, (now - age_s, now - age_s))
        assert (await inspect(rig)).done
        with anyio.fail_after(10):
            while "old.raw" in inbox(rig):  # noqa: ASYNC110 - its thread sets no event of the loop
                await anyio.sleep(0.005)
        assert inbox(rig) == ["new.raw"]
