"""Which of our tags live in which nodes of the PLC, and whether they are enough for the PLC's rule to hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge_inspector.outputs.opcua_client import node_text
from edge_inspector.plc.tags import BY_NAME

_BLOCK = "Control.Block"
IN_CONTROL_BLOCK = (
    *("Control.Heartbeat", "Control.PlcBootId", "Control.BootIdEcho", "Control.TriggerSeq", "Control.RecipeReqNo"),
    *("Control.RecipeReqSeq", "Control.ResultAckSeq", "Control.Command", "Control.CommandSeq"),
)
SLOT = (
    *("Result.TriggerSeq", "Result.Evaluation", "Result.Mode", "Result.BootId", "Result.PlcBootId"),
    "Result.RecipeNo",
)
"""What the rule looks at; without one of them a result of another part, start or recipe could pass."""
_VALID = ("Status.ResultsValid", "Status.Word", "Status.Block")
_HEARTBEAT, _BOOT_ID = ("Status.Heartbeat", "Status.Block"), ("Status.BootId", "Status.Block")
_PAIRS = (
    ("Control.RecipeReqSeq", ("Control.RecipeReqNo", "Control.RecipeReq")),
    ("Control.CommandSeq", ("Control.Command",)),
    ("Control.FeedbackSeq", ("Control.PartFeedback",)),
)


def problems(nodes: Mapping[str, str], acknowledge: bool) -> Iterator[str]:
    """Everything that is wrong with a mapping of tag name -> NodeId text."""
    for tag, text in nodes.items():
        if tag not in BY_NAME:
            yield f"{tag} is no tag: see docs/reference/tags.md"
            continue
        try:
            node_text.checked(text)
        except ValueError as exc:
            yield f"{tag} = {text!r}: {exc}"
    yield from _twice(nodes)
    yield from _missing(nodes, acknowledge)
    yield from _halves(nodes)


def _twice(nodes: Mapping[str, str]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for tag, text in nodes.items():
        if text in seen:
            yield f"{tag} and {seen[text]} are mapped to the same node {text}"
        seen.setdefault(text, tag)
    if _BLOCK in nodes:
        for tag in IN_CONTROL_BLOCK:
            if tag in nodes:
                yield f"{tag} is mapped beside {_BLOCK}, which holds it too: map one of them"


def _missing(nodes: Mapping[str, str], acknowledge: bool) -> Iterator[str]:
    for choice in (_HEARTBEAT, _BOOT_ID):
        if not any(tag in nodes for tag in choice):
            yield f"{' or '.join(choice)} is not mapped: the PLC's rule needs it"
    if "Result.Ring" not in nodes:
        for tag in SLOT:
            if tag not in nodes:
                yield f"{tag} is not mapped: the PLC's rule needs it (or Result.Ring)"
        if not any(tag in nodes for tag in _VALID):
            yield f"{' or '.join(_VALID)} is not mapped: the PLC must see when Result.* belong together"
    wanted = ["Control.Heartbeat", "Control.PlcBootId", "Control.BootIdEcho", "Control.TriggerSeq"]
    if acknowledge:
        wanted.append("Control.ResultAckSeq")
    for tag in wanted if _BLOCK not in nodes else ():
        if tag not in nodes:
            why = " (or set acknowledge = false)" if tag == "Control.ResultAckSeq" else ""
            yield f"{tag} is not mapped: the PLC must write it, or {_BLOCK}{why}"


def _halves(nodes: Mapping[str, str]) -> Iterator[str]:
    for sequence, values in _PAIRS:
        value = any(tag in nodes for tag in values)
        if _BLOCK in nodes and sequence in IN_CONTROL_BLOCK:
            continue
        if value != (sequence in nodes):
            yield f"{sequence} and {' or '.join(values)} belong together: map both or none"
