"""What the PLC links of a station file say against each other and against the recipes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from edge_inspector.config import Draft, Problem, dotted
from edge_inspector.settings import HandshakeConfig, PlcConfig

LOCAL = "local"
THE_PLC = "plc"


def master_of(wanted: str, links: Mapping[str, PlcConfig]) -> str:
    """The name of the link that triggers, selects recipes and commands; empty = none does."""
    if wanted == THE_PLC and THE_PLC not in links:
        return next(iter(_can_command(links)), "")
    return "" if wanted == LOCAL else wanted


def plc_problems(path: Path, draft: Draft, with_outputs: Collection[str]) -> Iterator[Problem]:
    """Everything that is wrong with the links together; `with_outputs` are the cameras that have output lines."""
    yield from _master(path, draft)
    yield from _nobody_acknowledges(path, draft)
    yield from _too_slow(path, draft)
    yield from _shared_lines(path, draft)
    for name, link in draft.plc.items():
        for camera in link.output_cameras:
            if camera not in with_outputs:
                able = ", ".join(with_outputs) or "none of this file has"
                expected = f"expected a camera that has output lines: {able}"
                yield Problem(path, dotted(["plc", name, "camera", "camera"]), repr(camera), expected)


def _can_command(links: Mapping[str, PlcConfig]) -> list[str]:
    return [name for name, link in links.items() if isinstance(link, HandshakeConfig)]


def _master(path: Path, draft: Draft) -> Iterator[Problem]:
    if draft.station is None:
        return
    wanted, able = draft.station.station.master, _can_command(draft.plc)
    known = ", ".join([*able, LOCAL])
    if wanted == THE_PLC and THE_PLC not in draft.plc:
        if len(able) > 1:
            expected = f"several links could trigger: expected the name of the one that does: {known}"
            yield Problem(path, "station.master", repr(wanted), expected)
    elif wanted not in (*able, LOCAL):
        yield Problem(path, "station.master", repr(wanted), f"expected a link that can trigger, or none: {known}")


def _nobody_acknowledges(path: Path, draft: Draft) -> Iterator[Problem]:
    """A part that the station numbers itself has no start of a PLC to which its result could be acknowledged."""
    own = [name for name, recipe in draft.recipes.items() if recipe.trigger not in ("plc", "announced")]
    for name, link in draft.plc.items():
        if own and link.acknowledge:
            expected = f"expected false: recipe {own[0]!r} is not triggered by the PLC, which so cannot acknowledge"
            yield Problem(path, dotted(["plc", name, "acknowledge"]), "true", expected)


def _too_slow(path: Path, draft: Draft) -> Iterator[Problem]:
    """A verdict that is in time for us and too late for the gate is a part rejected for nothing."""
    for name, link in draft.plc.items():
        if not isinstance(link, HandshakeConfig) or link.gate_ms is None:
            continue
        for recipe_name, recipe in draft.recipes.items():
            latest = recipe.deadline_ms + link.plc_cycle_ms
            if latest > link.gate_ms:
                expected = (
                    f"expected at least {latest:g}: recipe {recipe_name!r} has until its deadline of"
                    f" {recipe.deadline_ms:g} ms, and the PLC reads every {link.plc_cycle_ms:g} ms"
                )
                yield Problem(path, dotted(["plc", name, "gate_ms"]), f"{link.gate_ms:g}", expected)


def _shared_lines(path: Path, draft: Draft) -> Iterator[Problem]:
    """The READY of one link would be the OK of the other."""
    owners: dict[str, str] = {}
    for name, link in draft.plc.items():
        for line in link.output_lines:
            if line in owners:
                expected = f"expected a line of its own: plc.{owners[line]} has this line too"
                yield Problem(path, dotted(["plc", name]), repr(line), expected)
            owners.setdefault(line, name)
