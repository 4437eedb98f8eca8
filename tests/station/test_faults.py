"""What goes wrong around a running station, and what it must do about it: found by trying to break it."""

from __future__ import annotations

import asyncio
import itertools
import queue
import socket
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from asyncua import Client, Node, ua
from station_rig import SPEC, FakeCamera, FakeLink, Rig

from edge_inspector import pipeline
from edge_inspector.control import Control
from edge_inspector.datatypes import (
    Evaluation,
    Event,
    Frame,
    Identity,
    InspectionResult,
    OutboxMessage,
    PreparePlan,
    Reason,
)
from edge_inspector.errors import FrameError, InferenceError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import (
    Alive,
    ExposureDone,
    LinkState,
    PlcMessage,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
)
from edge_inspector.outputs import mqtt
from edge_inspector.outputs.opcua_server.link import NAMESPACE, Config, OpcUaServerLink
from edge_inspector.station import daemon
from edge_inspector.station.camera_thread import CameraThread
from edge_inspector.station.events import (
    CameraDown,
    CameraUp,
    Deadline,
    Exposed,
    FromPlc,
    ModelLoaded,
    Picture,
    Setting,
    SettingDone,
    Shot,
    ViewFailed,
)
from edge_inspector.station.line import Line
from edge_inspector.station.parts import CameraPlan, Parts

pytestmark = pytest.mark.anyio


class HastyClock(SystemClock):
    """Runs ten times as fast from `hurry` on: 12 s without progress are then over in 1.2 s."""

    def __init__(self) -> None:
        self._since: int | None = None

    def hurry(self) -> None:
        self._since = time.monotonic_ns()

    def monotonic_ns(self) -> int:
        now = time.monotonic_ns()
        return now if self._since is None else now + 9 * (now - self._since)


class DeafLink(FakeLink):
    """A link on which a result can never be told."""

    async def tell(self, message: PlcMessage) -> None:
        if isinstance(message, InspectionResult):
            await asyncio.Event().wait()
        await super().tell(message)


