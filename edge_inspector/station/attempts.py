"""How often a part_id has been here: rework brings the same part again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

_REMEMBERED = 10_000


class Attempts:
    """The newest part ids with their counts; older ones are forgotten and start at 1 again."""

    def __init__(self, known: Mapping[str, int]) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict(known)

    def count(self, part_id: str) -> int:
        """The number of this attempt, from 1; a part without an id is always at its first."""
        if not part_id:
            return 1
        number = self._counts.pop(part_id, 0) + 1
        self._counts[part_id] = number
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        return number
