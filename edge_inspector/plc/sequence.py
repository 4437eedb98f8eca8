"""Numbers that wrap: which of two came later."""

from __future__ import annotations

MODULUS = 2**32
"""Where every UInt32 of the contract begins again."""


def ahead(seq: int, than: int, modulus: int = MODULUS) -> int:
    """How many steps `seq` is ahead of `than`; negative = behind. Exact within half of the circle."""
    steps = (seq - than) % modulus
    return steps if steps < modulus // 2 else steps - modulus
