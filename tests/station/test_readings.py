"""What the running station tells of itself: its metrics, counted against its books, and asked for over its socket."""

from __future__ import annotations

import anyio
import pytest
from order_rig import begun, client, inspect, order
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from station_rig import Rig

from edge_inspector.interfaces import TriggerRefused, Vitals
from edge_inspector.station.supervision import HUNG_S
from edge_inspector.store.notice import Notice

pytestmark = pytest.mark.anyio


async def samples(rig: Rig) -> dict[str, float]:
    """Every sample, its labels summed up."""
    await begun(rig)
    text = await anyio.to_thread.run_sync(client(rig).metrics)
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


async def test_the_metrics_of_a_run_are_the_figures_of_its_books(rig: Rig) -> None:
    rig.recipe("r")
    async with rig.running() as link:
        await link.ready()
        for seq in (1, 2, 3):
            rig.cameras["a"].gray = 255 * (seq % 2)
            await link.ready()
            link.trigger(seq)
            await link.result(seq)
        await inspect(rig)  # a posted picture is no part
        await order(rig, "halt")
        await link.status(lambda s: s.halted)
        link.trigger(4)
        await link.until(TriggerRefused)
        told = await samples(rig)
        counted = await anyio.to_thread.run_sync(client(rig).counters)
    books = rig.books()
    assert (books.accepted, books.refused) == (4, 1)
    prefix = "edge_inspector_"
    assert told[prefix + "up"] == 1
    assert told[prefix + "triggers_accepted_total"] == 3
    assert told[prefix + "results_total"] == 3
    assert told[prefix + "told_seconds_count"] == 3
    assert told[prefix + "triggers_refused_total"] == 1
    assert counted["camera_a_frames"] == 3
    assert counted["open_inspections"] == 0


async def test_everything_that_may_be_asked_for_is_there(rig: Rig) -> None:
    rig.recipe("r", number=3)
    parts = rig.parts()
    readings = parts.metrics.readings
    assert readings().identity is None, "nobody has opened it yet"
    async with rig.running_parts(parts) as link:
        status = await link.ready()
        with anyio.fail_after(10):
            while parts.metrics.readings().status != status:  # noqa: ASYNC110 - told to the PLC first
                await anyio.sleep(0.01)
        seen = parts.metrics.readings()
        assert seen.identity == parts.identity
        assert (seen.classes, seen.deadline_s) == (("dark", "bright"), 1.0)
        assert seen.queues.keys() == {"line", "model", "ledger"}
        assert (seen.flight_slots, seen.flight_used, seen.ledger_healthy) == (64, 0, True)
        assert [(c.camera, c.up, c.opened, c.lost, c.hangs) for c in seen.cameras] == [("a", True, 1, 0, 0)]
        assert seen.links == {"plc": False}, "no PLC has shown that it is there"
        (engine,) = seen.engines
        assert (engine.recipe, engine.model, engine.backend, engine.memory_bytes) == ("r", "hash", "fake", 1)
        assert "line" in seen.progress_age_s
        assert seen.hung_s == HUNG_S
        assert isinstance(seen.vitals, Vitals)


async def test_what_the_ledger_notices_is_an_event_of_the_station(rig: Rig) -> None:
    rig.recipe("r")
    parts = rig.parts()
    async with rig.running_parts(parts) as link:
        await link.ready()
        parts.ledger.on_notice(Notice("warning", "messages_dropped", "40 messages for line"))
        parts.ledger.on_health(False, "the disk is full")
        await link.status(lambda s: s.alarm)
        await rig.booked("ledger_stopped")
    assert rig.events("messages_dropped") == ["40 messages for line"]
    assert rig.events("ledger_stopped") == ["the disk is full"]
