"""The digital link on each of its wires: kernel lines, camera orders, the coils of a remote I/O that is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import gpiod
import pydantic
import pytest
import tomli
from gpiod.line import Direction, Value
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from structlog.testing import capture_logs

from edge_inspector.datatypes import Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.errors import OutputError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import Alive, OutputOrder, ResultWritten, StationStatus
from edge_inspector.outputs.digital.config import CameraLines
from edge_inspector.outputs.digital.link import Config, DigitalLink
from edge_inspector.outputs.digital.signals import Role, risen_last
from edge_inspector.outputs.digital.wires import CameraWires

pytestmark = pytest.mark.anyio
PATIENT_S = 20.0
HOLD_MS = 30.0
READY = StationStatus(
    ready=True, busy=False, acquiring=False, halted=False, mode=Mode.PRODUCTION, recipe="r", recipe_no=1,
    recipe_ready=True, warning=False, error_code=0, error_text="", clock_synced=True, queue_depth=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def a_link(**wiring: Any) -> DigitalLink:
    config = Config.model_validate({"type": "digital", "result_hold_ms": HOLD_MS, **wiring})
    return DigitalLink("gate", config, Identity("station", 77, "1.2.3"), SystemClock(), Path("unused"))


def a_result(seq: int, evaluation: Evaluation = Evaluation.OK, in_s: float = 1000) -> InspectionResult:
    deadline_ns = time.monotonic_ns() + int(in_s * 1e9)
    trigger = Trigger(
        seq, f"s.0a.{seq}", seq, "", 1, Mode.PRODUCTION, "r", 1, 77, 0, 0, deadline_ns, "2026-11-22T01:02:03.004Z", True
    )
    return InspectionResult(trigger, evaluation, Reason.NONE, "", (), ("top",), 1, (0.25,), "", 0, {})


@asynccontextmanager
async def received(link: DigitalLink) -> AsyncIterator[list[object]]:
    """Calls `receive` all the time, as the station does."""
    requests: list[object] = []

    async def receive() -> None:
        with contextlib.suppress(OutputError):
            while True:
                requests.append(await link.receive())

    # Cancelled by its scope, as the station does: on Python 3.10 anyio takes asyncio's own cancel for a time-out.
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        try:
            with anyio.fail_after(PATIENT_S):
                yield requests
        finally:
            tasks.cancel_scope.cancel()


async def until(what: Callable[[], bool]) -> None:
    while not what():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


# --- lines of this machine --------------------------------------------------------------------------------------------


class KernelRequest:
    """Stands where libgpiod talks to the kernel."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.set: list[tuple[int, dict[Any, Value]]] = []
        self.released = False
        self.broken = False

    def __call__(self, *args: Any, **kwargs: Any) -> KernelRequest:
        self.asked.append((args, kwargs))
        return self

    def set_values(self, values: dict[Any, Value]) -> None:
        assert not self.released
        if self.broken:
            raise OSError(5, "Input/output error")
        self.set.append((time.monotonic_ns(), values))

    def release(self) -> None:
        self.released = True

    def edges(self, line: int | str) -> list[tuple[int, bool]]:
        return [(at, values[line] is Value.ACTIVE) for at, values in self.set if line in values]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> KernelRequest:
    request = KernelRequest()
    monkeypatch.setattr(gpiod, "request_lines", request)
    return request


GPIO = {"gpio": {"chip": "/dev/gpiochip4", "ready": "GPIO17", "ok": 27, "not_ok": 22}}


async def test_lines_are_asked_for_as_outputs_that_are_down_and_not_inverted(kernel: KernelRequest) -> None:
    async with a_link(**GPIO):
        ((args, kwargs),) = kernel.asked
    assert (args, kwargs["consumer"]) == (("/dev/gpiochip4",), "edge-inspector")
    assert set(kwargs["config"]) == {"GPIO17", 27, 22}
    for settings in kwargs["config"].values():
        assert (settings.direction, settings.output_value) == (Direction.OUTPUT, Value.INACTIVE)
        assert settings.active_low is False


