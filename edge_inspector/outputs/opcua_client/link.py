"""The OPC UA client as a PlcLink: calls the PLC's own server, writes our tags into it and reads the PLC's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import anyio
import structlog
from asyncua import ua

from edge_inspector.datatypes import Identity
from edge_inspector.errors import OutputError
from edge_inspector.interfaces import Clock, PlcMessage, PlcRequest, ResultWritten
from edge_inspector.outputs.live import contract_of
from edge_inspector.outputs.opcua_client.cells import Cell
from edge_inspector.outputs.opcua_client.config import Config
from edge_inspector.outputs.opcua_client.dial import open_session
from edge_inspector.outputs.opcua_client.doorbell import Doorbell
from edge_inspector.outputs.opcua_client.inbound import Inbound, heartbeat_in, with_heartbeat_of
from edge_inspector.outputs.opcua_client.outbound import Outbound
from edge_inspector.outputs.opcua_client.polled import PolledContract
from edge_inspector.outputs.opcua_client.session import Session, SessionsSpent
from edge_inspector.outputs.opcua_client.survey import survey
from edge_inspector.outputs.opcua_client.trust import Keeper
from edge_inspector.plc.image import identity_image
from edge_inspector.plc.tags import BY_NAME, RING_ROWS

__all__ = ["Config", "OpcUaClientLink"]

log = structlog.get_logger()
_SPENT_NS = 15_000_000_000
"""A server without a session to give is left alone for so long: each call would cost it another channel."""
_ANSWER_NS = 500_000_000
"""A PLC gives a trigger up that is not answered within this: one that may be older is refused."""
_BACKUP_NS = 250_000_000
"""So often the tags are read beside a subscription: the heartbeat, and whatever it does not tell."""
_RESETS_APART_NS = 5_000_000_000
_FAREWELL_S = 1.0
_BOOT_ID = ("Status.BootId", "Status.Block")
_RINGS = (
    *("Control.TriggerSeq", "Control.PlcBootId", "Control.BootIdEcho", "Control.RecipeReqSeq", "Control.CommandSeq"),
    *("Control.ResultAckSeq", "Control.FeedbackSeq", "Control.Block"),
)
_MOST_TOLD = 5
"""So many problems of a mapping are told at once; `edge-inspector opcua check` shows them all."""


class OpcUaClientLink:
    """One session with the PLC's server at a time; `receive` is the cycle that writes, reads and waits.

    All protocol is the contract's. A result that comes too late for its deadline is written nevertheless: the PLC's
    gate has closed on the part, and the acknowledgement must go on.
    """

    dials = True
    asks = True

    def __init__(self, name: str, config: Config, identity: Identity, clock: Clock, folder: Path) -> None:
        """`folder` is this link's own: it keeps certificates there when the server is a secured one."""
        self.name = name
        self.acknowledges = config.acknowledge
        self._config = config
        self._clock = clock
        self._keeper = Keeper(config, folder, identity.station, clock)
        self._fixed = identity_image(identity)
        self._live = PolledContract(contract_of(config, identity), clock)
        self._wake = asyncio.Event()
        self._session: Session | None = None
        self._doorbell: Doorbell | None = None
        self._outbound = Outbound(config.heartbeat_ms, clock)
        self._inbound = Inbound({})
        self._read_ns: int | None = None
        self._heard_ns: int | None = None
        """When the last read began that was whole."""
        self._reset_ns: int | None = None
        self._leave_alone_until_ns = 0
        self._reported: deque[str] = deque(maxlen=4 * RING_ROWS)

    async def __aenter__(self) -> OpcUaClientLink:
        wait_s = (self._leave_alone_until_ns - self._clock.monotonic_ns()) / 1e9
        if wait_s > 0:
            raise OutputError(f"{self._config.url} had no session left; it is called again in {wait_s:.0f} s")
        try:
            session = await open_session(self._config, self._keeper, self.name)
        except SessionsSpent:
            self._leave_alone_until_ns = self._clock.monotonic_ns() + _SPENT_NS
            raise
        try:
            await self._prepare(session)
        except BaseException:
            await self._close(session)
            raise
        self._session = session
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        if not isinstance(error, OutputError):
            with anyio.move_on_after(_FAREWELL_S, shield=True):
                await self._outbound.say_farewell(session)
        await self._close(session)

    async def receive(self) -> PlcRequest:
        while True:
            request = self._live.waiting()
            if request is not None:
                return request
            if self._session is None:
                raise OutputError(f"link {self.name!r} is not open")
            await self._cycle(self._session)

    async def tell(self, message: PlcMessage) -> None:
        self._live.told(message)
        self._wake.set()

    async def _prepare(self, session: Session) -> None:
        """Look at every node before anything is written. OutputError names those that cannot be what they should."""
        found = await survey(session, self._config.nodes)
        problems = [one.told for one in found if one.problems]
        if problems:
            more = f" (and {len(problems) - _MOST_TOLD} more)" if len(problems) > _MOST_TOLD else ""
            raise OutputError(
                "; ".join(problems[:_MOST_TOLD]) + f"{more}; `edge-inspector opcua check` shows every node"
            )
        cells = {one.tag: one.cell for one in found if one.cell is not None}
        ids = await session.register([cell.node.node_id for cell in cells.values()])
        named = {tag: (cell, node) for (tag, cell), node in zip(cells.items(), ids, strict=True)}
        self._outbound.begin(_of("station", named))
        mirror = {tag: pair for tag, pair in named.items() if tag in _BOOT_ID and pair[0].node.readable}
        self._inbound = Inbound({**_of("plc", named), **dict([*mirror.items()][:1])})
        self._read_ns = self._heard_ns = None
        if self._config.subscribe:
            self._doorbell = Doorbell(session, self._wake.set, self._clock.monotonic_ns)
            await self._doorbell.hang(
                [cells[tag].node.node_id for tag in _RINGS if tag in cells], self._config.cycle_ms
            )

    async def _close(self, session: Session) -> None:
        if self._doorbell is not None:
            self._doorbell.take_down()
            self._doorbell = None
        await session.close()

    async def _cycle(self, session: Session) -> None:
        """Write what is due, read what is due, or wait until something is."""
        self._wake.clear()
        self._live.ticked()
        await session.renew_if_due()
        if await self._write(session):
            return
        rang = self._doorbell is not None and self._doorbell.rang()
        due_ns = self._read_due_ns()
        if rang or self._clock.monotonic_ns() >= due_ns:
            await self._read(session, rang)
            return
        wait_ns = min(due_ns, self._outbound.due_ns(self._live.image)) - self._clock.monotonic_ns()
        with anyio.move_on_after(max(wait_ns, 0) / 1e9):
            await self._wake.wait()

    async def _write(self, session: Session) -> bool:
        """Bring the PLC to the present image, if it is not there; True = something was written."""
        contract = self._live.contract
        if not await self._outbound.write(session, {**self._fixed, **self._live.image}):
            return False
        there = [contract.shown] if self._outbound.has("Result.TriggerSeq") else []
        if self._outbound.has("Result.Ring"):
            there += contract.results.ring if contract.greeted else ()
        new = [one.result_id for one in there if one is not None and one.result_id not in self._reported]
        if new:
            ids = tuple(dict.fromkeys(new))
            self._reported.extend(ids)
            self._live.put(ResultWritten(ids, self._clock.monotonic_ns()))
        return True

    def _read_due_ns(self) -> int:
        if self._read_ns is None:
            return 0
        cycle_ns = int(self._config.cycle_ms * 1e6)
        return self._read_ns + (cycle_ns if self._doorbell is None else max(cycle_ns, _BACKUP_NS))

    async def _read(self, session: Session, rang: bool) -> None:
        """Hand in what the PLC has written. What may have waited too long meets a link that is not alive."""
        before, began_ns = self._inbound.last, self._clock.monotonic_ns()
        values = await self._inbound.read(session)
        self._read_ns = began_ns
        if self._inbound.boot_id not in (None, self._live.contract.boot_id):
            self._memory_was_reset(began_ns)
        if values is None:
            return
        last_ns, self._heard_ns = self._heard_ns, began_ns
        most_ns = max(_ANSWER_NS, 3 * int(self._config.cycle_ms * 1e6))
        fresh = last_ns is not None and self._clock.monotonic_ns() - last_ns <= most_ns
        if not fresh:
            self._live.unheard()
        beats = before is not None and heartbeat_in(before) != heartbeat_in(values)
        if self._doorbell is not None and before is not None and not rang and _rings(before) != _rings(values):
            self._doorbell.missed()
        if not (fresh and beats):
            values = with_heartbeat_of(values, self._live.contract.plc.heartbeat)
        start = self._live.contract.plc.plc_boot_id
        self._live.written(values)
        if self._inbound.boot_id is None and start not in (0, self._live.contract.plc.plc_boot_id):
            self._outbound.forget()  # a new start of the PLC, of which we cannot read what it has kept

    def _memory_was_reset(self, now_ns: int) -> None:
        """The PLC's program was started or loaded again while the session stayed. OutputError when it happens often."""
        if self._reset_ns is not None and now_ns - self._reset_ns < _RESETS_APART_NS:
            raise OutputError("the PLC's server does not keep Status.BootId: does its program write our tags?")
        log.warning("plc_memory_reset", link=self.name)
        self._reset_ns = now_ns
        self._outbound.forget()


def _of(writer: str, named: Mapping[str, tuple[Cell, ua.NodeId]]) -> dict[str, tuple[Cell, ua.NodeId]]:
    return {tag: pair for tag, pair in named.items() if BY_NAME[tag].writer == writer}


def _rings(values: Mapping[str, object]) -> list[object]:
    return [values.get(tag) for tag in _RINGS]
