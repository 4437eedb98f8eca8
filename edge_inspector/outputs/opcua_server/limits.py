"""How much a client may ask for; each limit is told in the server's capabilities and enforced before any work."""

from __future__ import annotations

import struct

from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import ServiceError

MAX_NODES = 500
"""Nodes, items or acknowledgements in one request."""
MAX_CALLS = 10
"""A list of all results is 100 kB and takes 10 ms."""
MAX_REFERENCES = 1000
"""In one answer to Browse: what is beyond is asked for again."""
MAX_SESSIONS = 10
MAX_READERS = 8
"""Sessions of users who may not write: those who may always find one."""
MAX_CONNECTIONS = 20
MAX_SUBSCRIPTIONS = 10
"""Of a session."""
MAX_ITEMS = 100
"""Monitored items of a session."""
MAX_EVENT_ITEMS = 10
"""Of them; each event is weighed and filled in anew for each of them."""
SESSION_TIMEOUT_MS = 30_000
PENDING_S = 10.0
"""A connection without a session is closed after this."""
WRITES_S = 5.0
"""How long a session that has written counts as a PLC's."""
MIN_BUFFER = 8192
"""OPC UA's own least size of a chunk."""
MAX_CHUNK = 65_535
MAX_MESSAGE = 1_048_576
"""Bytes of a request; some clients take it for the limit of an answer as well."""
MAX_ANSWER = 1_000_000
"""Bytes of values in one answer to Read: the type dictionaries alone are 340 kB each."""
MAX_UNACKNOWLEDGED = 32

_Refused = ua.StatusCodes.BadTooManyOperations


def _service(name: str) -> ua.NodeId:
    return ua.NodeId(getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary"))


COUNTED: dict[ua.NodeId, tuple[int, int]] = {
    _service(name): (offset, most)
    for name, offset, most in (
        ("Read", 12, MAX_NODES),
        ("Write", 0, MAX_NODES),
        ("TranslateBrowsePathsToNodeIds", 0, MAX_NODES),
        ("RegisterNodes", 0, MAX_NODES),
        ("UnregisterNodes", 0, MAX_NODES),
        ("Call", 0, MAX_CALLS),
        ("CreateMonitoredItems", 8, MAX_ITEMS),
        ("ModifyMonitoredItems", 8, MAX_ITEMS),
        ("DeleteMonitoredItems", 4, MAX_ITEMS),
        ("SetMonitoringMode", 8, MAX_ITEMS),
        ("SetPublishingMode", 1, MAX_NODES),
        ("DeleteSubscriptions", 0, MAX_NODES),
        ("TransferSubscriptions", 0, MAX_NODES),
        ("Publish", 0, MAX_NODES),
    )
}
"""Where the length of the list stands in the body of a request, and how long the list may be."""
UNSERVED = frozenset(
    _service(name)
    for name in (
        "RegisterServer",
        "RegisterServer2",
        "AddNodes",
        "AddReferences",
        "DeleteNodes",
        "DeleteReferences",
        "HistoryRead",
    )
)
"""What asyncua would serve, the first two even to a client without a session."""
BROWSE = _service("Browse")


def check_count(service: ua.NodeId, body: bytes) -> None:
    """BadTooManyOperations or BadNothingToDo by the length of a request's list, before the list is decoded.

    ServiceError for what we do not serve at all. `body` is what follows the request header.
    """
    if service in UNSERVED:
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
    offset, most = COUNTED.get(service, (0, -1))
    if service == BROWSE:
        offset, most = _end_of_node_id(body) + 16, MAX_NODES  # then time, version and references a node
    if most < 0:
        return
    if len(body) < offset + 4:
        raise ServiceError(ua.StatusCodes.BadDecodingError)
    (count,) = struct.unpack_from("<i", body, offset)
    if count > most:
        raise ServiceError(_Refused)
    if count <= 0 and service != _service("Publish"):
        raise ServiceError(ua.StatusCodes.BadNothingToDo)


def _end_of_node_id(body: bytes) -> int:
    """The length of the binary NodeId with which the view of a Browse begins."""
    if not body:
        raise ServiceError(ua.StatusCodes.BadDecodingError)
    fixed = {0: 2, 1: 4, 2: 7, 4: 19}.get(body[0])
    if fixed is not None:
        return fixed
    if body[0] not in (3, 5) or len(body) < 7:
        raise ServiceError(ua.StatusCodes.BadDecodingError)
    (length,) = struct.unpack_from("<i", body, 3)
    return 7 + max(0, int(length))


class Transport(TransportLimits):  # type: ignore[misc]
    """Chunks and messages of a station's size; smaller chunks than the standard allows are refused."""

    def __init__(self) -> None:
        super().__init__(MAX_CHUNK, MAX_CHUNK, MAX_MESSAGE // MIN_BUFFER, MAX_MESSAGE)

    def create_acknowledge_and_set_limits(self, msg: ua.Hello) -> ua.Acknowledge:
        if min(msg.ReceiveBufferSize, msg.SendBufferSize) < MIN_BUFFER:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadConnectionRejected)
        return super().create_acknowledge_and_set_limits(msg)
