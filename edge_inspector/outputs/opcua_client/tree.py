"""What lies in a server: its variables, and which of them look like ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asyncua import ua

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_client import node_text
from edge_inspector.outputs.opcua_client.cells import Cell, Node
from edge_inspector.outputs.opcua_client.mapping import IN_CONTROL_BLOCK, SLOT
from edge_inspector.outputs.opcua_client.session import Session
from edge_inspector.outputs.opcua_client.survey import described
from edge_inspector.plc.tags import BY_NAME

MOST_NODES = 50_000
DEEPEST = 30
OBJECTS = ua.NodeId(ua.ObjectIds.ObjectsFolder)
_SERVER = ua.NodeId(ua.ObjectIds.Server)
_PROPERTY = ua.NodeId(ua.ObjectIds.HasProperty)
_ELEMENT = re.compile(r"\[\d+(,\d+)*\]")
"""The name of one element of an array: a S7-1500 shows each of them."""


@dataclass(frozen=True)
class Variable:
    """One variable; `path` is the names from the start down to it."""

    path: tuple[str, ...]
    node: Node


@dataclass(frozen=True)
class Proposal:
    """Tag -> NodeId text, and in words what was left out and why."""

    nodes: Mapping[str, str]
    left_out: tuple[str, ...] = field(default=())


async def variables(session: Session, start: ua.NodeId = OBJECTS) -> list[Variable]:
    """Every variable below a node, without the server's own and without single elements of arrays. OutputError."""
    paths: dict[ua.NodeId, tuple[str, ...]] = {start: ()}
    found: dict[ua.NodeId, tuple[str, ...]] = {}
    level = [start]
    for _ in range(DEEPEST):
        below: list[ua.NodeId] = []
        for parent, children in zip(level, await session.browse(level), strict=True):
            for child in children:
                node, name = (
                    ua.NodeId(child.NodeId.Identifier, child.NodeId.NamespaceIndex),
                    child.BrowseName.Name or "",
                )
                if node in paths or node == _SERVER or child.ReferenceTypeId == _PROPERTY or _ELEMENT.search(name):
                    continue
                paths[node] = (*paths[parent], name)
                below.append(node)
                if child.NodeClass == ua.NodeClass.Variable:
                    found[node] = paths[node]
        if len(paths) > MOST_NODES:
            raise OutputError(f"the server has more than {MOST_NODES} nodes there: give --under a smaller part")
        if not below:
            break
        level = below
    texts = [node_text.text_of(node, session.namespaces) for node in found]
    nodes = await described(session, list(found), texts)
    return [Variable(path, node) for path, node in zip(found.values(), nodes, strict=True) if isinstance(node, Node)]


def proposed(seen: Sequence[Variable]) -> Proposal:
    """Variables whose names end like a tag, in whatever way the words are joined: Control.TriggerSeq, DB.Mode.

    A last word alone is enough where only one tag can be meant: what could be two tags, or two variables, is left to
    a person.
    """
    nodes: dict[str, str] = {}
    left_out: list[str] = []
    named = {tag: [one for one in seen if _plain(*one.path).endswith(_NAMES[tag])] for tag in BY_NAME}
    taken = {one.node.name for ones in named.values() for one in ones}
    free = [one for one in seen if one.node.name not in taken]
    for tag, ones in named.items():
        found = ones or [one for one in free if tag in _meant(one, named)]
        wrong = [problem for one in found for problem in Cell(BY_NAME[tag], one.node).problems()]
        if len(found) > 1:
            left_out.append(f"{tag} could be " + " or ".join(one.node.name for one in found))
        elif wrong:
            left_out.append(f"{tag}: node {found[0].node.name} {wrong[0]}")
        elif found and len(_meant(found[0], named)) > 1 and not ones:
            left_out.append(f"{found[0].node.name} could be {' or '.join(_meant(found[0], named))}: not as {tag}")
        elif found:
            nodes[tag] = found[0].node.name
    if "Control.Block" in nodes and any(tag in nodes for tag in IN_CONTROL_BLOCK):
        left_out.append(
            f"Control.Block: node {nodes.pop('Control.Block')} holds the same as single tags that were found"
        )
    return Proposal(nodes, tuple(left_out))


def _meant(one: Variable, named: Mapping[str, Sequence[Variable]]) -> list[str]:
    """The tags that a variable without its group's name can be: none that has its own, none that does not fit."""
    words = [tag for tag in BY_NAME if one.path and _plain(tag.partition(".")[2]) == _plain(one.path[-1])]
    writer = _SIDES.get(_plain(*one.path[-2:-1]))
    possible = [tag for tag in words if not named[tag] and writer in (None, BY_NAME[tag].writer)]
    fitting = [tag for tag in possible if not [*Cell(BY_NAME[tag], one.node).problems()]] or possible
    needed = [tag for tag in fitting if tag in SLOT]
    return needed if len(needed) == 1 and all(BY_NAME[tag].writer == "station" for tag in fitting) else fitting


def _plain(*words: str) -> str:
    return "".join(c for c in "".join(words).casefold() if c.isalnum())


_NAMES = {tag: (_plain(tag), "resultseq") if tag == "Result.TriggerSeq" else (_plain(tag),) for tag in BY_NAME}
"""How a path ends that is this tag's; the second one is what our function blocks call it."""
_SIDES = {
    **dict.fromkeys(("in", "intags", "edgeinspectorin"), "station"),
    **dict.fromkeys(("out", "outtags", "edgeinspectorout"), "plc"),
}
"""Who writes a structure of our function blocks, by its name there."""
