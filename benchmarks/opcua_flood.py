"""Misbehaving OPC UA clients, each a process of its own, until they are killed.

python benchmarks/opcua_flood.py opc.tcp://127.0.0.1:4840/edge-inspector stopped=5 connects=5 publishes=5 reads=5
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlparse

from asyncua import Client, ua
from asyncua.ua.ua_binary import struct_to_binary

TWENTY = {"stopped": 5, "connects": 5, "publishes": 5, "reads": 5}
_NODES = 10_000
_AGAIN_S = 0.2  # a client that was refused comes back


async def stopped(url: str) -> None:
    """Subscribe to all that it can, ask for answers, then stop for ever (SIGSTOP) without closing anything."""
    async with Client(url) as client:
        await _subscribe(client, await _tags(client))
        os.kill(os.getpid(), signal.SIGSTOP)


async def connects(url: str) -> None:
    """Connect, begin, and reset the connection, as fast as it goes: half of them after a byte, half with a session."""
    address = urlparse(url)
    for turn in itertools.count():
        if turn % 2:
            client = Client(url)
            await client.connect()
            await client.create_subscription(1, _Deaf())
            transport = client.uaclient.protocol.transport
            transport.abort()
            await client.disconnect()
        else:
            with socket.create_connection((address.hostname, address.port)) as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raw.sendall(b"HELF")


async def publishes(url: str) -> None:
    """A publishing interval of 1 ms and a publish request each millisecond, whatever comes back."""
    async with Client(url) as client:
        await _subscribe(client, await _tags(client))
        while True:
            asking = asyncio.ensure_future(client.uaclient.publish([]))
            asking.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.sleep(0.001)


async def reads(url: str) -> None:
    """A read of 10 000 nodes, then one of 500 large values, the most that is allowed, and so on without a pause."""
    async with Client(url) as client:
        for number, node in itertools.cycle(((_NODES, ua.NodeId(2256)), (500, ua.NodeId("Station.Result.Ring", 2)))):
            wanted = ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value)
            one = struct_to_binary(wanted)
            request = ua.ReadRequest()
            request.Parameters.NodesToRead = [wanted]
            request.RequestHeader.AuthenticationToken = client.uaclient.protocol.authentication_token
            body = struct_to_binary(request)[: -len(one) - 4]
            await _sent(client, body + struct.pack("<i", number) + one * number)


async def _sent(client: Client, body: bytes) -> None:
    """Send an encoded request and wait until it is answered."""
    protocol = client.uaclient.protocol
    protocol._request_id += 1
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    protocol._callbackmap[protocol._request_id] = answer
    protocol.transport.write(protocol._connection.message_to_binary(body, request_id=protocol._request_id))
    await asyncio.wait_for(answer, 30)


async def _tags(client: Client) -> list[object]:
    index = await client.get_namespace_index("urn:edge-inspector:station")
    groups = await client.get_node(ua.NodeId("Station", index)).get_children()
    return [tag for group in groups for tag in await group.get_children()]


async def _subscribe(client: Client, tags: list[object]) -> None:
    subscription = await client.create_subscription(1, _Deaf())
    await subscription.subscribe_data_change(tags, queuesize=1000)


class _Deaf:
    def datachange_notification(self, node: object, value: object, data: object) -> None:
        pass


KINDS: dict[str, Callable[[str], Awaitable[None]]] = {
    "stopped": stopped,
    "connects": connects,
    "publishes": publishes,
    "reads": reads,
}


@contextmanager
def flooding(url: str, clients: dict[str, int]) -> Iterator[None]:
    """So many clients of each kind misbehave; all are killed at the end."""
    told = [f"{kind}={count}" for kind, count in clients.items()]
    flood = subprocess.Popen([sys.executable, __file__, url, *told], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(flood.pid, signal.SIGKILL)
        flood.wait()


def main() -> None:
    url, *told = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    # They stand for other machines: what they cost must not be the cores of this one.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    for kind, count in (one.split("=") for one in told):
        for _ in range(int(count)):
            if os.fork() == 0:
                _misbehave(KINDS[kind], url)
    signal.pause()


def _misbehave(kind: Callable[[str], Awaitable[None]], url: str) -> None:
    async def for_ever() -> None:
        while True:
            try:
                await kind(url)
            except (OSError, asyncio.TimeoutError, ua.UaError):
                await asyncio.sleep(_AGAIN_S)

    asyncio.run(for_ever())


if __name__ == "__main__":
    main()
