"""What has been changed since a part was judged, as the audit trail and the book have it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_inspector.datatypes import AuditEntry
from edge_inspector.replay.records import Lack
from edge_inspector.store.periods import CLOCK_NOT_SET
from edge_inspector.store.reading import StoredResult

_RECIPE = re.compile(r"recipes\.[^.]+\.(views\.\d+\.(camera|roi|tiling)|zones|rules)\b")
_CAMERA = re.compile(r"cameras\.[^.]+\.(calibration_file|gate)\b")
_KEY = re.compile(r"(\S+): ")
_RECORDED = "configuration_recorded"


@dataclass(frozen=True)
class _Change:
    """`key` as in the station file; `at` in the book's UTC text, None = after all that is booked.

    `sure`: the time can be true. Whether a time server had set the clock does not matter: a wrong order shows as a
    replay that is not the same as the book.
    """

    key: str
    at: str | None
    sure: bool


class History:
    """Of one book, against the station file as it is now."""

    def __init__(self, trail: Sequence[AuditEntry], booked: Mapping[str, str], now: Mapping[str, str]) -> None:
        """`trail`: the changes that are booked; `booked`: what the last start ran with; `now`: the station file."""
        self._recorded = next((entry for entry in trail if entry.what == _RECORDED), None)
        self._known: dict[tuple[str, frozenset[str]], list[tuple[Lack, _Change]]] = {}
        keys = booked.keys() | now.keys() if booked else ()
        self._changes = [
            *_booked(trail),
            *(_Change(key, None, True) for key in keys if booked.get(key) != now.get(key)),
        ]

    def since(self, part: StoredResult, cameras: Iterable[str]) -> tuple[Lack, ...]:
        """What of the things that bear on a verdict is not as it was; the model is known by its hash, not from here."""
        first = self._recorded
        known = first is not None and part.wall_utc >= max(first.wall_utc, CLOCK_NOT_SET)
        found = [] if known else [Lack.HISTORY]
        for lack, change in self._of(part.recipe, frozenset(cameras)):
            if not change.sure:
                found.append(Lack.HISTORY)
            elif change.at is None or change.at > part.wall_utc:
                found.append(lack)
        return tuple(dict.fromkeys(found))

    def _of(self, recipe: str, cameras: frozenset[str]) -> Sequence[tuple[Lack, _Change]]:
        """The changes that bear on a recipe's verdicts."""
        known = self._known.get((recipe, cameras))
        if known is None:
            found = ((_lack(change.key, recipe, cameras), change) for change in self._changes)
            known = self._known[recipe, cameras] = [(lack, change) for lack, change in found if lack is not None]
        return known


def _booked(trail: Sequence[AuditEntry]) -> Iterable[_Change]:
    for entry in trail:
        key = _KEY.match(entry.detail)
        if entry.what != _RECORDED and key is not None:
            yield _Change(key[1], entry.wall_utc, entry.wall_utc >= CLOCK_NOT_SET)


def _lack(key: str, recipe: str, cameras: Collection[str]) -> Lack | None:
    """What a change of this key means to a part of this recipe, None = nothing."""
    table, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if table == "software":
        return Lack.SOFTWARE
    if table == "backend":
        return Lack.BACKEND
    if table == "recipes" and name == recipe and _RECIPE.match(key):
        return Lack.RECIPE
    if table == "cameras" and name in cameras and _CAMERA.match(key):
        return Lack.CALIBRATION
    return None
