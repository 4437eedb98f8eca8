"""What stands of all cameras, recipe by recipe: for people, and for the ledger to remember."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from edge_inspector.stages.camera_findings import Finding
from edge_inspector.station.health_sight import Sight


@dataclass(frozen=True)
class Word:
    """On one recipe, of all its cameras: what is not as it should be, and why no part can be judged."""

    warning: str
    why_not: str


def words(sights: Iterable[Sight]) -> Mapping[str, Word]:
    """By recipe."""
    by_recipe: dict[str, list[Sight]] = {}
    for sight in sights:
        by_recipe.setdefault(sight.recipe, []).append(sight)
    return {recipe: _word(of_it) for recipe, of_it in by_recipe.items()}


def alarms_json(sights: Iterable[Sight]) -> str:
    """What must outlive a restart."""
    return _ALARMS.dump_json([(one.recipe, one.camera, one.alarms) for one in sights if one.alarms]).decode()


def kept_alarms(text: str | None) -> Sequence[tuple[str, str, tuple[Finding, ...]]]:
    """By recipe and camera; what cannot be read is forgotten, for the next pictures tell."""
    try:
        return [] if text is None else _ALARMS.validate_json(text)
    except ValidationError:
        return []


_ALARMS = TypeAdapter(list[tuple[str, str, tuple[Finding, ...]]])


def _word(sights: Sequence[Sight]) -> Word:
    missing = [f"camera {one.camera}: {one.missing}" for one in sights if one.missing]
    found = [f"camera {one.camera}: {finding.text}" for one in sights for finding in one.found]
    alarms = [f"camera {one.camera}: {alarm.text}" for one in sights if one.settings.stops for alarm in one.alarms]
    return Word("; ".join(missing + found), "; ".join(alarms) + ("; mend it, then Reset" if alarms else ""))
