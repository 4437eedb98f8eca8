"""What the PLC has written, read in one piece: part id and sequence number of the same scan of its program."""

from __future__ import annotations

from collections.abc import Mapping

from asyncua import ua

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_client.cells import Cell
from edge_inspector.outputs.opcua_client.session import Session
from edge_inspector.plc.tags import Value

_HEARTBEAT, _BLOCK = "Control.Heartbeat", "Control.Block"
_MOST_READS = 5
"""A PLC that changes its tags faster than they are read twice is read again in the next cycle."""
_GONE = (ua.StatusCodes.BadNodeIdUnknown, ua.StatusCodes.BadNodeIdInvalid, ua.StatusCodes.BadAttributeIdInvalid)


class Inbound:
    """The Control tags of one session, as last read; and our boot id, which only we write."""

    def __init__(self, cells: Mapping[str, tuple[Cell, ua.NodeId]]) -> None:
        """`cells` are of the Control tags, and of a tag that has our boot id when that may be read."""
        self._cells = cells
        self.boot_id: int | None = None
        """What the PLC has for our boot id; None = not known."""
        self.last: Mapping[str, Value] | None = None
        """None = nothing whole has been read in this session yet."""

    async def read(self, session: Session) -> Mapping[str, Value] | None:
        """All tags, read again until two reads in a row agree whenever more than the heartbeat has changed.

        None: they are not all good at this moment, or change too fast. OutputError: the session is lost, or a node.
        """
        read = await self._once(session)
        agreed = self.last
        for _ in range(_MOST_READS):
            if read is None or (agreed is not None and _steady(read) == _steady(agreed)):
                break
            agreed, read = read, await self._once(session)
        else:
            return None
        if read is not None:
            self.last = read
        return read

    async def _once(self, session: Session) -> Mapping[str, Value] | None:
        answers = await session.read([node for _, node in self._cells.values()])
        values: dict[str, Value] = {}
        for (tag, (cell, _)), answer in zip(self._cells.items(), answers, strict=True):
            if answer.StatusCode is not None and answer.StatusCode.is_bad():
                if answer.StatusCode.value in _GONE:
                    raise OutputError(f"{tag}: node {cell.node.name} is gone ({answer.StatusCode.name})")
                return None
            if answer.Value is None:
                return None
            values[tag] = cell.value(answer.Value)
        self.boot_id = _boot_id(values.pop("Status.BootId", None), values.pop("Status.Block", None))
        return values


def with_heartbeat_of(values: Mapping[str, Value], heartbeat: int) -> Mapping[str, Value]:
    """The same tags with another heartbeat."""
    changed = dict(values)
    if _HEARTBEAT in changed:
        changed[_HEARTBEAT] = heartbeat
    block = changed.get(_BLOCK)
    if isinstance(block, tuple):
        changed[_BLOCK] = (heartbeat, *block[1:])
    return changed


def heartbeat_in(values: Mapping[str, Value]) -> Value:
    """The PLC's heartbeat, wherever it is mapped."""
    block = values.get(_BLOCK)
    return block[0] if isinstance(block, tuple) else values[_HEARTBEAT]


def _boot_id(single: Value | None, block: Value | None) -> int | None:
    if isinstance(block, tuple):
        return int(block[1])
    return single if isinstance(single, int) else None


def _steady(values: Mapping[str, Value]) -> Mapping[str, Value]:
    return with_heartbeat_of(values, 0)