async def test_ready_is_on_the_line_when_tell_returns(kernel: KernelRequest) -> None:
    async with a_link(**GPIO) as link:
        assert not link.dials
        await link.tell(READY)
        assert kernel.edges("GPIO17") == []
        await link.tell(Alive())
        assert [on for _, on in kernel.edges("GPIO17")] == [True]


async def test_an_ok_is_a_pulse_that_ends_by_itself(kernel: KernelRequest) -> None:
    async with a_link(**GPIO) as link, received(link):
        await link.tell(READY)
        await link.tell(a_result(1))
        assert [on for _, on in kernel.edges(27)] == [True]  # up when tell returns
        await link.tell(a_result(2))
        await until(lambda: len(kernel.edges(27)) == 4)
        edges = kernel.edges(27)
    assert [on for _, on in edges] == [True, False, True, False]
    times = [at for at, _ in edges]
    assert min(after - before for before, after in itertools.pairwise(times)) >= HOLD_MS * 1e6
    assert not any(on for _, on in kernel.edges(22))


async def test_lines_fall_when_the_link_is_closed_and_only_then_are_let_go(kernel: KernelRequest) -> None:
    async with a_link(**GPIO) as link:
        await link.tell(READY)
        await link.tell(Alive())
        await link.tell(a_result(1))
    assert kernel.set[-1][1] == dict.fromkeys(("GPIO17", 27, 22), Value.INACTIVE)
    assert kernel.released
    await link.tell(READY)  # a last word after the end moves nothing


async def test_a_chip_that_has_gone_is_an_output_error(kernel: KernelRequest) -> None:
    with capture_logs() as logs:
        async with a_link(**GPIO) as link:
            await link.tell(READY)
            kernel.broken = True
            with pytest.raises(OutputError, match=r"'gate', /dev/gpiochip4: lines cannot be set: .*Input/output error"):
                await link.tell(Alive())
    assert kernel.released
    assert [entry["event"] for entry in logs] == ["gpio_lines_not_let_fall"]


async def test_a_chip_that_is_not_there_is_named_with_the_remedy() -> None:
    link = a_link(gpio={"chip": "/dev/gpiochip987", "ready": 1, "ok": 2})
    with pytest.raises(OutputError, match=r"/dev/gpiochip987: cannot have the lines ready = 1, ok = 2: .*gpioinfo"):
        await link.__aenter__()


# --- lines of a camera ------------------------------------------------------------------------------------------------

CAMERA = {"camera": {"camera": "top", "ready": "Line2", "ok": "Line3"}}


async def test_all_lines_are_ordered_down_at_the_start() -> None:
    async with a_link(**CAMERA) as link:
        assert [await link.receive(), await link.receive()] == [
            OutputOrder("top", "Line2", False),
            OutputOrder("top", "Line3", False),
        ]


async def test_levels_and_pulses_become_orders_and_are_ordered_again_while_nothing_changes() -> None:
    async with a_link(**CAMERA) as link, received(link) as orders:
        await link.tell(READY)
        await link.tell(Alive())
        result = a_result(1)
        await link.tell(result)
        rises = OutputOrder("top", "Line3", True, result.trigger.deadline_ns)
        wanted = [rises, OutputOrder("top", "Line3", False)]
        await until(lambda: orders.count(OutputOrder("top", "Line2", True)) >= 3)
        assert [one for one in orders if one in wanted[:1]] == wanted[:1]  # the pulse is never ordered twice
        assert orders.index(wanted[0]) < len(orders) - 1 - orders[::-1].index(wanted[1])


async def test_a_camera_is_ordered_to_let_lines_fall_first_and_ready_rises_behind_ok() -> None:
    lines: dict[Role, str | int] = {"ready": "Line2", "ok": "Line3", "not_ok": "Line4"}
    wires = CameraWires(CameraLines.model_validate({"camera": "top", **lines}), lines, SystemClock())
    await wires.open()
    await wires.put({"ready": False, "ok": False, "not_ok": True}, None)
    wires.orders(None)
    await wires.put({"ready": True, "ok": True, "not_ok": False}, None)
    assert [(one.line, one.on) for one in wires.orders(None)] == [("Line4", False), ("Line3", True), ("Line2", True)]


