"""The golden-sample check and the camera's health of a recipe, as `edge-inspector check` prints them."""

from __future__ import annotations

from edge_inspector.settings.golden import GoldenSettings, HealthSettings


def golden_words(golden: GoldenSettings) -> str:
    """When which known parts are shown."""
    good = sum(part.expect == "OK" for part in golden.parts)
    pictures = "the bundle's golden set" if golden.pictures is None else str(golden.pictures)
    shown = (
        f"{good} good and {len(golden.parts) - good} bad master parts, told by {golden.told_by.replace('_', ' ')}"
        if golden.parts
        else f"stored pictures ({pictures}), which prove the software alone"
    )
    when = [
        *(["at the begin of a shift"] if golden.shift_start else []),
        *(["after a changeover"] if golden.after_changeover else []),
        *([f"every {golden.every_parts} parts"] if golden.every_parts is not None else []),
    ]
    due = f"due {', '.join(when)}" if when else "due once, and again when recipe, model or software change"
    grace = f"; {golden.grace_parts} more parts may pass until it is made" if golden.grace_parts else ""
    return f"{shown}; {due}{grace}"


def health_words(health: HealthSettings) -> str:
    """What makes a warning, and what an alarm."""
    limits = ", ".join(
        f"{name} {warning:{form}}/{alarm:{form}}"
        for name, (warning, alarm), form in (
            ("shift px", health.shift_px, "g"),
            ("focus loss", health.focus_loss, ".0%"),
            ("brightness", health.brightness, ".0%"),
            ("uniformity", health.uniformity, ".0%"),
            ("dirt px", health.dirt_px, "g"),
        )
    )
    stops = "an alarm stops" if health.stops else "an alarm does not stop"
    return f"{health.pictures} pictures in a row, warning/alarm: {limits}; {stops} the station"
