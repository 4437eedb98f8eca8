"""How often one address may fail to log in."""

from __future__ import annotations

from collections import OrderedDict

BURST = 5
REFILL_NS = 10_000_000_000
"""Five wrong passwords at once, then one each ten seconds: 8640 a day."""
MAX_ADDRESSES = 1024


class Throttle:
    """A bucket of attempts for each address; an attempt that succeeds costs nothing."""

    def __init__(self) -> None:
        self._full_at: OrderedDict[str, int] = OrderedDict()
        """When the bucket of an address would be full again (CLOCK_MONOTONIC ns)."""

    def take(self, address: str, now_ns: int) -> bool:
        """Take an attempt before it is tried; False = there is none left."""
        full_at = max(self._full_at.pop(address, now_ns), now_ns)
        allowed = full_at + REFILL_NS - now_ns <= BURST * REFILL_NS
        self._full_at[address] = full_at + REFILL_NS if allowed else full_at
        while len(self._full_at) > MAX_ADDRESSES:
            self._full_at.popitem(last=False)
        return allowed

    def give_back(self, address: str) -> None:
        """The attempt succeeded."""
        if address in self._full_at:
            self._full_at[address] -= REFILL_NS