# --- remote I/O -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def remote_io(port: int) -> AsyncIterator[list[tuple[int, bool]]]:
    """pymodbus as the device: every coil that was written, in order."""
    written: list[tuple[int, bool]] = []

    async def action(
        function: int, _start: int, address: int, _count: int, _now: list[int], values: list[int] | list[bool] | None
    ) -> None:
        if values is not None:
            assert function == 5
            written.append((address, bool(values[0])))

    bits = [SimData(0, count=1, values=[False] * 32, datatype=DataType.BITS)]
    words = [SimData(0, count=4, values=0, datatype=DataType.REGISTERS)]
    device = SimDevice(id=1, simdata=(bits, list(bits), words, list(words)), action=action)
    server = ModbusTcpServer(device, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield written
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


def io_link(port: int, **more: Any) -> DigitalLink:
    return a_link(modbus={"host": "127.0.0.1", "port": port, "ready": 0, "ok": 7, "timeout_s": 5, **more})


async def test_coils_follow_the_signals_and_written_results_are_told() -> None:
    port = free_port()
    async with remote_io(port) as written, io_link(port, refresh_ms=10_000) as link, received(link) as requests:
        assert link.dials
        assert written == [(0, False), (7, False)]
        await link.tell(READY)
        await link.tell(Alive())
        await link.tell(a_result(1))
        await until(lambda: len(requests) == 1)
        await link.tell(a_result(2, Evaluation.NOT_OK))
        await until(lambda: written[-1] == (7, False) and len(requests) == 2)
        assert [written.count(edge) for edge in ((0, True), (7, True))] == [1, 1]
    assert [one.result_ids for one in requests if isinstance(one, ResultWritten)] == [("s.0a.1",), ("s.0a.2",)]
    assert written[-2:] == [(0, False), (7, False)]  # closed: everything falls


async def test_ok_is_confirmed_before_ready_calls_for_the_next_part() -> None:
    """Coils are written one by one: behind READY a slow device would bring this OK in the middle of the next part."""
    port = free_port()
    async with remote_io(port) as written, io_link(port, refresh_ms=10_000) as link, received(link):
        await link.tell(replace(READY, queue_depth=1))
        await link.tell(Alive())
        await link.tell(a_result(1))
        await link.tell(READY)
        await until(lambda: (0, True) in written)
        assert [edge for edge in written if edge[1]] == [(7, True), (0, True)]


async def test_all_coils_fall_when_the_station_is_cancelled() -> None:
    port = free_port()
    async with remote_io(port) as written:
        with anyio.CancelScope() as station:
            async with io_link(port, refresh_ms=10_000, heartbeat=9) as link:
                await link.tell(READY)
                await link.tell(Alive())
                async with received(link):
                    await until(lambda: {(0, True), (9, True)} <= set(written))
                station.cancel()
                await anyio.sleep(PATIENT_S)
        assert dict(written) == {0: False, 7: False, 9: False}


async def test_coils_are_written_again_for_the_watchdog_of_the_device() -> None:
    port = free_port()
    async with remote_io(port) as written, io_link(port, refresh_ms=10) as link, received(link):
        await link.tell(READY)
        await link.tell(Alive())
        await until(lambda: written.count((0, True)) >= 5)


async def test_after_an_outage_everything_begins_down_and_old_oks_are_not_given() -> None:
    port = free_port()
    link = io_link(port, refresh_ms=10)
    async with remote_io(port), link:
        await link.tell(READY)
        await link.tell(Alive())
    await link.tell(a_result(1))  # while it is away
    await link.tell(a_result(3, Evaluation.NOT_OK))
    with pytest.raises(OutputError, match=rf"'gate': Modbus device 127.0.0.1:{port}: no connection"):
        await link.__aenter__()
    async with remote_io(port) as written, link, received(link) as requests:
        assert written == [(0, False), (7, False)]
        await link.tell(Alive())
        await until(lambda: (0, True) in written)
        await link.tell(a_result(2))
        await until(lambda: len(requests) == 1)
        assert written.count((7, True)) >= 1
    assert [one.result_ids for one in requests if isinstance(one, ResultWritten)] == [("s.0a.2",)]


Answer = Callable[[bytes], bytes]


class BadDevice(asyncio.Protocol):
    """Answers each request as it likes; b"" = it hangs up."""

    def __init__(self, answer: Answer, lost: list[Exception | None]) -> None:
        self.answer = answer
        self.lost = lost
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while len(self.received) >= 12:
            reply, self.received = self.answer(self.received[:12]), self.received[12:]
            self.transport.write(reply)
            if not reply:
                self.transport.abort()


@asynccontextmanager
async def bad_device(answer: Answer, lost: list[Exception | None]) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(lambda: BadDevice(answer, lost), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            lambda asked: asked[:4] + struct.pack(">HBBB", 3, asked[6], 0x85, 2),
            r"coil 0 is refused, exception 2 \(illegal ad",
        ),
        (lambda asked: asked[:10] + b"\xff\x00", "is confirmed by 05"),
        (lambda asked: b"", "connection is lost"),
        (lambda asked: b"HTTP/1.1 400 Bad Request\r\n\r\n", "connection is lost"),
        (lambda asked: b"\xff\xff" + asked[2:], "no answer within 0.1 s"),
    ],
    ids=["exception", "other value", "hangs up", "no Modbus", "other transaction"],
)
async def test_a_device_that_does_not_confirm_is_lost(answer: Answer, text: str) -> None:
    async with bad_device(answer, []) as port:
        link = io_link(port, timeout_s=0.1)
        with pytest.raises(OutputError, match=text):
            await link.__aenter__()


