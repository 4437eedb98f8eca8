"""Open everything, run everything, close everything: the station's tasks and threads."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack
from functools import partial

import anyio
import structlog

from edge_inspector.control import Control
from edge_inspector.datatypes import Reason
from edge_inspector.health.notify import Notifier
from edge_inspector.health.progress import ProgressBook
from edge_inspector.interfaces import Order, OrderAnswer
from edge_inspector.station.changes import book_changes
from edge_inspector.station.events import Ordered, Stop, TimerTick
from edge_inspector.station.line import Line
from edge_inspector.station.links import keep_open
from edge_inspector.station.parts import Parts
from edge_inspector.station.readings import readings
from edge_inspector.station.recovery import first_free_seq, recover
from edge_inspector.station.reload import hangups
from edge_inspector.station.restarts import HEALTHY_S, Restarts
from edge_inspector.station.status_text import status_text
from edge_inspector.station.supervision import HUNG_S, PULSE_S, Supervision
from edge_inspector.station.threads import JOIN_S, Threads
from edge_inspector.station.vitals_watch import VitalsWatch
from edge_inspector.store.records import BookStopped

log = structlog.get_logger()
DRAIN_S = 20.0
"""How long a stop may take beyond `stop_timeout_s`: threads end, what was decided reaches books, PLC and brokers."""
MARGIN_S = 5.0
"""So much later the service manager may lose its patience: what hung stands in the log by then."""
OPEN_S = 600.0
"""How long the books may take to open: a book of years is copied before it is migrated, on a slow disk."""
LAST_WORDS_S = 1.0
"""How long a station that had to end may tell its links so; one of them may be what hangs."""
READ_S = 0.2
"""A PLC that polls may read the last words for so long before its link closes."""
SWITCH_INTERVAL_S = 0.0005
"""Python's default of 5 ms lets a busy thread hold up the line loop by 10 ms."""


async def run(
    parts: Parts,
    control: Control,
    notifier: Notifier | None = None,
    restarts: Restarts | None = None,
    end_within: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Run one station until SIGTERM, SIGINT or the control socket's `stop`. Any exception means: restart me.

    `notifier` None = no service manager listens, `restarts` None = nobody counts the starts. `end_within` is told when
    the end begins, and how long it may take: a link that hangs must not hold up the next start for ever.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    notifier = Notifier() if notifier is None else notifier
    notifier.starting("the books are being opened", OPEN_S)
    with ExitStack() as last, ExitStack() as files:
        files.enter_context(parts.flight)
        files.enter_context(parts.ledger)
        async with AsyncExitStack() as links:
            for link in parts.links:
                if not link.dials:
                    await links.enter_async_context(link)
            # heard until the very end: a second one must not break off what the first has begun
            stops = last.enter_context(anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT))
            await _serve(parts, control, notifier, restarts or Restarts(None), stops, end_within)
    log.info("stopped")


