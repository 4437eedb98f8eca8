"""What the server says of the nodes of a mapping, and which of them cannot be what they are mapped to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncua import ua

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_client import node_text
from edge_inspector.outputs.opcua_client.cells import Cell, Node
from edge_inspector.outputs.opcua_client.session import Session
from edge_inspector.plc.tags import BY_NAME

_ATTRIBUTES = (
    *(ua.AttributeIds.NodeClass, ua.AttributeIds.DataType, ua.AttributeIds.ValueRank, ua.AttributeIds.ArrayDimensions),
    *(ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel, ua.AttributeIds.Value),
)
_DERIVED: Mapping[int, ua.VariantType] = {
    ua.ObjectIds.Enumeration: ua.VariantType.Int32,
    ua.ObjectIds.Duration: ua.VariantType.Double,
    ua.ObjectIds.UtcTime: ua.VariantType.DateTime,
    ua.ObjectIds.LocaleId: ua.VariantType.String,
}
_READ, _WRITE = 1, 2
"""Bits of AccessLevel."""


@dataclass(frozen=True)
class Finding:
    """One mapped tag: its cell, None where there is no such variable, and what is wrong with it."""

    tag: str
    text: str
    cell: Cell | None
    problems: tuple[str, ...]

    @property
    def told(self) -> str:
        return "; ".join(f"{self.tag}: node {self.text} {problem}" for problem in self.problems)


async def survey(session: Session, nodes: Mapping[str, str]) -> list[Finding]:
    """A finding for each tag, in the order of the mapping. Reads only. OutputError when the session is lost."""
    named: dict[str, ua.NodeId | str] = {}
    for tag, text in nodes.items():
        try:
            named[tag] = node_text.node_id(text, session.namespaces)
        except OutputError as exc:
            named[tag] = str(exc)
    known = [node for node in named.values() if isinstance(node, ua.NodeId)]
    facts = iter(await described(session, known, [nodes[tag] for tag in nodes if isinstance(named[tag], ua.NodeId)]))
    found: list[Finding] = []
    for tag, text in nodes.items():
        fact = named[tag] if isinstance(named[tag], str) else next(facts)
        if isinstance(fact, Node):
            cell = Cell(BY_NAME[tag], fact)
            found.append(Finding(tag, text, cell, tuple(cell.problems())))
        else:
            found.append(Finding(tag, text, None, (fact,)))
    return found


async def described(session: Session, ids: list[ua.NodeId], names: list[str]) -> list[Node | str]:
    """Each node as it describes itself, or why it is no variable. OutputError when the session is lost."""
    wanted = [(node, attribute) for node in ids for attribute in _ATTRIBUTES]
    answers = await session.read_attributes(wanted)
    size = len(_ATTRIBUTES)
    return [
        _described(node, name, answers[i * size : (i + 1) * size])
        for i, (node, name) in enumerate(zip(ids, names, strict=True))
    ]


def _described(node: ua.NodeId, name: str, answers: list[ua.DataValue]) -> Node | str:
    node_class, data_type, rank, dimensions, access, user_access, value = answers
    if _value(node_class) is None:
        return f"does not exist in the server ({_status(node_class)})"
    if _value(node_class) != ua.NodeClass.Variable:
        return "is no variable"
    kind = _built_in(_value(data_type), value)
    level = _value(access)
    allowed = (_READ | _WRITE if level is None else int(level)) & int(_value(user_access, _READ | _WRITE))
    return Node(
        name=name,
        node_id=node,
        type=kind,
        rank=int(_value(rank, -1)),
        length=_length(_value(dimensions), value),
        readable=bool(allowed & _READ),
        writable=bool(allowed & _WRITE),
    )


def _built_in(data_type: object, value: ua.DataValue) -> ua.VariantType | None:
    """The built-in type behind a node's own one, such as the WORD of a PLC; its present value tells where it must."""
    if isinstance(data_type, ua.NodeId) and data_type.NamespaceIndex == 0:
        number = data_type.Identifier
        if number in _DERIVED:
            return _DERIVED[number]
        if 1 <= number <= ua.ObjectIds.DateTime:
            return ua.VariantType(number)
    if value.Value is None or value.Value.VariantType is ua.VariantType.Null:
        return None
    kind: ua.VariantType = value.Value.VariantType
    return kind


def _length(dimensions: object, value: ua.DataValue) -> int:
    if isinstance(dimensions, list) and len(dimensions) == 1 and dimensions[0]:
        return int(dimensions[0])
    present = _value(value)
    return len(present) if isinstance(present, list) else 0


def _value(answer: ua.DataValue, otherwise: Any = None) -> Any:
    bad = answer.StatusCode is not None and not answer.StatusCode.is_good()
    if bad or answer.Value is None or answer.Value.Value is None:
        return otherwise
    return answer.Value.Value


def _status(answer: ua.DataValue) -> str:
    return str(answer.StatusCode.name) if answer.StatusCode is not None else "no value"
