"""Hands on a running station for those who are no PLC: orders over its socket, and the audit trail of them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any

import anyio
import numpy as np
from station_rig import SIDE, Rig

from edge_inspector.control import ControlClient, StationAway
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import Clock, Order, OrderAnswer
from edge_inspector.station.events import CameraUp, ModelLoaded, ModelWarm, Setting, Shot
from edge_inspector.station.inbox import FOLDER
from edge_inspector.station.line import Line


class JumpingClock(SystemClock):
    """Ahead of the machine's by as much as the test says."""

    def __init__(self) -> None:
        self._ahead_ns = 0

    def jump(self, seconds: float) -> None:
        self._ahead_ns += round(seconds * 1e9)

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self._ahead_ns


@asynccontextmanager
async def quiet_line(rig: Rig, clock: Clock) -> AsyncIterator[Line]:
    """A line without threads whose events the test hands over one by one; its cameras and its model are there."""
    parts = replace(rig.parts(), clock=clock)
    with parts.flight, parts.ledger:
        line = Line(parts, 1, lambda _kind, _record: None)
        line.cameras = Still()  # type: ignore[assignment]
        line.models.order_load = lambda recipe: line.changeover.warm(ModelWarm(recipe))
        for name in parts.cameras:
            await line.handle(CameraUp(name, 1))
        for name in parts.recipes:
            await line.handle(ModelLoaded(name, ""))
        (rig.folder / FOLDER).mkdir()
        yield line
        for opened in line.work.open.values():
            opened.timer.cancel()


class Still:
    """Camera threads that only remember what they were asked for."""

    def __init__(self) -> None:
        self.snapped: list[str] = []
        self.at_it: set[str] = set()

    def shoot(self, camera: str, shot: Shot) -> None: ...
    def came_up(self, camera: str) -> None: ...
    def set(self, camera: str, setting: Setting) -> None: ...
    def opened(self, camera: str) -> None: ...
    def snap(self, camera: str) -> None:
        self.snapped.append(camera)

    def snapping(self, camera: str) -> bool:
        return camera in self.at_it


def client(rig: Rig) -> ControlClient:
    return ControlClient(rig.folder / "c.sock", timeout_s=20.0)


async def order(rig: Rig, name: str, who: str = "anna", /, **arguments: Any) -> OrderAnswer:
    await begun(rig)
    return await client(rig).order_async(Order(name, who, arguments))


def audited(rig: Rig) -> list[tuple[str, str, str]]:
    """Who did what, and its detail, of what is booked by now; without what the start books."""
    with closing(sqlite3.connect(f"file:{rig.ledger}?mode=ro", uri=True)) as book:
        rows = book.execute("SELECT who, what, detail FROM audit ORDER BY id")
        return [(who.partition(" (uid")[0], what, detail) for who, what, detail in rows]


def put(rig: Rig, gray: int = 0, camera: str = "a", side: int = SIDE, **changed: Any) -> dict[str, Any]:
    """A picture in the inbox, and what an order says of it."""
    inbox = rig.folder / FOLDER
    name = f"{len(list(inbox.iterdir()))}-{camera}.raw"
    (inbox / name).write_bytes(np.full((side, side), gray, np.uint8).tobytes())
    return {"file": name, "shape": [side, side], "dtype": "uint8", "pixel_format": "Mono8", **changed}


async def inspect(rig: Rig, gray: int = 0, part_id: str = "p", **changed: Any) -> OrderAnswer:
    """Post one picture of camera a."""
    await begun(rig)
    return await order(rig, "inspect", part_id=part_id, pictures={"a": put(rig, gray, **changed)})


async def begun(rig: Rig) -> None:
    """Until the station answers on its socket and has made the inbox."""
    with anyio.fail_after(10):
        while True:
            try:
                await client(rig).ask_async({"command": "status"})
            except StationAway:
                await anyio.sleep(0.01)
            else:
                break
        while not (rig.folder / FOLDER).is_dir():  # noqa: ASYNC110 - its thread sets no event of the loop
            await anyio.sleep(0.01)
