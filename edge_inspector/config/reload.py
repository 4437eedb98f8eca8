"""What of a station file may change while the station runs, and what needs a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge_inspector.config.problems import dotted
from edge_inspector.config.station_file import StationConfig

LIVE: tuple[tuple[str, ...], ...] = (
    ("recipes",),
    ("line_rules",),
    ("station", "recipe"),
    ("ledger", "keep_days"),
    ("ledger", "max_mb"),
    ("images", "max_gb"),
    ("images", "min_free_pct"),
    ("images", "originals", "min_days"),
    ("images", "originals", "max_days"),
    ("images", "overlays", "min_days"),
    ("images", "overlays", "max_days"),
    ("log", "level"),
)
"""Keys, and tables with all that is in them. `station.recipe` is asked for at a start alone."""


def changed_keys(before: StationConfig, after: StationConfig) -> tuple[list[str], list[str]]:
    """The keys that have another value: those that may change while the station runs, and those that may not.

    A table that is new or gone is one key.
    """
    live, fixed = list[str](), list[str]()
    for key in _differing(_document(before), _document(after)):
        (live if any(key[: len(one)] == one for one in LIVE) else fixed).append(dotted(key))
    return live, fixed


def _document(settings: StationConfig) -> Mapping[str, Any]:
    """Every key with its default, as plain values."""
    document: Mapping[str, Any] = settings.model_dump(mode="json", by_alias=True)
    return document


def _differing(before: object, after: object, key: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in {**before, **after}:
            if (name in before) != (name in after):
                yield (*key, name)
            else:
                yield from _differing(before[name], after[name], (*key, name))
    elif before != after:
        yield key
