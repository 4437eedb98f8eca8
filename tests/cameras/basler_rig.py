"""Emulated Basler cameras for tests, and a stand-in for the node map of a camera that the emulator is not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge_inspector.cameras.basler import BaslerCamera, Config
from edge_inspector.datatypes import FeatureValue, Frame

PATIENT_S = 10.0
PIXELS_HW = (48, 61)


def camera(folder: Path, **settings: Any) -> BaslerCamera:
    return BaslerCamera("top", Config(type="basler", emulate_folder=folder, **settings))


def shoot(opened: Any) -> Frame:
    opened.trigger()
    frame = opened.grab(PATIENT_S)
    assert frame is not None
    return frame


def command(opened: BaslerCamera, node: str) -> None:
    """The emulator's own switches for faults; a station has no use for them, so the driver has no door to them."""
    opened._device.GetNodeMap().GetNode(node).Execute()


def values(opened: BaslerCamera) -> dict[str, FeatureValue | None]:
    """Of all features but the one that tells whether the camera waits for a trigger."""
    return {feature.name: feature.value for feature in opened.features() if feature.name != "AcquisitionStatus"}


class NotThereError(Exception):
    """What pypylon 4 raises of an unknown node."""


genicam = SimpleNamespace(
    intfIBoolean=1,
    intfIInteger=2,
    intfIFloat=3,
    intfIEnumeration=4,
    intfIString=5,
    intfICommand=6,
    LogicalErrorException=NotThereError,
    GenericException=NotThereError,
    IsImplemented=lambda node: True,
    IsAvailable=lambda node: True,
    IsReadable=lambda node: node.kind != genicam.intfICommand,
    IsWritable=lambda node: node.writable,
)
"""As much of pypylon's module as the driver asks of a node."""


@dataclass
class Node:
    """One feature; `steps` rounds a float down as a sensor does, `then` is done when it is written or executed."""

    name: str
    value: Any = None
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 2**32 - 1
    steps: float = 0
    unit: str = ""
    writable: bool = True
    then: Any = None
    kind: int = field(init=False)

    def __post_init__(self) -> None:
        kinds = {bool: genicam.intfIBoolean, int: genicam.intfIInteger, float: genicam.intfIFloat}
        other = genicam.intfICommand if self.value is None else genicam.intfIEnumeration
        self.kind = kinds.get(type(self.value), other)

    def GetNode(self) -> Node:
        return self

    def GetPrincipalInterfaceType(self) -> int:
        return self.kind

    def GetName(self) -> str:
        return self.name

    def GetToolTip(self) -> str:
        return ""

    def GetVisibility(self) -> int:
        return 0

    def IsFeature(self) -> bool:
        return True

    def GetUnit(self) -> str:
        return self.unit

    def GetMin(self) -> float:
        return self.low

    def GetMax(self) -> float:
        return self.high

    def HasInc(self) -> bool:
        return False

    def GetInc(self) -> int:
        return 1

    def GetSymbolics(self) -> tuple[str, ...]:
        return self.choices

    def GetEntryByName(self, name: str) -> str:
        return name

    def GetValue(self) -> Any:
        return self.value

    def SetValue(self, value: Any) -> None:
        self.value = value // self.steps * self.steps if self.steps else value
        self.Execute()

    def Execute(self) -> None:
        if self.then is not None:
            self.then()


class NodeMap:
    def __init__(self, nodes: Iterable[Node]) -> None:
        self.by_name = {node.name: node for node in nodes}

    def GetNode(self, name: str) -> Node:
        if name not in self.by_name:
            raise NotThereError(name)
        return self.by_name[name]

    def GetNodes(self) -> list[Node]:
        return list(self.by_name.values())