class SlowlyClosingCamera(FakeCamera):
    """A lost camera whose SDK takes its time to close it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.closing = threading.Event()
        self.may_close = threading.Event()

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self.may_close.wait(10)


def described(error: BaseException) -> str:
    inside = getattr(error, "exceptions", ())
    return "; ".join(map(described, inside)) if inside else repr(error)


def socket_of(rig: Rig) -> Path:
    return rig.folder / "c.sock"


async def connected(rig: Rig) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    with anyio.fail_after(5):
        while True:
            try:
                client.connect(str(socket_of(rig)))
            except OSError:
                await anyio.sleep(0.01)
            else:
                return client


# --- the control socket ----------------------------------------------------------------------------------------------


async def test_a_control_client_that_asks_and_never_reads_is_dropped_and_nothing_else(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        with await connected(rig) as client:
            loop = asyncio.get_running_loop()
            with anyio.move_on_after(3):
                try:
                    while True:
                        await loop.sock_sendall(client, b'{"command": "status"}\n' * 1000)
                except OSError:
                    pass  # dropped
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK


@pytest.mark.parametrize("request_", [b"[" * 4000, b"\xff\xfe", b"7", b'{"command": {"a": []}}', b"x" * 9000, b""])
async def test_garbage_on_the_control_socket_hurts_nobody(rig: Rig, request_: bytes) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        with await connected(rig) as client:
            await asyncio.get_running_loop().sock_sendall(client, request_ + b"\n")
            with anyio.move_on_after(2):
                await asyncio.get_running_loop().sock_recv(client, 1000)
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK


async def test_more_control_clients_than_allowed_are_turned_away_and_the_first_ones_stay(rig: Rig) -> None:
    rig.recipe("r")
    loop = asyncio.get_running_loop()
    async with rig.running() as link:
        await link.ready()
        clients = [await connected(rig) for _ in range(40)]
        try:
            with anyio.fail_after(5):
                assert await loop.sock_recv(clients[-1], 10) == b""
                await loop.sock_sendall(clients[0], b'{"command": "status"}\n')
                assert (await loop.sock_recv(clients[0], 1000)).startswith(b'{"status"')
        finally:
            for client in clients:
                client.close()


# --- loops that hang -------------------------------------------------------------------------------------------------


async def run_until_it_dies(parts: Parts, control: Control) -> str:
    """What the station dies of."""
    with pytest.raises(BaseException) as caught, anyio.fail_after(8):
        await daemon.run(parts, control)
    return described(caught.value)


async def test_a_line_loop_that_hangs_ends_the_station(rig: Rig) -> None:
    rig.recipe("r")
    rig.link, clock = DeafLink(), HastyClock()
    parts = replace(rig.parts(), clock=clock)

    async def hang() -> None:
        await rig.link.ready()
        rig.link.trigger(1)
        await rig.link.until(ExposureDone)
        clock.hurry()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hang)
        assert "no progress for 12 s in: line" in await run_until_it_dies(parts, Control(socket_of(rig)))


async def test_a_camera_whose_driver_hangs_again_and_again_ends_the_station(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=20_000)
    clock, camera = HastyClock(), FakeCamera("a")
    rig.cameras["a"] = camera
    parts = replace(rig.parts(), clock=clock)
    camera.stuck.set()

    async def hang() -> None:
        await rig.link.ready()
        clock.hurry()
        for seq in itertools.count(1):
            await rig.link.ready()
            rig.link.trigger(seq)
            assert (await rig.link.result(seq)).evaluation is Evaluation.UNDEFINED

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hang)
            died = await run_until_it_dies(parts, Control(socket_of(rig)))
            tasks.cancel_scope.cancel()
    finally:
        camera.stuck.clear()
    assert "camera a: the driver has hung 4 times, now in taking a picture" in died


async def test_a_camera_that_does_not_come_back_after_a_hang_ends_the_station(rig: Rig) -> None:
    """The call that hangs may hold the device as long as the process lives."""
    rig.recipe("r", deadline_ms=20_000)
    clock, hung, gone = HastyClock(), FakeCamera("a"), FakeCamera("a")
    gone.lost.set()
    made = itertools.chain([hung], itertools.repeat(gone))
    parts = replace(rig.parts(), clock=clock, cameras={"a": CameraPlan(lambda: next(made), rig.gate)})

    async def hang() -> None:
        await rig.link.ready()
        hung.stuck.set()
        clock.hurry()
        rig.link.trigger(1)
        assert (await rig.link.result(1)).evaluation is Evaluation.UNDEFINED

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hang)
            died = await run_until_it_dies(parts, Control(socket_of(rig)))
    finally:
        hung.stuck.clear()
    assert "camera a has not come back within 60 s of a call that hung" in died


# --- cameras that go -------------------------------------------------------------------------------------------------


async def test_a_lost_camera_ends_ready_before_it_is_closed(rig: Rig) -> None:
    rig.cameras["a"] = camera = SlowlyClosingCamera("a")
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        camera.hang.set()
        link.trigger(1)
        await link.until(TriggerAccepted)
        camera.lost.set()
        assert (await link.result(1)).reason is Reason.CAMERA
        assert await anyio.to_thread.run_sync(camera.closing.wait, 5)
        link.trigger(2)  # while the SDK is closing it
        refused = await link.until(TriggerRefused)
        assert (refused.trigger_seq, refused.reason) == (2, Reason.CAMERA)
        camera.may_close.set()


class Asked:
    """Camera threads that only remember what they were asked for."""

    def __init__(self) -> None:
        self.shots: dict[str, list[Shot]] = defaultdict(list)

    def shoot(self, camera: str, shot: Shot) -> None:
        self.shots[camera].append(shot)

    def came_up(self, camera: str) -> None: ...


@asynccontextmanager
async def a_line(rig: Rig) -> AsyncIterator[tuple[Line, Asked]]:
    """A line whose events the test hands over one by one, with its cameras up."""
    parts = rig.parts()
    cameras = Asked()
    with parts.flight, parts.ledger:
        line = Line(parts, 1, lambda _kind, _record: None)
        line.cameras = cameras  # type: ignore[assignment]
        for name in parts.cameras:
            await line.handle(CameraUp(name, 1))
        await line.handle(ModelLoaded("r", ""))
        yield line, cameras
        for opened in line.work.open.values():
            opened.timer.cancel()


async def ask(line: Line, link: FakeLink, seq: int) -> None:
    await line.handle(FromPlc(link, TriggerRequest(seq, f"part-{seq}", time.monotonic_ns(), 9)))


async def test_a_picture_of_an_older_part_does_not_free_the_camera_of_the_next_one(rig: Rig) -> None:
    rig.recipe("r")
    async with a_line(rig) as (line, cameras):
        await ask(line, rig.link, 1)
        await line.handle(CameraDown("a", "unplugged"))
        await line.handle(CameraUp("a", 2))
        await ask(line, rig.link, 2)
        await line.handle(Exposed(Picture("a", 1), 1, "r", time.monotonic_ns()))
        await ask(line, rig.link, 3)
        assert [(shot.seq, shot.opening) for shot in cameras.shots["a"]] == [(1, 1), (2, 2)]
        assert [m.trigger_seq for m in rig.link.told if isinstance(m, TriggerRefused)] == [3]


def unseen(_picture: Picture, _frame: Frame) -> None: ...


@pytest.mark.parametrize(
    ("opening", "left_s", "reason"),
    [(2, 60, Reason.CAMERA), (1, -1, Reason.DEADLINE), (1, 60, None)],
    ids=["asked of a later opening", "after the deadline", "in time"],
)
async def test_a_shot_that_nobody_waits_for_any_more_is_not_taken(
    rig: Rig, opening: int, left_s: float, reason: Reason | None
) -> None:
    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    clock = SystemClock()
    fake = FakeCamera("a")
    camera = CameraThread(
        "a", CameraPlan(lambda: fake, rig.gate), [], 1.0, Setting("r", {}), clock, told.put, lambda _job: True,
        pipeline.prepare, lambda _camera: None, unseen, unseen, itertools.count(1),
    )  # fmt: skip
    camera.shoot(Shot(5, "r", PreparePlan(SPEC), opening, time.monotonic_ns() + int(left_s * 1e9)))
    thread = threading.Thread(target=camera.run)
    thread.start()
    assert await anyio.to_thread.run_sync(lambda: told.get(timeout=5)) == SettingDone("a", Setting("r", {}), "")
    assert await anyio.to_thread.run_sync(lambda: told.get(timeout=5)) == CameraUp("a", 1)
    answer = await anyio.to_thread.run_sync(lambda: told.get(timeout=5))
    camera.stop()
    thread.join()
    if reason is None:
        assert isinstance(answer, Exposed)
    else:
        assert isinstance(answer, ViewFailed)
        assert (answer.seq, answer.reason) == (5, reason)


async def test_nothing_is_kept_of_parts_that_are_done(rig: Rig) -> None:
    rig.recipe("r", cameras=("a", "b"))
    async with a_line(rig) as (line, cameras):
        for seq in range(1, 61):
            await ask(line, rig.link, seq)
            a, b = Picture("a", seq), Picture("b", seq)
            failed = ViewFailed(b, seq, Reason.NO_FRAME, "none")
            if seq % 3 == 0:  # the deadline comes before anything else
                await line.handle(Deadline(seq))
            await line.handle(Exposed(a, seq, "r", time.monotonic_ns()))
            if seq % 3 == 1:  # in between
                await line.handle(Deadline(seq))
            await line.handle(ViewFailed(a, None, Reason.INFERENCE, "from the model's thread"))
            if seq % 5 == 0:
                await line.handle(CameraDown("b", "unplugged"))
                await line.handle(failed)
                await line.handle(CameraUp("b", 1))
            else:
                await line.handle(failed)
        assert len(rig.link.results) == 60
        assert len(cameras.shots["a"]) == 60
        kept = (line.work.open, line.work.parts_of, line.work.settled, line.work.exposing)
        assert [len(held) for held in kept] == [0, 0, 0, 0]


async def test_a_camera_that_stays_away_is_one_alarm_and_not_one_a_try(rig: Rig) -> None:
    rig.recipe("r")
    line_events: list[Event] = []

    class Listening(SilentPublisher):
        def render(self, record: InspectionResult | Event) -> tuple[OutboxMessage, ...]:
            if isinstance(record, Event):
                line_events.append(record)
            return ()

    parts = replace(rig.parts(), publishers=[Listening()])
    async with anyio.create_task_group() as tasks:
        control = Control(socket_of(rig))
        tasks.start_soon(daemon.run, parts, control)
        await rig.link.ready()
        rig.cameras["a"].lost.set()
        await anyio.sleep(2)  # tries after 0, 0.5 and 1.5 s
        control.stop()
    assert [e.code for e in line_events] == ["camera_lost"]


class SilentPublisher:
    """A destination that is always there and gets nothing."""

    destination = "nowhere"

    def __enter__(self) -> SilentPublisher:
        return self

    def __exit__(self, *exc: object) -> None: ...
    def render(self, record: InspectionResult | Event) -> tuple[OutboxMessage, ...]:
        return ()

    def publish(self, messages: object) -> None: ...
    def announce(self, state: str, state_no: int, recipe: str) -> None: ...
    def metrics(self, values: dict[str, float]) -> None: ...
    def idle(self, timeout_s: float) -> None:
        time.sleep(timeout_s)


async def test_a_damaged_picture_of_a_line_camera_is_one_undefined_part(rig: Rig) -> None:
    rig.recipe("r", trigger="line")
    camera = rig.cameras["a"]
    good, broken = camera.grab, threading.Event()

    def grab(timeout_s: float) -> object:
        frame = good(timeout_s)
        if frame is not None and broken.is_set():
            broken.clear()
            raise FrameError("half a picture")
        return frame

    camera.grab = grab  # type: ignore[method-assign,assignment]
    async with rig.running() as link:
        await link.ready()
        broken.set()
        camera.push()
        result = await link.until(InspectionResult)
        assert (result.evaluation, result.reason, result.reason_text) == (
            Evaluation.UNDEFINED,
            Reason.BAD_FRAME,
            "half a picture",
        )
        camera.push()
        assert (await link.result(2)).evaluation is Evaluation.OK
    assert rig.books().accepted == 2


async def test_a_picture_that_could_not_be_recorded_is_not_counted_again_when_its_inference_fails(rig: Rig) -> None:
    rig.recipe("r", trigger="line", deadline_ms=20_000)
    rig.max_open = 80
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        for _ in range(64):  # the flight record of the rig has 64 slots
            rig.cameras["a"].push()
        await link.status(lambda s: s.queue_depth == 64)
        rig.cameras["a"].push()
        await link.status(lambda s: s.error_code == 501)
        await anyio.sleep(0.1)
        rig.backend.error = InferenceError("a bad output")
        rig.backend.slow.clear()
        await link.status(lambda s: s.queue_depth == 0)
        rig.backend.error = None
        await link.ready()
        rig.cameras["a"].push()
        await link.until(InspectionResult, lambda r: r.evaluation is Evaluation.OK)
    books = rig.books()
    assert (books.accepted, books.refused, books.results) == (65, 1, 65)


# --- time ------------------------------------------------------------------------------------------------------------


async def test_a_trigger_that_may_have_waited_through_a_stall_counts_its_deadline_from_before_it(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=400)
    async with rig.running() as link:
        await link.ready()
        await link.until(Alive)
        time.sleep(0.6)  # noqa: ASYNC251 - the whole loop stands still; the PLC's write waits in the socket
        link.trigger(1)
        result = await link.result(1)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.DEADLINE)
        await anyio.sleep(0.3)
        await link.ready()
        link.trigger(2)
        assert (await link.result(2)).evaluation is Evaluation.OK


async def test_a_verdict_that_the_loop_reaches_too_late_is_not_ok(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=300)
    async with rig.running() as link:
        await link.ready()
        link.trigger(1)
        await link.until(TriggerAccepted)
        time.sleep(0.5)  # noqa: ASYNC251 - the loop is held up
        assert (await link.result(1)).reason is Reason.DEADLINE


async def test_a_result_that_was_told_after_its_deadline_is_an_event_in_the_books(rig: Rig) -> None:
    class SlowLink(FakeLink):
        async def tell(self, message: PlcMessage) -> None:
            if isinstance(message, InspectionResult):
                await anyio.sleep(0.4)
            await super().tell(message)

    seen: list[Event] = []

    class Listening(SilentPublisher):
        def render(self, record: InspectionResult | Event) -> tuple[OutboxMessage, ...]:
            if isinstance(record, Event):
                seen.append(record)
            return ()

    rig.recipe("r", deadline_ms=300)
    rig.link = SlowLink()
    parts = replace(rig.parts(), publishers=[Listening()])
    async with anyio.create_task_group() as tasks:
        control = Control(socket_of(rig))
        tasks.start_soon(daemon.run, parts, control)
        await rig.link.ready()
        rig.link.trigger(1)
        result = await rig.link.result(1)
        await rig.link.status(lambda s: not s.busy)
        control.stop()
    assert [e.code for e in seen] == ["told_late"]
    assert result.result_id in seen[0].text


# --- the books -------------------------------------------------------------------------------------------------------


async def test_a_part_of_a_plc_that_has_restarted_since_is_booked_as_not_told(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.trigger(1)
        await link.until(TriggerAccepted)
        link.ask(LinkState(True, 10))  # the rig's PLC was number 9
        link.ask(LinkState(True, 10))
        await anyio.sleep(0.1)
        rig.backend.slow.clear()
        await link.result(1)
    assert [row.told for row in rig.rows()] == [False]


@pytest.mark.parametrize(
    "part_id", ["caf\udce9", "\x00", "\u00e9" * 254, "x" * 254], ids=["latin-1", "NUL", "umlauts", "long"]
)
async def test_a_part_id_of_strange_bytes_is_inspected_booked_and_published_like_any_other(
    rig: Rig, part_id: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    rig.recipe("r")
    identity = Identity("s", 71, "0")
    link = OpcUaServerLink("plc", Config(type="opcua_server", port=port), identity, SystemClock(), rig.folder / "plc")
    publisher = mqtt.MqttPublisher("broker", mqtt.Config(type="mqtt", host="127.0.0.1", port=9), identity)
    parts = replace(rig.parts(), identity=identity, links=[link], publishers=[publisher])
    control = Control(socket_of(rig))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, parts, control)
        plc = await a_plc(port)
        try:
            index = await plc.get_namespace_index(NAMESPACE)

            def node(tag: str) -> Node:
                return plc.get_node(ua.NodeId(f"Station.{tag}", index))

            async def until(tag: str, wanted: object) -> None:
                with anyio.fail_after(10):
                    while await node(tag).read_value() != wanted:  # noqa: ASYNC110 - it is another process in life
                        await anyio.sleep(0.02)

            number, text = ua.VariantType.UInt32, ua.VariantType.String
            await node("Control.Heartbeat").write_value(1, number)
            await node("Control.BootIdEcho").write_value(71, number)
            await until("Status.TriggerReady", True)
            await node("Control.PartId").write_value(part_id, text)
            await node("Control.TriggerSeq").write_value(1, number)
            await until("Result.TriggerSeq", 1)
            assert await node("Result.Evaluation").read_value() == Evaluation.OK
        finally:
            await plc.disconnect()
            control.stop()
    assert [row.evaluation for row in rig.rows()] == [Evaluation.OK]
    assert rig.rows()[0].part_id == part_id.encode("utf-8", "replace").decode()


async def a_plc(port: int) -> Client:
    with anyio.fail_after(20):
        while True:
            client = Client(f"opc.tcp://127.0.0.1:{port}/edge-inspector")
            try:
                await client.connect()
            except OSError:
                await anyio.sleep(0.1)
            else:
                return client


async def test_a_camera_that_hangs_does_not_hold_up_a_stop(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=20_000)
    rig.stop_timeout_s = 0.1
    release = threading.Event()
    rig.cameras["a"].grab = lambda _timeout_s: release.wait()  # type: ignore[method-assign,assignment,return-value]
    try:
        async with rig.running() as link:
            await link.ready()
            link.trigger(1)
            await link.until(TriggerAccepted)
    finally:
        release.set()
    assert (await link.result(1)).reason is Reason.SHUTDOWN
    assert rig.books().balanced


async def test_pictures_of_expired_parts_do_not_make_the_next_part_late(rig: Rig) -> None:
    rig.recipe("r", deadline_ms=300)
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        for seq in (1, 2, 3):
            link.trigger(seq)
            assert (await link.result(seq)).reason is Reason.DEADLINE
            await link.ready()
        rig.backend.slow.clear()
        link.trigger(4)
        assert (await link.result(4)).evaluation is Evaluation.OK
    assert rig.books().late == 3
