"""Open everything, run everything, close everything: the station's tasks and threads."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial

import anyio
import structlog

from edge_inspector import pipeline
from edge_inspector.control import Control
from edge_inspector.datatypes import Reason
from edge_inspector.health.progress import ProgressBook
from edge_inspector.health.vitals import read_vitals
from edge_inspector.station.camera_thread import CameraThread
from edge_inspector.station.cameras import Cameras, StationHung
from edge_inspector.station.engine_builds import EngineBuilds
from edge_inspector.station.events import Died, OutputTrouble, Pulse, Setting, Stop, TimerTick, VitalsRead
from edge_inspector.station.gpu_thread import GpuThread
from edge_inspector.station.line import Line
from edge_inspector.station.links import keep_open
from edge_inspector.station.output_lines import OutputLines
from edge_inspector.station.parts import Parts
from edge_inspector.station.publisher_thread import PublisherThread
from edge_inspector.station.recovery import first_free_seq, recover

log = structlog.get_logger()
PULSE_S = 0.1
STALE_S = 1.5
"""A verdict path that shows no progress for this long gets no heartbeat: the PLC rejects."""
HUNG_S = 30.0
"""After this long without progress the process ends, so that systemd starts a new one."""
SWITCH_INTERVAL_S = 0.0005
"""Python's default of 5 ms lets a busy thread hold up the line loop by 10 ms."""
VITALS_S = 5.0
_JOIN_S = 2.0


async def run(parts: Parts, control: Control) -> None:
    """Run one station until SIGTERM, SIGINT or the control socket's `stop`. Any exception means: restart me."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with ExitStack() as files:
        files.enter_context(parts.flight)
        files.enter_context(parts.ledger)
        async with AsyncExitStack() as links:
            for link in parts.links:
                if not link.dials:
                    await links.enter_async_context(link)
            await _serve(parts, control)
    log.info("stopped")


async def _serve(parts: Parts, control: Control) -> None:
    recover(parts)
    progress = ProgressBook(parts.clock)
    line = Line(parts, first_free_seq(parts), control.emit)
    _tell_past(line)
    gpu = GpuThread(
        parts.backend,
        parts.engines,
        parts.recipes,
        parts.clock,
        progress,
        parts.limits.max_open * len(parts.cameras),
        line.post,
    )
    builds = EngineBuilds(parts.build_command, parts.backend.proof == "each_start", parts.engines.report, line.post)
    line.models.order_load, line.models.order_build = gpu.order_load, builds.put
    threads = []

    def camera_thread(name: str, setting: Setting, numbers: Iterator[int]) -> CameraThread:
        return CameraThread(
            name=name,
            plan=parts.cameras[name],
            plans=[recipe.plans[name] for recipe in parts.recipes.values() if name in recipe.plans],
            grab_timeout_s=parts.limits.grab_timeout_s,
            setting=setting,
            clock=parts.clock,
            post=line.post,
            infer=gpu.put,
            prepare=pipeline.prepare_on_device if parts.backend.prepares_on_device else pipeline.prepare,
            by_itself=line.by_itself,
            numbers=numbers,
        )

    def start_camera(camera: CameraThread) -> None:
        threads.append(_start(f"camera-{camera.name}", camera.run, line))

    settings = {name: line.condition.recipe.setting(name) for name in parts.cameras}
    line.cameras = Cameras(settings, camera_thread, start_camera, parts.clock, line.post)
    line.outputs = OutputLines(
        parts.output_cameras,
        line.cameras.opened,
        parts.clock,
        lambda camera, text: line.post(OutputTrouble(camera, text)),
    )
    publishers = [
        PublisherThread(publisher, parts.ledger, line.post, partial(_metrics, line)) for publisher in parts.publishers
    ]
    _bind(control, line)
    booking = _start("ledger", parts.ledger.run, line)
    threads.append(_start("gpu", gpu.run, line))
    threads.append(_start("engine-builds", builds.run, line))
    line.cameras.start()
    outputs = [_start(f"outputs-{name}", run, line) for name, run in line.outputs.threads.items()]
    publishing = [_start(f"publish-{p.publisher.destination}", p.run, line) for p in publishers]
    try:
        async with anyio.create_task_group() as tasks:
            for link in parts.links:
                tasks.start_soon(keep_open, link, line.events.put_nowait, name=f"plc-{link.name}")
            tasks.start_soon(_vitals, line, name="vitals")
            tasks.start_soon(_timer, line, name="timer")
            tasks.start_soon(_pulse, line, progress, publishers, name="pulse")
            tasks.start_soon(_signals, line, name="signals")
            tasks.start_soon(control.serve, name="control")
            tasks.start_soon(_limit_stop, line, parts.limits.stop_timeout_s, name="stop-timeout")
            await line.run()
            with anyio.move_on_after(_JOIN_S):  # what was decided is on its way to the PLC
                while line.links.telling:
                    await line.handle(await line.events.get())
            line.links.give_up()
            tasks.cancel_scope.cancel()
    finally:
        line.outputs.stop()
        _join(outputs)
        line.cameras.stop()
        gpu.stop()
        builds.stop()
        _join(threads)
        await _until(lambda: parts.ledger.waiting == 0)  # what was decided is in the outbox before it is drained
        for publisher in publishers:
            publisher.stop()
        _join(publishing)
        parts.ledger.close()
        _join([booking])


def _bind(control: Control, line: Line) -> None:
    """What the control socket answers with."""
    control.status = lambda: line.status
    control.counters = partial(_metrics, line)
    control.stop = lambda: line.post(Stop())


def _tell_past(line: Line) -> None:
    """What the station found of its last run, and a person should know."""
    parts = line.parts
    for name, path in (("flight record", parts.flight.set_aside), ("ledger", parts.ledger.set_aside)):
        if path is not None:
            line.booking.event(
                "alarm", "set_aside", f"the {name} was damaged and is kept as {path}; a new one was begun"
            )
    for destination, count in parts.ledger.stranded().items():
        text = f"{count} messages wait for {destination!r}, which this station does not have any more"
        line.booking.event("warning", "stranded_messages", text)


def _start(name: str, work: Callable[[], None], line: Line) -> threading.Thread:
    """A daemon thread, so that a hung driver cannot keep the process alive; its death is the station's."""

    def guarded() -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the line loop raises it again
            line.post(Died(name, exc))

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


