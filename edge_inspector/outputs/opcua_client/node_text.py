"""NodeIds as text: `ns=3;s="DB_Vision"."Result"`, or with the namespace's name, which outlives a new order of them."""

from __future__ import annotations

import re
import uuid
from base64 import b64decode
from collections.abc import Sequence

from asyncua import ua

from edge_inspector.errors import OutputError

_TEXT = re.compile(r"(?:ns=(?P<index>\d{1,5});|nsu=(?P<uri>[^;]+);)?(?P<kind>[isgb])=(?P<identifier>.+)", re.DOTALL)
_KINDS = {"i": ua.NodeIdType.Numeric, "s": ua.NodeIdType.String, "g": ua.NodeIdType.Guid, "b": ua.NodeIdType.ByteString}
_EXPECTED = 'expected a NodeId such as ns=3;s="DB_Vision"."Seq", ns=2;i=1001 or nsu=http://some.uri;s=Name'


def checked(text: str) -> str:
    """The text itself. ValueError when it is no NodeId."""
    _parts(text)
    return text


def node_id(text: str, namespaces: Sequence[str]) -> ua.NodeId:
    """The NodeId in a server with these namespaces. OutputError when it has not the one that is named."""
    index, uri, kind, identifier = _parts(text)
    if uri is not None:
        if uri not in namespaces:
            raise OutputError(
                f"node {text}: the server has no namespace {uri!r}; it has {', '.join(map(repr, namespaces))}"
            )
        index = namespaces.index(uri)
    return ua.NodeId(identifier, index, _KINDS[kind])


def text_of(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """The text that finds the node again whatever the order of the namespaces: the way back from `node_id`."""
    identifier: str = ua.NodeId(node.Identifier, 0, node.NodeIdType).to_string()
    if node.NamespaceIndex == 0:
        return identifier
    uri = namespaces[node.NamespaceIndex].replace("%", "%25").replace(";", "%3B")
    return f"nsu={uri};{identifier}"


def _parts(text: str) -> tuple[int, str | None, str, object]:
    """Index, URI, kind and identifier. ValueError when it is no NodeId."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(_EXPECTED)
    kind, raw, uri = found["kind"], found["identifier"], found["uri"]
    index = int(found["index"] or 0)
    try:
        identifier = _identifier(kind, raw)
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if index > 0xFFFF or (kind == "i" and not 0 <= int(raw) < 2**32):
        raise ValueError("expected a namespace index below 65536 and a number below 2^32")
    return index, None if uri is None else uri.replace("%3B", ";").replace("%25", "%"), kind, identifier


def _identifier(kind: str, raw: str) -> object:
    if kind == "i":
        return int(raw)
    if kind == "g":
        return uuid.UUID(raw)
    return b64decode(raw, validate=True) if kind == "b" else raw
