"""A camera's GenICam node map: what its features are, may be and are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_inspector.datatypes import FeatureValue

Kind = Literal["boolean", "integer", "float", "enumeration", "string"]
EXPERT = 1
"""GenICam's visibility: Beginner 0, Expert 1, Guru 2, Invisible 3."""


@dataclass(frozen=True)
class Feature:
    """One setting of a camera as it stands.

    `minimum` to `increment` are those of a number, None = it has none; `choices` are an enumeration's that can be had
    now. `value` is None where the camera does not tell it now.
    """

    name: str
    kind: Kind
    value: FeatureValue | None
    minimum: float | None
    maximum: float | None
    increment: float | None
    choices: tuple[str, ...]
    unit: str
    writable: bool
    tooltip: str


class Nodes:
    """The features of one node map by name; `genicam` is pypylon's module. Whatever fails raises as pypylon does."""

    def __init__(self, node_map: Any, genicam: Any) -> None:
        self._map = node_map
        self._genicam = genicam
        self._kinds: Mapping[int, Kind] = {
            genicam.intfIBoolean: "boolean",
            genicam.intfIInteger: "integer",
            genicam.intfIFloat: "float",
            genicam.intfIEnumeration: "enumeration",
            genicam.intfIString: "string",
        }

    def find(self, name: str) -> Any | None:
        """The node, None when this camera has no such feature. (Of an unknown one, pypylon 4 raises; 26 says so.)"""
        try:
            node = self._map.GetNode(name)
        except self._genicam.LogicalErrorException:
            return None
        return node if self._genicam.IsImplemented(node) else None

    def writable(self, name: str) -> bool:
        node = self.find(name)
        return node is not None and bool(self._genicam.IsWritable(node))

    def value(self, name: str) -> FeatureValue | None:
        """None = there is none, or it cannot be read now."""
        node = self.find(name)
        return None if node is None else self._read(node)

    def choices(self, name: str) -> tuple[str, ...]:
        """What an enumeration can be set to now; empty for everything else."""
        node = self.find(name)
        return () if node is None else self._choices(node)

    def put(self, name: str, value: FeatureValue) -> None:
        self._map.GetNode(name).SetValue(value)

    def execute(self, command: str) -> None:
        self._map.GetNode(command).Execute()

    def feature(self, name: str) -> Feature | None:
        """None = this camera has none of that name, or it is no setting but a command or a category."""
        node = self.find(name)
        kind = None if node is None else self._kinds.get(node.GetNode().GetPrincipalInterfaceType())
        return None if node is None or kind is None else self._described(node, kind)

    def names(self) -> list[str]:
        """Of every setting that is meant for people, in the camera's own order."""
        return [
            str(node.GetNode().GetName())
            for node in self._map.GetNodes()
            if node.GetNode().GetPrincipalInterfaceType() in self._kinds
            and node.GetNode().IsFeature()
            and node.GetNode().GetVisibility() <= EXPERT
            and self._genicam.IsImplemented(node)
        ]

    def _described(self, node: Any, kind: Kind) -> Feature:
        number = kind in ("integer", "float") and bool(self._genicam.IsReadable(node))
        increment = number and (kind == "integer" or node.HasInc())
        return Feature(
            name=str(node.GetNode().GetName()),
            kind=kind,
            value=self._read(node),
            minimum=node.GetMin() if number else None,
            maximum=node.GetMax() if number else None,
            increment=node.GetInc() if increment else None,
            choices=self._choices(node),
            unit=str(node.GetUnit()) if number else "",
            writable=bool(self._genicam.IsWritable(node)),
            tooltip=str(node.GetNode().GetToolTip()),
        )

    def _read(self, node: Any) -> FeatureValue | None:
        if node.GetNode().GetPrincipalInterfaceType() not in self._kinds or not self._genicam.IsReadable(node):
            return None
        value: FeatureValue = node.GetValue()
        return value

    def _choices(self, node: Any) -> tuple[str, ...]:
        if self._kinds.get(node.GetNode().GetPrincipalInterfaceType()) != "enumeration":
            return ()
        available = self._genicam.IsAvailable
        return tuple(str(name) for name in node.GetSymbolics() if available(node.GetEntryByName(name)))
