"""Checks of a board's power: its mode, its clocks, and what holds it down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from edge_inspector.health.finding import Finding, judged
from edge_inspector.interfaces import PowerMode, PowerState

HOT_C = 85.0
"""A Jetson Orin slows itself down from 99 degrees on; 85 leave something for a hot day and a dusty fan."""
_SHOW = "edge-inspector power show"


def power_findings(
    state: PowerState, modes: Sequence[PowerMode], over_current: Mapping[str, int], wanted: str | None
) -> Iterator[Finding]:
    """`over_current`: by alarm, how often since boot. `wanted`: the mode that the station file fixes, None = none."""
    yield _mode(state, modes, wanted)
    yield _clocks(state)
    yield _throttled(state)
    if over_current:
        yield _over_current(over_current)
    yield _temperature(state.temperatures_c)


def control_finding(way: str) -> Finding:
    """`way` in which this machine's power mode can be changed, as health/power/opening.py has it."""
    words = {"helper": "through our root helper", "jtop": "through jtop's service", "root": "by root alone"}
    return judged(
        "power.control",
        "",
        "ok" if way in ("helper", "jtop") else "warn",
        words.get(way, "nobody can change the mode from here"),
        "through the root helper or jtop",
        "The station file has a power policy, and the station's service, which is not root, cannot carry it out.",
        "sudo systemctl enable --now edge-inspector-power.socket",
    )


def _mode(state: PowerState, modes: Sequence[PowerMode], wanted: str | None) -> Finding:
    if state.mode is None:
        found = "not known" if modes else "this machine has no power modes"
        return judged("power.mode", "", "note", found, "the mode that you measured with")
    there = ", ".join(f"{one.number} {one.name}" for one in modes) or "not listed"
    found = f"{state.mode.number} {state.mode.name} (of {there})"
    if wanted is None:
        return judged("power.mode", "", "ok", found)
    right = wanted in (str(state.mode.number), state.mode.name)
    return judged(
        "power.mode",
        "",
        "ok" if right else "warn",
        found,
        f"{wanted}, as the station file says",
        "The deadline was measured in that mode.",
        f"edge-inspector power set {quote(wanted)}",
    )


def _clocks(state: PowerState) -> Finding:
    if state.clocks_locked is None:
        return judged("power.clocks", "", "note", "nobody tells whether the clocks follow the load")
    found = "held at the mode's maximum" if state.clocks_locked else "they follow the load"
    return judged("power.clocks", "", "ok" if state.clocks_locked else "note", found, "held, for the most even times")


def _throttled(state: PowerState) -> Finding:
    return judged(
        "power.throttled",
        "",
        "warn" if state.throttled else "ok",
        state.throttled or "nothing holds the board down, as far as it tells",
        "nothing",
        "The board runs slower than its mode allows: parts may miss their deadline.",
        f"cool the board, or give it a stronger supply; then: {_SHOW}",
    )


def _over_current(counts: Mapping[str, int]) -> Finding:
    met = {name: count for name, count in counts.items() if count}
    return judged(
        "power.over_current",
        "",
        "warn" if met else "ok",
        ", ".join(f"{name} {count} times" for name, count in met.items()) + " since the start" if met else "never",
        "never",
        "The supply could not give what the board asked for, and the board slowed itself down for that moment.",
        "a stronger supply, shorter and thicker cables, or a mode with less power: edge-inspector power show",
    )


def _temperature(zones: Mapping[str, float]) -> Finding:
    if not zones:
        return judged("power.temperature", "", "note", "no thermal zone here, as in a virtual machine")
    hottest = max(zones, key=lambda name: zones[name])
    return judged(
        "power.temperature",
        hottest,
        "ok" if zones[hottest] < HOT_C else "warn",
        f"{zones[hottest]:.1f} degrees Celsius",
        f"below {HOT_C:g}",
        "Just above it the board slows itself down.",
        "clean fan and filters, give the cabinet air",
    )
