"""A PLC's OPC UA server as our client meets it: S7-style NodeIds, its own types, and the failures of real ones."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
from asyncua import Server, ua
from asyncua.common.utils import ServiceError

from edge_inspector.datatypes import Defect, Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import LinkState, PlcRequest
from edge_inspector.outputs.opcua_client.link import Config, OpcUaClientLink
from edge_inspector.plc.states import STARTING
from edge_inspector.plc.tags import BY_NAME, TAGS

URI = "http://www.siemens.com/simatic-s7-opcua"
BOOT, PLC_BOOT = 77, 5
READY = replace(STARTING, ready=True, recipe="r", recipe_no=1, recipe_ready=True, error_text="")
BLOCKS = ("Control.Block", "Status.Block", "Result.Ring")
EVERY = tuple(tag.name for tag in TAGS)
ALL = tuple(tag for tag in EVERY if tag not in BLOCKS)
NO_TIME = datetime(1601, 1, 1, tzinfo=timezone.utc)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def s7(tag: str) -> str:
    """The identifier that a S7-1500 gives the tag's variable, quotes and all."""
    return '"DB_Vision".' + ".".join(f'"{part}"' for part in tag.split("."))


def mapping(tags: tuple[str, ...] = ALL) -> dict[str, dict[str, str]]:
    """All these tags by the namespace's URI."""
    grouped: dict[str, dict[str, str]] = {}
    for tag in tags:
        group, _, leaf = tag.partition(".")
        grouped.setdefault(group, {})[leaf] = f"nsu={URI};s={s7(tag)}"
    return grouped


@dataclass
class Faults:
    """What the server does wrong at the moment."""

    no_timestamps: bool = False
    most_nodes: int = 0
    """In one call; 0 = any number."""
    longest_text: int = 254
    no_sessions: bool = False
    refused: dict[str, int] = field(default_factory=dict)
    """Tag -> status code with which a write is refused."""
    reads_as: dict[str, Any] = field(default_factory=dict)
    """Tag -> the value that it has for the PLC's program whatever is written."""
    bad: dict[str, int] = field(default_factory=dict)
    """Tag -> status code with which it reads."""


