"""For each alert: series on which it must be raised, series just short of it, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).resolve().parents[2] / "deploy" / "dashboards" / "prometheus" / "rules.yml"

LONG = 120
"""Samples of a case, 15 s apart: half an hour, of which 20 minutes are looked at."""


@dataclass(frozen=True)
class Case:
    """One alert. Series are by name and labels without line and station; so is the summary, whose station is `s`.

    `description` is given where it holds a number or a label; otherwise the rule's own.
    """

    alert: str
    severity: str
    raised: Mapping[str, str]
    quiet: Mapping[str, str]
    summary: str
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def flat(value: float) -> str:
    return f"{value:g}x{LONG}"


def rising(per_sample: float, start: float = 0) -> str:
    return f"{start:g}+{per_sample:g}x{LONG}"


def _simple(
    alert: str, severity: str, series: str, bad: float, good: float, summary: str, description: str = "", **labels: str
) -> Case:
    """One series with one limit."""
    return Case(alert, severity, {series: flat(bad)}, {series: flat(good)}, summary, description, labels)


def _results(ok: float, not_ok: float, undefined: float, doubtful: float = 0) -> dict[str, str]:
    """Parts in each 15 s."""
    name = "edge_inspector_results_total"
    return {
        f'{name}{{mode="PRODUCTION",evaluation="OK"}}': rising(ok),
        f'{name}{{mode="PRODUCTION",evaluation="NOT_OK"}}': rising(not_ok),
        f'{name}{{mode="PRODUCTION",evaluation="UNDEFINED"}}': rising(undefined),
        f'{name}{{mode="PRODUCTION",evaluation="NOT_DECIDABLE"}}': rising(doubtful),
        f'{name}{{mode="GOLDEN",evaluation="NOT_OK"}}': rising(50),
    }


def _told(under: float, over: float) -> dict[str, str]:
    """Of parts in each 15 s, how many are told within 0.1 s and how many need up to 0.2 s; the deadline is 0.2 s."""
    bucket = "edge_inspector_told_seconds_bucket"
    return {
        f'{bucket}{{le="0.1"}}': rising(under),
        f'{bucket}{{le="0.2"}}': rising(under + over),
        f'{bucket}{{le="+Inf"}}': rising(under + over),
        "edge_inspector_deadline_seconds": flat(0.2),
    }


CASES = (
    _simple(
        "WebServiceUnreachable", "warning", 'up{job="edge-inspector"}', 0, 1, "s: its web service does not answer",
        job="edge-inspector",
    ),
    _simple("StationDown", "critical", "edge_inspector_up", 0, 1, "s: the station is not running"),
    Case(
        "StationKeepsRestarting", "critical",
        {"edge_inspector_process_start_time_seconds": "100x20 200x10 300x10 400x10 500x160"},
        {"edge_inspector_process_start_time_seconds": "100x20 200x10 300x10 400x170"},
        "s: started 4 times within an hour",
    ),
    Case(
        "StationNotReady", "critical",
        {"edge_inspector_ready": flat(0), "edge_inspector_halted": flat(0)},
        {"edge_inspector_ready": "0 0 0 0 0 0 1 " * 30, "edge_inspector_halted": flat(0)},
        "s: not ready",
    ),
    Case(
        "StationNotReady", "critical",
        {"edge_inspector_ready": "1x20 0x200", "edge_inspector_halted": flat(0)},
        {"edge_inspector_ready": flat(0), "edge_inspector_halted": flat(1)},
        "s: not ready",
    ),
    _simple("LineStop", "critical", "edge_inspector_line_stop", 1, 0, "s: the line should stop"),
    _simple("AlarmNotReset", "warning", "edge_inspector_alarm", 1, 0, "s: an alarm waits for somebody"),
    _simple(
        "LoopStalls", "critical", 'edge_inspector_loop_margin_seconds{loop="gpu"}', 14, 15,
        "s: loop gpu makes no progress",
        "14 s are left until the process ends and systemd starts it again.", loop="gpu",
    ),
    _simple("ClockNotSet", "warning", "edge_inspector_clock_synced", 0, 1, "s: its clock is not synchronised"),
    _simple("PlcLinkDown", "critical", 'edge_inspector_plc_link_up{link="a"}', 0, 1, "s: link a reaches nobody",
            link="a"),
    _simple("GoldenPartsDue", "warning", "edge_inspector_golden_due", 1, 0, "s: golden parts should be shown"),
    Case(
        "PartWithoutVerdict", "critical",
        {"edge_inspector_open_part_age_seconds": rising(15), "edge_inspector_deadline_seconds": flat(1)},
        {"edge_inspector_open_part_age_seconds": flat(6), "edge_inspector_deadline_seconds": flat(1)},
        "s: a part has no verdict for 20m 0s",
    ),
    Case(
        "ResultsNotTold", "critical",
        {"edge_inspector_results_untold_total": "0x70 1x100", 'edge_inspector_plc_link_up{link="a"}': flat(1)},
        {"edge_inspector_results_untold_total": rising(1)},
        "s: results reached no PLC",
    ),
    Case(
        "TooSlow", "warning", _told(95, 5), _told(99.5, 0.5), "s: 1 of 100 parts takes more than 80 % of its deadline",
        "p99 from trigger to PLC is 180ms. The stages on the dashboard show where the time goes.",
    ),
    Case(
        "ManyNotJudged", "warning", _results(98, 0, 2), _results(98, 1, 1), "s: 2% of the parts were not judged",
    ),
    Case(
        "ManyRejects", "warning", _results(3, 0.5, 0, 0.5), _results(4, 0.5, 0, 0.5), "s: 25% rejects in 15 minutes",
    ),
    Case(
        "TriggersRefused", "warning",
        {'edge_inspector_triggers_refused_total{reason="overload"}': rising(0.5),
         'edge_inspector_triggers_refused_total{reason="not_ready"}': rising(0.5)},
        {'edge_inspector_triggers_refused_total{reason="overload"}': "0x70 10x100"},
        "s: 60 triggers refused in 15 minutes",
    ),
    _simple("CameraLost", "critical", 'edge_inspector_camera_up{camera="c"}', 0, 1, "s: camera c is not open",
            camera="c"),
    Case(
        "CameraLosesPictures", "warning",
        {f'edge_inspector_camera_{what}_total{{camera="c"}}': rising(per) for what, per in
         (("missed_frames", 0.05), ("failed_buffers", 0), ("dropped_no_slot", 0))},
        {f'edge_inspector_camera_{what}_total{{camera="c"}}': flat(9) for what in
         ("missed_frames", "failed_buffers", "dropped_no_slot")},
        "s: camera c loses pictures",
        "3 in 15 minutes. Check cable, switch, MTU and receive buffers with edge-inspector doctor.",
        {"camera": "c"},
    ),
    _simple("LedgerNotWritable", "critical", "edge_inspector_ledger_healthy", 0, 1, "s: the ledger cannot be written"),
    Case(
        "FlightRecordFills", "critical",
        {"edge_inspector_flight_slots_used": flat(5001), "edge_inspector_flight_slots": flat(10000)},
        {"edge_inspector_flight_slots_used": flat(5000), "edge_inspector_flight_slots": flat(10000)},
        "s: the flight record is 50.01% full",
    ),
    _simple(
        "OutboxOld", "warning", 'edge_inspector_outbox_oldest_seconds{destination="d"}', 720, 600,
        "s: results wait for d",
        "The oldest since 12m 0s. Nothing is lost; the destination is away or too slow.", destination="d",
    ),
    Case(
        "MessagesGivenUp", "critical",
        {'edge_inspector_outbox_dropped_total{destination="d"}': "0x70 1x100",
         'edge_inspector_outbox_refused_total{destination="d"}': flat(0)},
        {'edge_inspector_outbox_dropped_total{destination="d"}': flat(5),
         'edge_inspector_outbox_refused_total{destination="d"}': flat(5)},
        "s: messages for d were given up", labels={"destination": "d"},
    ),
    Case(
        "MessagesGivenUp", "critical",
        {'edge_inspector_outbox_dropped_total{destination="d"}': flat(0),
         'edge_inspector_outbox_refused_total{destination="d"}': "0x70 1x100"},
        {'edge_inspector_outbox_delivered_total{destination="d"}': rising(5)},
        "s: messages for d were given up", labels={"destination": "d"},
    ),
    _simple("DiskNearlyFull", "warning", "edge_inspector_disk_free_ratio", 0.09, 0.1, "s: 9% of the disk are free"),
    _simple("PicturesStopped", "warning", "edge_inspector_images_stopped", 1, 0, "s: no picture can be stored"),
    Case(
        "MachineHot", "warning",
        {f'edge_inspector_temperature_celsius{{sensor="{name}"}}': flat(t) for name, t in (("cpu", 60), ("gpu", 91))},
        {f'edge_inspector_temperature_celsius{{sensor="{name}"}}': flat(t) for name, t in (("cpu", 60), ("gpu", 90))},
        "s: 91 degrees Celsius",
    ),
    Case(
        "FilesRunOut", "warning",
        {"edge_inspector_process_open_fds": flat(85), "edge_inspector_process_max_fds": flat(100)},
        {"edge_inspector_process_open_fds": flat(80), "edge_inspector_process_max_fds": flat(100)},
        "s: 85% of its open files are used",
    ),
)  # fmt: skip


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """The shipped rules by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