def _join(threads: list[threading.Thread]) -> None:
    """Wait for all of them together: threads whose driver hangs must not hold up the end one by one."""
    end = time.monotonic() + _JOIN_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            log.error("thread_does_not_end", thread=thread.name)


async def _until(done: Callable[[], bool]) -> None:
    """Wait for a short while, also when the task group is being cancelled."""
    with anyio.CancelScope(shield=True), anyio.move_on_after(_JOIN_S):
        while not done():  # noqa: ASYNC110 - the ledger's thread sets no event of the loop
            await anyio.sleep(0.01)


async def _vitals(line: Line) -> None:
    while True:
        vitals = await anyio.to_thread.run_sync(read_vitals, line.parts.state_dir, abandon_on_cancel=True)
        line.events.put_nowait(VitalsRead(vitals))
        await anyio.sleep(VITALS_S)


async def _timer(line: Line) -> None:
    """Tick for a timer recipe, without drift."""
    due = anyio.current_time()
    while True:
        period_s = line.condition.recipe.settings.period_s
        due = max(due + (period_s or PULSE_S), anyio.current_time())
        await anyio.sleep_until(due)
        if period_s is not None:
            line.events.put_nowait(TimerTick())


async def _pulse(line: Line, progress: ProgressBook, publishers: list[PublisherThread]) -> None:
    """The heartbeat, signed by the progress of the line loop and the GPU thread; a camera is replaced when it hangs."""
    while True:
        line.stalls.awake()
        if not line.pulse_waiting:  # the line loop has come to the last one
            progress.sign("line")
        line.cameras.check()
        line.outputs.check()
        hung = progress.stale(HUNG_S)
        if hung:
            raise StationHung(f"no progress for {HUNG_S:g} s in: {', '.join(hung)}")
        if not line.pulse_waiting:
            line.pulse_waiting = True
            line.events.put_nowait(Pulse(alive=not progress.stale(STALE_S)))
        if line.status is not None:
            for publisher in publishers:
                publisher.announce(line.status)
        await anyio.sleep(PULSE_S)


def _metrics(line: Line) -> dict[str, float]:
    waiting = {"open_inspections": float(len(line.open)), "ledger_waiting": float(line.parts.ledger.waiting)}
    return waiting | line.cameras.counters()


async def _signals(line: Line) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stop_requested", signal=number.name)
            line.post(Stop())


async def _limit_stop(line: Line, timeout_s: float) -> None:
    """Give open parts some time to finish after a stop, then settle them."""
    await line.stopping.wait()
    await anyio.sleep(timeout_s)
    await line.settle_all(Reason.SHUTDOWN, "the station was stopped")