async def _serve(
    parts: Parts,
    control: Control,
    notifier: Notifier,
    restarts: Restarts,
    stops: AsyncIterator[signal.Signals],
    end_within: Callable[[float], None],
) -> None:
    recover(parts)
    book_changes(parts.configuration, parts.ledger, parts.clock)
    progress = ProgressBook(parts.clock)
    line = Line(parts, first_free_seq(parts), control.emit)
    _tell_past(line, restarts)
    line.notifier = notifier
    threads = Threads(line, progress)
    parts.metrics.readings = partial(readings, line, threads.gpu, threads.publishers, progress, HUNG_S)
    _bind(control, line)
    threads.start()
    threads.real_time.prefer()  # the loop's own; after the start, because a new thread stays on its parent's cores
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(control.serve, name="control")
            for link in parts.links:
                tasks.start_soon(keep_open, link, line.events.put_nowait, name=f"plc-{link.name}")
            vitals = VitalsWatch(parts.state_dir, parts.clock, line.events.put_nowait)
            tasks.start_soon(vitals.disk, name="disk")
            tasks.start_soon(vitals.sensors, name="sensors")
            tasks.start_soon(vitals.tell, name="vitals")
            tasks.start_soon(_timer, line, name="timer")
            supervision = Supervision(line, progress, threads.publishers, notifier, threads.builds.check)
            tasks.start_soon(supervision.run, name="pulse")
            tasks.start_soon(_signals, stops, line, name="signals")
            tasks.start_soon(hangups, line.reload, lambda: line.post(Stop()), name="hangups")
            tasks.start_soon(line.reload.run, notifier, name="reload")
            tasks.start_soon(line.reload.keep, name="last-good")
            tasks.start_soon(_limit_stop, line, parts.limits.stop_timeout_s, notifier, end_within, name="stop-timeout")
            notifier.ready()
            asyncio.get_running_loop().call_later(HEALTHY_S, restarts.healthy)
            await line.run()
            with anyio.move_on_after(JOIN_S):  # what was decided is on its way to the PLC
                while line.links.telling:
                    await line.handle(await line.events.get())
            line.links.give_up()
            parts.ledger.submit(BookStopped(parts.identity.boot_id, parts.clock.utc()))
            await control.finish()
            tasks.cancel_scope.cancel()
    finally:
        end_within(DRAIN_S)
        try:
            await _last_words(line)
        finally:
            await threads.stop()


async def _last_words(line: Line) -> None:
    """Whatever ends the station: no part stays open, and the PLC does not wait for a heartbeat to stay away."""
    surprised = not line.stopping.is_set()
    with anyio.move_on_after(LAST_WORDS_S, shield=True):
        try:
            await line.end("the station had to end")
        except Exception as exc:  # what has ended the station is what its books and its exit code tell
            if not surprised:
                raise
            log.error("last_words_failed", error=repr(exc))
        if surprised:
            await anyio.sleep(READ_S)


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


def _tell_past(line: Line, restarts: Restarts) -> None:
    """What the station found of its last run, and a person should know."""
    parts = line.parts
    if restarts.why:
        line.booking.event("warning", "restarted", f"the last run ended by itself: {restarts.why}")
    for name, path in (("flight record", parts.flight.set_aside), ("ledger", parts.ledger.set_aside)):
        if path is not None:
            line.booking.event(
                "alarm", "set_aside", f"the {name} was damaged and is kept as {path}; a new one was begun"
            )
    for destination, count in parts.ledger.stranded().items():
        text = f"{count} messages wait for {destination!r}, which this station does not have any more"
        line.booking.event("warning", "stranded_messages", text)


async def _timer(line: Line) -> None:
    """Tick for a timer recipe, without drift; another recipe or period begins with a whole one of its own."""
    name, period_s, due = "", None, 0.0
    while True:
        now, recipe = anyio.current_time(), line.condition.recipe
        if (name, period_s) != (recipe.name, recipe.settings.period_s):
            name, period_s = recipe.name, recipe.settings.period_s
            due = now + (period_s or 0.0)
        if period_s is not None and now >= due:
            line.events.put_nowait(TimerTick())
            due = max(due + period_s, now)
        look = now + PULSE_S  # a changeover ends a long period
        await anyio.sleep_until(look if period_s is None else min(due, look))


async def _signals(stops: AsyncIterator[signal.Signals], line: Line) -> None:
    async for number in stops:
        log.info("stop_requested", signal=number.name)
        line.post(Stop())


async def _limit_stop(line: Line, timeout_s: float, notifier: Notifier, end_within: Callable[[float], None]) -> None:
    """Give open parts some time to finish after a stop, then settle them."""
    await line.stopping.wait()
    end_within(timeout_s + DRAIN_S)
    notifier.stopping(status_text(line, ()), timeout_s + DRAIN_S + MARGIN_S)
    await anyio.sleep(timeout_s)
    await line.work.settle_all(Reason.SHUTDOWN, "the station was stopped")
