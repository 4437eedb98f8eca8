"""How the simulated PLC reaches a station: what every protocol has to give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol

from edge_inspector.plc.tags import Value


class Wire(Protocol):
    """One connection; it may be closed and opened again. Every call raises OutputError when the station is away."""

    address: str

    async def __aenter__(self) -> Wire: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def read(self, names: Sequence[str]) -> dict[str, Value]:
        """These tags, in one request."""
        ...

    async def write(self, values: Mapping[str, Value]) -> None:
        """These tags, in this order, in one request."""
        ...
