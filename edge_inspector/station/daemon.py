"""Open everything, run everything, close everything: the station's tasks and threads."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, ExitStack
from functools import partial

import anyio
import structlog

from edge_inspector.control import Control
from edge_inspector.datatypes import Reason
from edge_inspector.health.progress import ProgressBook
from edge_inspector.health.vitals import read_vitals
from edge_inspector.interfaces import Order, OrderAnswer
from edge_inspector.station.cameras import StationHung
from edge_inspector.station.changes import book_changes
from edge_inspector.station.events import Ordered, Pulse, Stop, TimerTick, VitalsRead
from edge_inspector.station.line import Line
from edge_inspector.station.links import keep_open
from edge_inspector.station.parts import Parts
from edge_inspector.station.publisher_thread import PublisherThread
from edge_inspector.station.readings import readings
from edge_inspector.station.recovery import first_free_seq, recover
from edge_inspector.station.threads import JOIN_S, Threads
from edge_inspector.store.records import BookStopped

log = structlog.get_logger()
PULSE_S = 0.1
STALE_S = 1.5
"""A verdict path that shows no progress for this long gets no heartbeat: the PLC rejects."""
HUNG_S = 30.0
"""After this long without progress the process ends, so that systemd starts a new one."""
SWITCH_INTERVAL_S = 0.0005
"""Python's default of 5 ms lets a busy thread hold up the line loop by 10 ms."""
VITALS_S = 5.0


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
    book_changes(parts.configuration, parts.ledger, parts.clock)
    progress = ProgressBook(parts.clock)
    line = Line(parts, first_free_seq(parts), control.emit)
    _tell_past(line)
    threads = Threads(line, progress)
    parts.metrics.readings = partial(readings, line, threads.gpu, threads.publishers, progress, HUNG_S)
    _bind(control, line)
    threads.start()
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(control.serve, name="control")
            for link in parts.links:
                tasks.start_soon(keep_open, link, line.events.put_nowait, name=f"plc-{link.name}")
            tasks.start_soon(_vitals, line, name="vitals")
            tasks.start_soon(_timer, line, name="timer")
            tasks.start_soon(_pulse, line, progress, threads.publishers, name="pulse")
            tasks.start_soon(_signals, line, name="signals")
            tasks.start_soon(_limit_stop, line, parts.limits.stop_timeout_s, name="stop-timeout")
            await line.run()
            with anyio.move_on_after(JOIN_S):  # what was decided is on its way to the PLC
                while line.links.telling:
                    await line.handle(await line.events.get())
            line.links.give_up()
            parts.ledger.submit(BookStopped(parts.identity.boot_id, parts.clock.utc()))
            await control.finish()
            tasks.cancel_scope.cancel()
    finally:
        await threads.stop()


def _bind(control: Control, line: Line) -> None:
    """What the control socket answers with."""
    parts = line.parts
    loop = asyncio.get_running_loop()

    async def order(order: Order) -> OrderAnswer:
        answered: asyncio.Future[OrderAnswer] = loop.create_future()
        line.events.put_nowait(Ordered(order, partial(_settle, answered)))
        return await answered

    control.facts = lambda: {
        "station": parts.identity.station,
        "boot_id": parts.identity.boot_id,
        "version": parts.identity.software_version,
        "audit_head": parts.ledger.audit_head,
    }
    control.status = lambda: line.status
    control.counters = parts.metrics.flat
    control.metrics = lambda: parts.metrics.openmetrics().decode()
    control.order = order
    control.stop = lambda who="": line.post(Stop(who))


def _settle(answered: asyncio.Future[OrderAnswer], answer: OrderAnswer) -> None:
    if not answered.done():  # who asked may have hung up
        answered.set_result(answer)


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


async def _vitals(line: Line) -> None:
    while True:
        vitals = await anyio.to_thread.run_sync(read_vitals, line.parts.state_dir, abandon_on_cancel=True)
        line.events.put_nowait(VitalsRead(vitals))
        await anyio.sleep(VITALS_S)


async def _timer(line: Line) -> None:
    """Tick for a timer recipe, without drift; another recipe begins with a whole period of its own."""
    recipe, due = None, 0.0
    while True:
        now = anyio.current_time()
        if recipe is not line.condition.recipe:
            recipe = line.condition.recipe
            due = now + (recipe.settings.period_s or 0.0)
        period_s = recipe.settings.period_s
        if period_s is not None and now >= due:
            line.events.put_nowait(TimerTick())
            due = max(due + period_s, now)
        look = now + PULSE_S  # a changeover ends a long period
        await anyio.sleep_until(look if period_s is None else min(due, look))


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


async def _signals(line: Line) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stop_requested", signal=number.name)
            line.post(Stop())


async def _limit_stop(line: Line, timeout_s: float) -> None:
    """Give open parts some time to finish after a stop, then settle them."""
    await line.stopping.wait()
    await anyio.sleep(timeout_s)
    await line.work.settle_all(Reason.SHUTDOWN, "the station was stopped")
