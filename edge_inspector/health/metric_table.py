"""The metrics that are asked of the station at each reading, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Literal

from prometheus_client.metrics_core import Metric as Family

from edge_inspector.datatypes import CameraStatistics, Mode
from edge_inspector.health.metric import Asked, Metric, Rows
from edge_inspector.health.readings import DestinationReading, Readings
from edge_inspector.interfaces import StationStatus


def families(readings: Readings) -> Iterator[Family]:
    return (asked.family(readings) for asked in ASKED)


def _known(value: float | None) -> Rows:
    return () if value is None else (((), float(value)),)


def _percent(value: float | None) -> Rows:
    return _known(None if value is None else value / 100.0)


def _flag(name: str, text: str, said: Callable[[StationStatus], bool]) -> Asked:
    """What the station says of itself; 0 while it does not say anything yet."""

    def rows(readings: Readings) -> Rows:
        return (((), float(readings.status is not None and said(readings.status))),)

    return Asked(Metric(name, "gauge", text), rows)


UP = Asked(Metric("up", "gauge", "1: the station answers; 0: the web service does not reach it."), lambda _: _known(1))


def _station() -> Iterator[Asked]:
    yield UP
    yield Asked(
        Metric("station", "info", "The station and its software.", ("name", "version")),
        lambda r: () if r.identity is None else [((r.identity.station, r.identity.software_version), 1)],
    )
    yield Asked(
        Metric("active_recipe", "info", "The recipe in use.", ("recipe", "recipe_no")),
        lambda r: () if r.status is None else [((r.status.recipe, str(r.status.recipe_no)), 1)],
    )
    yield Asked(
        Metric(
            "deadline_seconds", "gauge", "The active recipe's deadline, from the trigger to the end of the PLC write."
        ),
        lambda r: _known(r.deadline_s),
    )
    yield _flag("ready", "1: the next part can be inspected.", lambda s: s.ready)
    yield _flag("busy", "1: at least one part is in work.", lambda s: s.busy)
    yield _flag("halted", "1: halted by command.", lambda s: s.halted)
    yield _flag("recipe_ready", "1: model and cameras are set for the active recipe.", lambda s: s.recipe_ready)
    yield _flag("warning", "1: something needs attention, and verdicts go on.", lambda s: s.warning)
    yield _flag("alarm", "1: an alarm was raised that nobody has reset yet.", lambda s: s.alarm)
    yield _flag("degraded", "1: the station runs with less than it was set up for.", lambda s: s.degraded)
    yield _flag("golden_due", "1: the golden parts should be shown.", lambda s: s.golden_due)
    yield _flag("line_stop", "1: the line should stop until somebody acknowledges.", lambda s: s.line_stop != 0)
    yield _flag("clock_synced", "1: the wall clock is set.", lambda s: s.clock_synced)
    yield Asked(
        Metric("error_code", "gauge", "Status.ErrorCode as the PLC reads it; 0 = none."),
        lambda r: _known(None if r.status is None else r.status.error_code),
    )
    yield Asked(
        Metric("mode", "gauge", "1 for the mode that the station is in.", ("mode",)),
        lambda r: () if r.status is None else [((m.name,), float(m is r.status.mode)) for m in Mode],
    )
    yield Asked(
        Metric("changeovers", "counter", "Recipes that were selected and became READY."),
        lambda r: _known(r.changeovers),
    )
    yield Asked(
        Metric("changeover_seconds", "gauge", "How long the last of them took, from the order to the warm model."),
        lambda r: _known(r.changeover_s),
    )
    yield Asked(
        Metric("plc_link_up", "gauge", "1: somebody is at the other end of the link.", ("link",)),
        lambda r: [((name,), float(up)) for name, up in r.links.items()],
    )


def _load() -> Iterator[Asked]:
    yield Asked(Metric("open_parts", "gauge", "Accepted parts without a verdict."), lambda r: _known(r.open_parts))
    yield Asked(
        Metric("queue_items", "gauge", "Things that wait, by what they wait for.", ("queue",)),
        lambda r: [((name,), waiting) for name, waiting in _queues(r)],
    )
    yield Asked(
        Metric("ledger_healthy", "gauge", "0: the ledger cannot be written."), lambda r: _known(r.ledger_healthy)
    )
    yield Asked(
        Metric("ledger_size_bytes", "gauge", "What the ledger needs of its disk."), lambda r: _known(r.ledger_bytes)
    )
    yield Asked(
        Metric("outbox_size_bytes", "gauge", "All messages that wait, of all destinations."),
        lambda r: _known(r.outbox_bytes),
    )
    yield Asked(
        Metric("flight_slots_used", "gauge", "Flight record: entries that wait for the ledger."),
        lambda r: _known(r.flight_used),
    )
    yield Asked(
        Metric("flight_slots", "gauge", "Flight record: all its entries; when all are used the station is not ready."),
        lambda r: _known(r.flight_slots),
    )
    yield Asked(
        Metric(
            "loop_margin_seconds",
            "gauge",
            "Watchdog: how much longer a loop of the verdict path may show no progress before the process ends.",
            ("loop",),
        ),
        lambda r: [((loop,), r.hung_s - age) for loop, age in r.progress_age_s.items()],
    )
    yield Asked(
        Metric("gpu_load_ratio", "gauge", "Load of the GPU, 0 to 1, where it can be read."),
        lambda r: _known(r.vitals.gpu_load),
    )
    yield Asked(
        Metric("disk_free_ratio", "gauge", "Free share of the disk that holds the state folder, 0 to 1."),
        lambda r: _percent(r.vitals.disk_free_pct),
    )
    yield Asked(
        Metric("memory_free_ratio", "gauge", "Memory that is left to the machine or to the station's unit, 0 to 1."),
        lambda r: _percent(r.vitals.memory_free_pct),
    )
    yield Asked(
        Metric("power_mode", "info", "Power mode of the machine, where it has one.", ("power_mode",)),
        lambda r: () if r.vitals.power_mode is None else [((r.vitals.power_mode,), 1)],
    )
    yield Asked(
        Metric("throttled", "gauge", "1: heat or over-current holds the board below its power mode."),
        lambda r: () if r.power is None else _known(r.power.throttled),
    )
    yield Asked(
        Metric("power_mode_changes", "counter", "Changes of the power mode that the station has ordered."),
        lambda r: () if r.power is None else _known(r.power.changes),
    )
    yield Asked(
        Metric("power_mode_failures", "counter", "Those that the board refused or did not carry out."),
        lambda r: () if r.power is None else _known(r.power.failures),
    )
    yield Asked(
        Metric(
            "engine",
            "info",
            "The model that serves a recipe, when it is loaded.",
            ("recipe", "model", "backend", "precision"),
        ),
        lambda r: [((e.recipe, e.model, e.backend, e.precision), 1) for e in r.engines],
    )
    yield Asked(
        Metric("engine_memory_bytes", "gauge", "Memory of the recipe's model; recipes may share one.", ("recipe",)),
        lambda r: [((e.recipe,), e.memory_bytes) for e in r.engines if e.memory_bytes is not None],
    )


def _queues(readings: Readings) -> Iterator[tuple[str, float]]:
    yield from readings.queues.items()
    if "images_queue" in readings.images:
        yield "images", readings.images["images_queue"]


def _thresholds() -> Iterator[Asked]:
    yield Asked(
        Metric(
            "threshold",
            "gauge",
            "The score from which a defect counts: the recipe's own (fixed), the one that judges (now), and what the "
            "shadow policy proposes (proposed).",
            ("recipe", "class", "which"),
        ),
        lambda r: [
            ((one.recipe, one.class_name.encode("utf-8", "replace").decode(), which), value)
            for one in r.thresholds
            for which, value in (("fixed", one.fixed), ("now", one.now), ("proposed", one.proposed))
            if value is not None
        ],
    )
    yield Asked(
        Metric(
            "thresholds_held", "gauge", "1: the thresholds of the recipe may not move, or need a look.", ("recipe",)
        ),
        lambda r: [((recipe,), float(held)) for recipe, held in r.thresholds_held.items()],
    )


_STATISTICS = {
    "frames": "Pictures that the camera has delivered.",
    "failed_buffers": "Pictures that arrived damaged.",
    "dropped_no_slot": "Pictures that were lost because every buffer was in use.",
    "discarded_late": "Pictures of an exposure that nobody waited for any more.",
    "buffer_underruns": "Times that the driver had no buffer to fill.",
    "packets": "Network packets of the camera's stream.",
    "packets_failed": "Packets that never came.",
    "packets_resent": "Packets that had to be sent again.",
    "missed_frames": "Numbers that are missing in the camera's own count.",
}


def _statistic(name: str) -> Asked:
    return Asked(
        Metric(f"camera_{name}", "counter", _STATISTICS[name], ("camera",)),
        lambda r: [((c.camera,), getattr(c.statistics, name)) for c in r.cameras],
    )


def _cameras() -> Iterator[Asked]:
    yield Asked(
        Metric("camera_up", "gauge", "1: the camera is open.", ("camera",)),
        lambda r: [((c.camera,), float(c.up)) for c in r.cameras],
    )
    yield Asked(
        Metric("camera_opened", "counter", "Times that the camera was opened.", ("camera",)),
        lambda r: [((c.camera,), c.opened) for c in r.cameras],
    )
    yield Asked(
        Metric("camera_lost", "counter", "Times that the camera was lost.", ("camera",)),
        lambda r: [((c.camera,), c.lost) for c in r.cameras],
    )
    yield Asked(
        Metric("camera_hangs", "counter", "Calls of the camera's driver that did not come back.", ("camera",)),
        lambda r: [((c.camera,), c.hangs) for c in r.cameras],
    )
    for field in fields(CameraStatistics):
        yield _statistic(field.name)


def _of_destination(
    name: str, kind: Literal["counter", "gauge"], text: str, value: Callable[[DestinationReading], float]
) -> Asked:
    return Asked(
        Metric(name, kind, text, ("destination",)), lambda r: [((d.destination,), value(d)) for d in r.destinations]
    )


def _outbox() -> Iterator[Asked]:
    yield _of_destination("destination_up", "gauge", "1: connected.", lambda d: d.connected)
    yield _of_destination("outbox_messages", "gauge", "Messages that nobody has acknowledged yet.", lambda d: d.waiting)
    yield _of_destination(
        "outbox_oldest_seconds", "gauge", "Age of the oldest of them; 0 = none waits.", lambda d: d.oldest_waiting_s
    )
    yield _of_destination("outbox_delivered", "counter", "Messages acknowledged.", lambda d: d.delivered)
    yield _of_destination("outbox_dropped", "counter", "Messages given up: the outbox was full.", lambda d: d.dropped)
    yield _of_destination("outbox_refused", "counter", "Messages that the broker does not take.", lambda d: d.refused)
    yield _of_destination("destination_reconnects", "counter", "Connections lost.", lambda d: d.reconnects)


def _of_images(name: str, kind: Literal["counter", "gauge"], text: str, key: str) -> Asked:
    return Asked(Metric(name, kind, text), lambda r: _known(r.images.get(key)))


def _images() -> Iterator[Asked]:
    """Without series where no picture is kept."""
    yield _of_images("images_stopped", "gauge", "1: no picture can be stored now.", "images_stopped")
    yield _of_images("images_folder_bytes", "gauge", "All stored pictures.", "images_bytes")
    yield _of_images("images_folder_max_bytes", "gauge", "Their limit.", "images_max_bytes")
    yield _of_images("images_skipped", "counter", "Pictures not kept for want of room in memory.", "images_skipped")
    yield _of_images("images_failed", "counter", "Pictures that could not be written.", "images_failed")
    yield _of_images("images_removed", "counter", "Pictures that retention has deleted.", "images_removed")
    yield _of_images(
        "images_removed_early", "counter", "Those of them younger than they should become.", "images_removed_early"
    )


ASKED: tuple[Asked, ...] = (*_station(), *_load(), *_thresholds(), *_cameras(), *_outbox(), *_images())