class FakePlc:
    """The server. `writes` has every write request that was taken, in order: tag -> value."""

    def __init__(self, port: int, types: Mapping[str, ua.VariantType], tags: tuple[str, ...], shift: int) -> None:
        self.port = port
        self.faults = Faults()
        self.writes: list[dict[str, Any]] = []
        self.reads = 0
        self.refusals: list[str] = []
        """The tags of which a write was refused."""
        self.scan_behind: tuple[str, Mapping[str, Any]] = ("", {})
        """Behind the reading of this tag the PLC's program runs once, and writes these."""
        self._types = types
        self._tags = tags
        self._shift = shift
        self._server = Server()
        self.nodes: dict[str, ua.NodeId] = {}
        self._by_id: dict[ua.NodeId, str] = {}
        self._first: dict[str, ua.Variant] = {}

    async def start(self) -> None:
        await self._server.init()
        self._server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}")
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self._server.set_identity_tokens([ua.AnonymousIdentityToken])
        for i in range(self._shift):
            await self._server.register_namespace(f"urn:another:{i}")
        index = await self._server.register_namespace(URI)
        for tag in self._tags:
            await self._add(tag, index)
        service = self._server.iserver.attribute_service
        self._write, self._read = service.write, service.read
        service.write, service.read = self._on_write, self._on_read
        create = self._server.iserver.create_session
        self._server.iserver.create_session = lambda *a, **k: self._session(create, *a, **k)
        await self._server.start()

    async def stop(self) -> None:
        with anyio.move_on_after(5):
            await self._server.stop()

    @property
    def sessions(self) -> int:
        """Sessions that clients hold."""
        return len(self._server.iserver._external_sessions)

    @property
    def tokens(self) -> list[int]:
        """Which keys the secure channels of clients use: a number that grows with each renewal."""
        channels = [client.processor._connection for client in self._server.bserver.clients]
        return [int(channel.security_token.TokenId) for channel in channels]

    def __getitem__(self, tag: str) -> Any:
        """What the PLC's program reads in its memory."""
        found = self._server.iserver.aspace.read_attribute_value(self.nodes[tag], ua.AttributeIds.Value)
        return found.Value.Value

    async def put(self, **values: Any) -> None:
        """The PLC's program writes its Control tags, all in one scan."""
        for name, value in values.items():
            variant = ua.Variant(value, self._kind(f"Control.{name}"))
            await self._server.write_attribute_value(self.nodes[f"Control.{name}"], ua.DataValue(variant))

    def poke(self, values: Mapping[str, Any]) -> None:
        """As `put`, by full names, and without telling subscribers."""
        for tag, value in values.items():
            place = self._server.iserver.aspace[self.nodes[tag]].attributes[ua.AttributeIds.Value]
            place.value = ua.DataValue(ua.Variant(value, self._kind(tag)))

    def forget_subscribers(self) -> None:
        """Changes are told to nobody any more; the subscriptions stay, and show that they live."""
        for node in self.nodes.values():
            self._server.iserver.aspace[node].attributes[ua.AttributeIds.Value].datachange_callbacks.clear()

    async def end_subscriptions(self) -> None:
        service = self._server.iserver.subscription_service
        await service.delete_subscriptions([*service.subscriptions])

    async def restart_with_namespaces_moved(self) -> None:
        """As clients see it: every connection is cut, and the same variables are in the next namespace."""
        array = self._server.get_node(ua.NodeId(ua.ObjectIds.Server_NamespaceArray))
        names = [*await array.read_value()]
        index = names.index(URI)
        await array.write_value([*names[:index], "urn:loaded:before", *names[index:]])
        await self._server.delete_nodes([self._server.get_node(node) for node in self.nodes.values()])
        self._by_id.clear()
        for tag in self._tags:
            await self._add(tag, index + 1)
        for connection in [*self._server.bserver.clients]:
            connection.transport.abort()

    async def cleared(self) -> None:
        """All variables as a download of the PLC's program leaves them."""
        for tag, first in self._first.items():
            await self._server.write_attribute_value(self.nodes[tag], ua.DataValue(first))
        self.writes.clear()
        self.refusals.clear()

    async def only_to_be_written(self, tag: str) -> None:
        """By clients; the PLC's program reads it all the same."""
        node, write = self._server.get_node(self.nodes[tag]), ua.Variant(2, ua.VariantType.Byte)
        for level in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
            await node.write_attribute(level, ua.DataValue(write))

    async def beat(self) -> None:
        """One more heartbeat."""
        await self.put(Heartbeat=self["Control.Heartbeat"] + 1)

    def seen(self, tag: str) -> list[Any]:
        """Every value that was written into a tag, oldest first."""
        return [write[tag] for write in self.writes if tag in write]

    def _kind(self, tag: str) -> ua.VariantType:
        return self._types.get(tag, ua.VariantType[BY_NAME[tag].type])

    async def _add(self, tag: str, index: int) -> None:
        kind, length = self._kind(tag), BY_NAME[tag].length
        single: Any = {"String": "", "DateTime": NO_TIME}.get(kind.name, False if kind.name == "Boolean" else 0)
        first = ua.Variant([single] * length if length else single, kind, is_array=bool(length))
        self._first[tag] = first
        node = await self._server.nodes.objects.add_variable(
            ua.NodeId(s7(tag), index), ua.QualifiedName(tag, index), first
        )
        if length:
            await node.write_attribute(ua.AttributeIds.ValueRank, ua.DataValue(ua.Variant(1, ua.VariantType.Int32)))
            dimensions = ua.DataValue(ua.Variant([length], ua.VariantType.UInt32))
            await node.write_attribute(ua.AttributeIds.ArrayDimensions, dimensions)
        if BY_NAME[tag].writer == "station":
            await node.set_writable()
        self.nodes[tag] = node.nodeid
        self._by_id[node.nodeid] = tag

    async def _on_write(self, parameters: Any, *args: Any, **kwargs: Any) -> list[ua.StatusCode]:
        nodes = parameters.NodesToWrite
        if not all(one.NodeId in self._by_id for one in nodes):  # the server's own
            return [*await self._write(parameters, *args, **kwargs)]
        if self.faults.most_nodes and len(nodes) > self.faults.most_nodes:
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)
        answers: list[ua.StatusCode] = []
        taken: dict[str, Any] = {}
        for one in nodes:
            code = self._refusal(one)
            if code is not None:
                self.refusals.append(self._by_id[one.NodeId])
                answers.append(ua.StatusCode(code))
                continue
            answers += await self._write(ua.WriteParameters(NodesToWrite=[one]), *args, **kwargs)
            if answers[-1].is_good():
                taken[self._by_id[one.NodeId]] = one.Value.Value.Value
        self.writes.append(taken)
        return answers

    def _refusal(self, one: ua.WriteValue) -> int | None:
        value = one.Value
        if self.faults.no_timestamps and value.SourceTimestamp is not None:
            return int(ua.StatusCodes.BadWriteNotSupported)
        if isinstance(value.Value.Value, str) and len(value.Value.Value) > self.faults.longest_text:
            return int(ua.StatusCodes.BadOutOfRange)
        return self.faults.refused.get(self._by_id.get(one.NodeId, ""))

    def _on_read(self, parameters: Any) -> list[ua.DataValue]:
        nodes = parameters.NodesToRead
        if self.faults.most_nodes and len(nodes) > self.faults.most_nodes:
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)
        self.reads += 1
        answers: list[ua.DataValue] = []
        for i, one in enumerate(nodes):
            answers += self._read(ua.ReadParameters(NodesToRead=[one]))
            if one.AttributeId == ua.AttributeIds.Value and self._by_id.get(one.NodeId) in self.faults.reads_as:
                name = self._by_id[one.NodeId]
                answers[i] = ua.DataValue(ua.Variant(self.faults.reads_as[name], self._kind(name)))
            tag, scan = self.scan_behind
            if self._by_id.get(one.NodeId) == tag and one.AttributeId == ua.AttributeIds.Value:
                self.scan_behind = ("", {})
                self.poke(scan)
            code = self.faults.bad.get(self._by_id.get(one.NodeId, ""))
            if code is not None and one.AttributeId == ua.AttributeIds.Value:
                answers[i] = ua.DataValue(StatusCode=ua.StatusCode(code))
        return answers

    def _session(self, create: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.faults.no_sessions:
            raise ServiceError(ua.StatusCodes.BadTooManySessions)
        return create(*args, **kwargs)


@asynccontextmanager
async def running(
    port: int | None = None,
    types: Mapping[str, ua.VariantType] | None = None,
    tags: tuple[str, ...] = EVERY,
    shift: int = 1,
) -> AsyncIterator[FakePlc]:
    """A PLC's server; with `shift` = 1 its variables lie in namespace 3, as in a S7-1500."""
    plc = FakePlc(port or free_port(), types or {}, tags, shift)
    try:
        await plc.start()
        yield plc
    finally:
        await plc.stop()


def config(plc_port: int, **keys: Any) -> Config:
    """The link's table in a station file, with `keys` on top."""
    table: dict[str, Any] = {
        "type": "opcua_client",
        "endpoint": f"opc.tcp://127.0.0.1:{plc_port}",
        "security": "None",
        "cycle_ms": 10,
        "heartbeat_ms": 50,
        "heartbeat_timeout_s": 60,
        "map": mapping(),
    }
    return Config.model_validate({**table, **keys})


class Station:
    """What the daemon does with a link that dials: receive all the time, in a task of its own."""

    def __init__(self, link: OpcUaClientLink) -> None:
        self.link = link
        self.requests: list[PlcRequest] = []
        self.came = asyncio.Event()

    async def run(self) -> None:
        while True:
            self.requests.append(await self.link.receive())
            self.came.set()

    async def until(self, *wanted: type) -> list[Any]:
        """All requests of these kinds, as soon as there is one."""
        with anyio.fail_after(10):
            while not (found := [one for one in self.requests if isinstance(one, wanted)]):
                self.came.clear()
                await self.came.wait()
        return found

    async def linked(self, plc: FakePlc, boot_id: str = "Status.BootId") -> None:
        """The PLC greets the station, whose boot id it finds in the variable of this tag."""
        await eventually(lambda: plc[boot_id] == BOOT)
        await plc.put(PlcBootId=PLC_BOOT, BootIdEcho=BOOT, TriggerSeq=10)
        with anyio.fail_after(10):
            while LinkState(True, PLC_BOOT) not in self.requests:
                await plc.beat()
                await anyio.sleep(0.005)
        self.requests.clear()


@asynccontextmanager
async def station(link: OpcUaClientLink) -> AsyncIterator[Station]:
    """The link open, and received from until the end."""
    async with link:
        one = Station(link)
        async with anyio.create_task_group() as group:
            group.start_soon(one.run)
            yield one
            group.cancel_scope.cancel()


class SetClock(SystemClock):
    """The machine's clock, set forward at will."""

    ahead_s = 0.0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + int(self.ahead_s * 1e9)


def link_to(plc_port: int, folder: Path, clock: SystemClock | None = None, **keys: Any) -> OpcUaClientLink:
    identity = Identity("s7", BOOT, "1.2.3")
    return OpcUaClientLink("line", config(plc_port, **keys), identity, clock or SystemClock(), folder)


async def received_for_ever(link: OpcUaClientLink) -> None:
    """Until the link is lost; fails after ten seconds."""
    with anyio.fail_after(10):
        while True:
            await link.receive()


async def eventually(what: Callable[[], bool]) -> None:
    """Until it is so; fails after ten seconds."""
    with anyio.fail_after(10):
        while not what():  # noqa: ASYNC110 - another program's memory has no event
            await anyio.sleep(0.005)


def result(seq: int, evaluation: Evaluation = Evaluation.OK, part_id: str = "", **keys: Any) -> InspectionResult:
    """The verdict on one part of this PLC."""
    trigger = Trigger(
        seq=seq,
        result_id=f"s7.0badcafe.{seq}",
        trigger_seq=seq,
        part_id=part_id or f"part-{seq}",
        attempt=1,
        mode=keys.pop("mode", Mode.PRODUCTION),
        recipe="r",
        recipe_no=1,
        boot_id=BOOT,
        plc_boot_id=keys.pop("plc_boot_id", PLC_BOOT),
        accepted_ns=1_000_000,
        deadline_ns=9_000_000_000,
        wall_utc="2026-11-22T10:00:00.000Z",
        clock_synced=True,
    )
    defect = Defect("scratch", 2, 0.75, (1.0, 2.0, 3.0, 4.0), "top")
    bad = evaluation is Evaluation.NOT_OK
    one = InspectionResult(
        trigger=trigger,
        evaluation=evaluation,
        reason=Reason.DEFECT if bad else Reason.NONE,
        reason_text="scratch" if bad else "",
        defects=(defect,) if bad else (),
        views=("top",),
        views_judged=1,
        thresholds=(0.5,),
        model_hash="0123456789abcdef00",
        settled_ns=41_000_000,
        stage_ns={"acquire": 10_000_000, "infer": 20_000_000},
    )
    return replace(one, **keys)
