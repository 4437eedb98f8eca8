"""The station file as it is by now, read and compared with what the station runs by; on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import structlog

from edge_inspector import pipeline
from edge_inspector.config.reload import changed_keys
from edge_inspector.datatypes import AuditEntry
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Clock
from edge_inspector.station.changes import changes_between
from edge_inspector.station.parts import RecipeSet
from edge_inspector.station.renewal import Differences, differences

log = structlog.get_logger()
_CONTENT = "its content"
_BESIDE = ("model", "golden")
"""What a recipe's bundle says, and no key of the station file."""


@dataclass(frozen=True)
class FileNow:
    """What the file says, where it differs, and which keys may change while the station runs, and which may not.

    `entries` say the same for the audit trail.
    """

    now: RecipeSet
    found: Differences
    live: tuple[str, ...]
    fixed: tuple[str, ...]
    entries: tuple[AuditEntry, ...]


def read_again(
    again: Callable[[], RecipeSet], before: RecipeSet, clock: Clock, *, proven: bool
) -> FileNow | tuple[str, ...]:
    """What the file says, or all that is wrong with it. `before` is what the station runs by, `proven` as elsewhere."""
    try:
        return _compared(before, again(), clock, proven=proven)
    except ConfigError as exc:
        return tuple(str(exc).splitlines())
    except OSError as exc:
        return (str(exc),)
    except Exception as exc:  # a file that even the checks cannot stand must not end a running station
        log.error("station_file_not_checked", error=repr(exc), exc_info=exc)
        return (f"the checks themselves failed: {exc!r}",)


def _compared(before: RecipeSet, now: RecipeSet, clock: Clock, *, proven: bool) -> FileNow:
    found = differences(before, now, proven=proven)
    for name in found.outdated & now.recipes.keys():
        for plan in now.recipes[name].plans.values():
            pipeline.warm_up(plan)
    live, fixed = changed_keys(before.settings, now.settings)
    return FileNow(
        replace(now, recipes=found.recipes),
        found,
        tuple(dict.fromkeys((*live, *_bundles_keys(before, now, found)))),
        (*fixed, *_calibrations_keys(before, now)),
        changes_between(before.configuration, now.configuration, clock),
    )


def _bundles_keys(before: RecipeSet, now: RecipeSet, found: Differences) -> Iterator[str]:
    """Of recipes that were there before: bundles may be others under the same name."""
    keys = (f"recipes.{name}.{what}" for name in sorted(found.changed) for what in _BESIDE)
    return (key for key in keys if before.configuration.values.get(key) != now.configuration.values.get(key))


def _calibrations_keys(before: RecipeSet, now: RecipeSet) -> Iterator[str]:
    """Calibrations that are others in files of the same name."""
    one, other = before.configuration.values, now.configuration.values
    keys = (key for key in other if key.startswith("cameras.") and key.endswith(".calibration_file"))
    return (f"{key} ({_CONTENT})" for key in keys if key in one and one[key] != other[key])
