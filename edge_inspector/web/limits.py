"""How often somebody may ask."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable


class Buckets:
    """A bucket of `burst` requests for each name, refilled by `per_s`. At most `most` names are remembered.

    On the event loop's thread only.
    """

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float], most: int = 1024) -> None:
        """`clock` gives seconds that never go back."""
        self._per_s, self._burst, self._clock, self._most = per_s, burst, clock, most
        self._filled: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take one request out; 0 = there was one, else the seconds after which there will be one."""
        level = self._level(name)
        if level < 1.0:
            return (1.0 - level) / self._per_s
        self._filled[name] = (level - 1.0, self._clock())
        self._filled.move_to_end(name)
        if len(self._filled) > self._most:  # who has not asked for longest has the fullest bucket
            self._filled.popitem(last=False)
        return 0.0

    def wait_s(self, name: str) -> float:
        """As `take`, but nothing is taken."""
        return max(0.0, (1.0 - self._level(name)) / self._per_s)

    def _level(self, name: str) -> float:
        level, at = self._filled.get(name, (self._burst, 0.0))
        return min(self._burst, level + (self._clock() - at) * self._per_s) if name in self._filled else level


def one_who_asks(address: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of one customer (/64)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
