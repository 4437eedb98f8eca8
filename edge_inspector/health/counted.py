"""The metrics that the station counts as things happen, and those that its machine is asked for."""

from __future__ import annotations

from edge_inspector.health.metric import Metric

LATENCY_S = (.001, .002, .005, .01, .015, .02, .03, .04, .05, .075, .1, .15, .2, .3, .5, .75, 1, 2, 5)  # fmt: skip
"""Upper ends of the histograms' buckets: a verdict takes 10 ms on a GPU and some 100 ms on a small processor."""
ACCEPTED = Metric("triggers_accepted", "counter", "Parts that the station has begun; each gets one result.", ("mode",))
REFUSED = Metric("triggers_refused", "counter", "Triggers that were refused, skipped numbers too.", ("reason",))
RESULTS = Metric("results", "counter", "Verdicts, one a part.", ("evaluation", "reason", "recipe", "mode"))
DEFECTS = Metric("defects", "counter", "Defects of Production parts, several a part.", ("class",))
UNTOLD = Metric("results_untold", "counter", "Results that no PLC could read.")
ACKNOWLEDGED = Metric("results_acknowledged", "counter", "Results that the PLC has acknowledged.")
LATE = Metric("views_late", "counter", "Pictures that were judged after their part's verdict.")
UNANNOUNCED = Metric("pictures_unannounced", "counter", "Pictures that no announced part can be sure of.", ("camera",))
EVENTS = Metric("events", "counter", "Events, as on the MQTT topic event.", ("severity", "code"))
STORED = Metric("images_stored", "counter", "Pictures stored.", ("camera", "kind"))
STORED_BYTES = Metric("images_stored_bytes", "counter", "Bytes of the pictures stored.", ("camera", "kind"))
CYCLE = Metric("cycle_seconds", "histogram", "From the trigger to the verdict, Production parts.")
STAGE = Metric("stage_seconds", "histogram", "The same by stage, the slowest view of each part.", ("stage",))
OPEN_AGE = Metric(
    "open_part_age_seconds", "gauge", "Age of the oldest accepted part without a verdict; 0 = there is none."
)
TOLD = Metric("told_seconds", "histogram", "From the trigger to the end of the write to the PLC; counts those told.")

TEMPERATURE = Metric("temperature_celsius", "gauge", "Of each sensor of the machine.", ("sensor",))
POWER = Metric("power_watts", "gauge", "Of each rail that a sensor of the machine measures.", ("rail",))

COUNTED = (
    ACCEPTED, REFUSED, RESULTS, DEFECTS, UNTOLD, ACKNOWLEDGED, LATE, UNANNOUNCED, EVENTS, STORED, STORED_BYTES, CYCLE,
    STAGE, TOLD, OPEN_AGE,
)  # fmt: skip
"""What the station counts as it happens; `metric_table.ASKED` and `SENSED` are the rest."""
SENSED = (TEMPERATURE, POWER)
"""What the machine is asked for."""