async def test_the_connection_to_a_silent_device_is_reset_so_that_nothing_of_it_arrives_later() -> None:
    lost: list[Exception | None] = []
    asked: list[bytes] = []

    def silent(request: bytes) -> bytes:
        asked.append(request)
        return request if len(asked) <= 2 else b"\0"

    async with bad_device(silent, lost) as port, io_link(port, timeout_s=0.1) as link:
        await link.tell(READY)
        await link.tell(Alive())
        with pytest.raises(OutputError, match=r"no answer within 0.1 s"):
            await link.receive()
        with anyio.fail_after(PATIENT_S):
            await until(lambda: bool(lost))
    assert isinstance(lost[0], ConnectionResetError)


async def test_an_ok_that_is_not_confirmed_in_its_parts_time_is_taken_back_with_the_connection() -> None:
    """Whatever the device's own time is: later the edge would be the next part's."""
    lost: list[Exception | None] = []

    def answer(asked: bytes) -> bytes:
        return b"\0" if asked[8:12] == bytes((0, 7, 0xFF, 0)) else asked

    async with bad_device(answer, lost) as port:
        with anyio.fail_after(5):  # half of what the device may take
            async with io_link(port, timeout_s=10) as link:
                await link.tell(a_result(1, in_s=0.3))
                with pytest.raises(OutputError, match="no answer within"):
                    await link.receive()
                await until(lambda: bool(lost))
    assert isinstance(lost[0], ConnectionResetError)


async def test_an_ok_whose_time_runs_out_behind_a_slow_write_is_not_written() -> None:
    written: list[bytes] = []

    def answer(asked: bytes) -> bytes:
        written.append(asked[8:11])
        if written.count(b"\0\0\0") == 2:  # the first one was at the start
            time.sleep(0.6)
        return asked

    async with bad_device(answer, []) as port, io_link(port, refresh_ms=10_000) as link:
        await link.tell(READY)
        await link.tell(Alive())
        async with received(link):
            await until(lambda: b"\0\0\xff" in written)
        await link.tell(replace(READY, ready=False))
        await link.tell(a_result(1, in_s=0.5))
        with pytest.raises(OutputError, match="too slow: the time for coil 7 is over"):
            await link.receive()
    assert b"\0\7\xff" not in written


