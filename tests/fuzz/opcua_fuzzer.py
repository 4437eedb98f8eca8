"""Says recorded OPC UA sessions again, a little wrong: one short connection after another, each from its own seed."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, nodeid_to_binary, struct_from_binary, struct_to_binary
from mutations import LONGEST, mutated
from opcua_hostile import bomb, trespass
from opcua_wire import Closed, Refused, Wire

BATCH = 25
"""Messages of one connection."""
PATIENCE_S = 40.0
"""For so long a server may refuse new sessions because forgotten ones still count."""
_FRAME_SHARE = 0.3


@dataclass(frozen=True)
class Capture:
    """Recorded client streams: whole connections, and the service requests in them (type id, header, parameters)."""

    connections: tuple[tuple[bytes, ...], ...]
    requests: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        bodies = [m[24:] for messages in self.connections for m in messages if m[:4] == b"MSGF"]
        object.__setattr__(self, "requests", tuple(dict.fromkeys(bodies)))


class Hang(AssertionError):
    """The server neither answers nor closes."""


class OpcUaFuzzer:
    """`run(batch)` says `BATCH` messages; the same seed and batch say the same again, ids of the session aside."""

    def __init__(self, port: int, capture: Capture, seed: int) -> None:
        self._port = port
        self._capture = capture
        self._seed = seed
        self.sent = 0
        self.closed = 0

    def run(self, batch: int) -> None:
        """Hang: an answer is missing although the framing was right."""
        rng = random.Random(f"{self._seed}:{batch}")
        try:
            if rng.random() < _FRAME_SHARE:
                self._damaged_stream(rng)
            else:
                self._damaged_requests(rng)
        except Closed:
            self.closed += 1
        except TimeoutError as exc:
            raise Hang(f"no answer within 5 s in batch {batch} of seed {self._seed}") from exc

    def _damaged_stream(self, rng: random.Random) -> None:
        """A whole connection from Hello on, with the ids of another one; most such servers end it early."""
        messages = list(rng.choice(self._capture.connections)[:BATCH])
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(messages))
            messages[at] = mutated(messages[at], rng, messages)
        if rng.random() < 0.2:
            rng.shuffle(messages)
        with Wire(self._port) as wire:
            for message in messages:
                self.sent += 1
                wire.send(message)
            wire.finish()

    def _damaged_requests(self, rng: random.Random) -> None:
        """Right framing, channel and session; the requests are wrong. After a close it goes on in a new one."""
        left = BATCH
        while left:
            with patient(self._port) as wire:
                try:
                    while left:
                        left -= 1
                        self.sent += 1
                        wire.until_settled(self._body(wire, rng), _fence(wire))
                    wire.until_answered(_closing(wire))
                except Closed:
                    self.closed += 1

    def _body(self, wire: Wire, rng: random.Random) -> bytes:
        kind = rng.random()
        if kind < 0.10:
            return bomb(rng, wire.authentication)
        if kind < 0.25:
            request = trespass(rng)
            if not isinstance(request, ua.ActivateSessionRequest):
                request.RequestHeader.AuthenticationToken = wire.authentication
            return bytes(struct_to_binary(request))[:LONGEST]
        own = restamped(rng.choice(self._capture.requests), wire.authentication)
        return mutated(own, rng, self._capture.requests)


def restamped(request: bytes, authentication: ua.NodeId) -> bytes:
    """A recorded request with another session's token."""
    buffer = Buffer(request)
    type_id = nodeid_from_binary(buffer)
    header = struct_from_binary(ua.RequestHeader, buffer)
    header.AuthenticationToken = authentication
    return nodeid_to_binary(type_id) + struct_to_binary(header) + bytes(buffer)


def patient(port: int) -> Wire:
    """A new session; where the server has too many, wait for the forgotten ones to end. Closed: it never had room."""
    end = time.monotonic() + PATIENCE_S
    while True:
        wire = Wire(port)
        try:
            wire.hello()
            wire.open()
            return wire.session()
        except (Closed, Refused) as exc:
            wire.__exit__(None, None, None)
            if time.monotonic() > end:
                raise Hang(f"no session within {PATIENCE_S} s: {exc!r}") from exc
            time.sleep(0.2)


def _fence(wire: Wire) -> bytes:
    """A request that is always answered: those before it have been dealt with then."""
    request = ua.GetEndpointsRequest()
    request.Parameters.EndpointUrl = "opc.tcp://127.0.0.1"
    request.RequestHeader.AuthenticationToken = wire.authentication
    return bytes(struct_to_binary(request))


def _closing(wire: Wire) -> bytes:
    request = ua.CloseSessionRequest()
    request.DeleteSubscriptions = True
    request.RequestHeader.AuthenticationToken = wire.authentication
    return bytes(struct_to_binary(request))