async def test_a_reject_that_is_told_during_a_write_is_reported_by_the_next_one() -> None:
    tell: list[Callable[[], object]] = []

    def answer(asked: bytes) -> bytes:
        if tell and asked[9] == 7 and asked[10]:
            tell.pop()()
        return asked

    async with bad_device(answer, []) as port, io_link(port, refresh_ms=10) as link, received(link) as requests:
        await link.tell(READY)
        tell.append(lambda: asyncio.ensure_future(link.tell(a_result(2, Evaluation.NOT_OK))))
        await link.tell(a_result(1))
        await until(lambda: len(requests) == 2)
    assert [one.result_ids for one in requests if isinstance(one, ResultWritten)] == [("s.0a.1",), ("s.0a.2",)]


def test_of_lines_that_change_at_once_those_that_fall_are_first_and_ready_rises_last() -> None:
    levels: dict[Role, bool] = {"ready": True, "ok": True, "not_ok": False, "healthy": True, "heartbeat": False}
    assert sorted(levels, key=lambda role: risen_last(levels, role)) == [
        *("not_ok", "heartbeat", "ok", "healthy", "ready")
    ]


async def test_a_receive_that_was_cancelled_in_the_middle_of_a_write_goes_on_where_it_was() -> None:
    coils: dict[int, bool] = {}
    cancel: list[Callable[[], object]] = []

    def answer(asked: bytes) -> bytes:
        coils[int.from_bytes(asked[8:10], "big")] = asked[10] == 0xFF
        if cancel and coils.get(7):
            cancel.pop()()
        return asked

    async with bad_device(answer, []) as port, io_link(port, refresh_ms=10_000) as link:
        await link.tell(READY)
        await link.tell(a_result(1))
        first = asyncio.ensure_future(link.receive())
        cancel.append(first.cancel)
        with pytest.raises(asyncio.CancelledError):
            await first
        with anyio.fail_after(PATIENT_S):
            written = await link.receive()
    assert isinstance(written, ResultWritten)
    assert written.result_ids == ("s.0a.1",)


async def test_a_coil_that_may_have_risen_unconfirmed_is_written_again_when_it_should_be_down() -> None:
    written: list[tuple[int, bool]] = []
    cancel: list[Callable[[], object]] = []

    def answer(asked: bytes) -> bytes:
        written.append((int.from_bytes(asked[8:10], "big"), asked[10] == 0xFF))
        if cancel and written[-1] == (0, True):
            cancel.pop()()
        return asked

    async with bad_device(answer, []) as port, io_link(port, refresh_ms=10_000) as link:
        await link.tell(READY)
        async with received(link):
            await link.tell(Alive())
            await until(lambda: (0, True) in written)  # the refresh at the start is over
            await link.tell(replace(READY, ready=False))
            await until(lambda: written[-1] == (0, False))
        await link.tell(READY)
        first = asyncio.ensure_future(link.receive())
        cancel.append(first.cancel)
        with pytest.raises(asyncio.CancelledError):
            await first
        assert written[-1] == (0, True)
        await link.tell(replace(READY, ready=False))
        async with received(link):
            await until(lambda: written[-1] == (0, False))


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "found none of them, expected exactly one of camera, gpio and modbus"),
        ({**GPIO, **CAMERA}, "found camera and gpio, expected exactly one"),
        ({"gpio": {"ready": 1, "ok": 1}}, "two signals share a line: ready = 1, ok = 1"),
        ({"gpio": {"ready": 1, "ok": 2, "active_low": True}}, "Extra inputs"),
        ({**GPIO, "acknowledge": True}, "False"),
        ({"modbus": {"host": "10.0.0.9", "ready": 0, "ok": -1}}, "greater than or equal to 0"),
    ],
)
def test_a_wiring_that_cannot_be_meant_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=text):
        Config.model_validate({"type": "digital", **settings})


def test_the_examples_in_the_how_to_are_right() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "digital-outputs.md").read_text(encoding="utf-8")
    examples = [tomli.loads(text)["plc"]["gate"] for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    assert [Config.model_validate(example).output_cameras for example in examples] == [("top",), (), ()]
    wirings = [type(Config.model_validate(example).wiring).__name__ for example in examples]
    assert wirings == ["CameraLines", "GpioLines", "RemoteIo"]
