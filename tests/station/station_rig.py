"""A station with fakes at the protocols: cameras, model and PLC that do, and fail, as they are told."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import anyio
import numpy as np

from edge_inspector.control import Control
from edge_inspector.datatypes import (
    Batch,
    Frame,
    Identity,
    InputSpec,
    InspectionResult,
    PreparePlan,
    Tensors,
    ThresholdState,
)
from edge_inspector.decoders.yolo import Yolo
from edge_inspector.errors import CameraError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import ModelFile, PlcMessage, PlcRequest, StationStatus, Ticket, TriggerRequest
from edge_inspector.pipeline import Reading
from edge_inspector.settings import Recipe, View
from edge_inspector.station import daemon
from edge_inspector.station.parts import Limits, LoadedRecipe, Parts
from edge_inspector.store.books import Books, VerdictRow, read_books, verdicts
from edge_inspector.store.flight import FlightRecord
from edge_inspector.store.ledger import Ledger

SIDE = 32
SPEC = InputSpec(SIDE, SIDE, "gray", 1 / 255, (0.0,), (1.0,), 0)
CLASSES = ("dark", "bright")
Message = TypeVar("Message")


class FakeCamera:
    """Pictures of one gray value; `lost`, `hang` and `push` play its failures and its own triggers."""

    def __init__(self, name: str, software_triggered: bool = True) -> None:
        self.name = name
        self.software_triggered = software_triggered
        self.gray = 0
        self.lost = threading.Event()
        self.hang = threading.Event()
        self.opened = 0
        self._frames: queue.Queue[int] = queue.Queue()
        self._number = 0

    def __enter__(self) -> FakeCamera:
        if self.lost.is_set():
            raise CameraError(f"camera {self.name}: not there")
        self.opened += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def push(self, gray: int = 0) -> None:
        """The part's own sensor triggers the camera."""
        self._frames.put(gray)

    def trigger(self) -> None:
        self._frames.put(self.gray)

    def grab(self, timeout_s: float) -> Frame | None:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.lost.is_set():
                raise CameraError(f"camera {self.name}: unplugged")
            if not self.hang.is_set():
                try:
                    gray = self._frames.get(timeout=0.005)
                except queue.Empty:
                    continue
                self._number += 1
                pixels = np.full((SIDE, SIDE), gray, np.uint8)
                return Frame(self.name, self._number, 0, time.monotonic_ns(), pixels, "Mono8")
            time.sleep(0.005)
        return None


class FakeModel:
    """Sees a defect "bright" in every picture that is not black; waits while `slow` is set."""

    memory_bytes = 1
    output_shapes: Mapping[str, tuple[int, ...]] = {"output0": (1, 6, 1)}

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self._submitted: dict[int, Batch] = {}
        self._number = 0

    def submit(self, batch: Batch, slot: int) -> Ticket:
        self._number += 1
        self._submitted[self._number] = batch
        return Ticket(slot, self._number)

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        batch = self._submitted.pop(ticket.number)
        while self._backend.slow.is_set():
            time.sleep(0.002)
        if self._backend.error is not None:
            raise self._backend.error
        score = float(batch.pixels.max())
        return Tensors({"output0": np.array([[[16], [16], [8], [8], [0.0], [score]]], np.float32)})

    def close(self) -> None: ...


class FakeBackend:
    prepares_on_device = False

    def __init__(self) -> None:
        self.slow = threading.Event()
        self.error: Exception | None = None

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> FakeModel:
        return FakeModel(self)


class FakeLink:
    """A PLC link that remembers everything that it was told."""

    acknowledges = True

    def __init__(self) -> None:
        self.told: list[PlcMessage] = []
        self._requests: asyncio.Queue[PlcRequest] = asyncio.Queue()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> FakeLink:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def receive(self) -> PlcRequest:
        return await self._requests.get()

    async def tell(self, message: PlcMessage) -> None:
        self.told.append(message)
        self._changed.set()

    def ask(self, request: PlcRequest) -> None:
        self._requests.put_nowait(request)

    def trigger(self, seq: int, part_id: str = "") -> None:
        self.ask(TriggerRequest(seq, part_id or f"part-{seq}", time.monotonic_ns(), 9))

    async def until(self, kind: type[Message], fits: Callable[[Message], bool] = lambda _: True) -> Message:
        """The first message of this kind that fits, told already or soon."""
        with anyio.fail_after(10):
            while True:
                self._changed.clear()
                for message in self.told:
                    if isinstance(message, kind) and fits(message):
                        return message
                await self._changed.wait()

    async def ready(self) -> StationStatus:
        """Wait until the newest status is READY."""
        return await self.status(lambda status: status.ready)

    async def status(self, fits: Callable[[StationStatus], bool]) -> StationStatus:
        """Wait until the newest status fits."""
        with anyio.fail_after(10):
            while True:
                self._changed.clear()
                newest = next((m for m in reversed(self.told) if isinstance(m, StationStatus)), None)
                if newest is not None and fits(newest):
                    return newest
                await self._changed.wait()

    async def result(self, seq: int) -> InspectionResult:
        return await self.until(InspectionResult, lambda r: r.trigger.trigger_seq == seq)

    @property
    def results(self) -> list[InspectionResult]:
        return [m for m in self.told if isinstance(m, InspectionResult)]


@dataclass
class Rig:
    """One station and the hands on its fakes."""

    folder: Path
    cameras: dict[str, FakeCamera] = field(default_factory=dict)
    backend: FakeBackend = field(default_factory=FakeBackend)
    link: FakeLink = field(default_factory=FakeLink)
    recipes: dict[str, LoadedRecipe] = field(default_factory=dict)
    max_open: int = 4
    stop_timeout_s: float = 1.0
    local_master: bool = False
    boot_id: int = 70

    def recipe(self, name: str, cameras: Sequence[str] = ("a",), number: int = 1, **settings: Any) -> LoadedRecipe:
        """Add a recipe; the first one is active."""
        views = tuple(View(camera=camera) for camera in cameras)
        made = Recipe(number=number, views=views, bundle=Path("b"), **settings)
        loaded = LoadedRecipe(
            name, made, CLASSES, ThresholdState((0.5, 0.5)), "hash", ModelFile("m.onnx", "sha"),
            Reading(Yolo(), len(CLASSES), 0.05, 0.5), {camera: PreparePlan(SPEC) for camera in cameras},
        )  # fmt: skip
        for camera in cameras:
            self.cameras.setdefault(camera, FakeCamera(camera, settings.get("trigger") != "line"))
        self.recipes[name] = loaded
        return loaded

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.sqlite"

    def parts(self) -> Parts:
        self.boot_id += 1
        flight = FlightRecord(self.folder / "flight.bin", slots=64)
        return Parts(
            identity=Identity("s", self.boot_id, "0"),
            clock=SystemClock(),
            limits=Limits(self.max_open, 0.5, self.stop_timeout_s),
            local_master=self.local_master,
            active_recipe=next(iter(self.recipes)),
            recipes=self.recipes,
            cameras=self.cameras,
            backend=self.backend,
            links=[self.link],
            publishers=[],
            flight=flight,
            ledger=Ledger(self.ledger, [], on_booked=flight.free),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeLink]:
        """The station while the block lasts; afterwards it has stopped by its own way and booked everything."""
        control = Control(self.folder / "c.sock")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(daemon.run, self.parts(), control)
            yield self.link
            control.stop()

    def books(self) -> Books:
        return read_books(self.ledger)

    def rows(self) -> list[VerdictRow]:
        return list(verdicts(self.ledger).values())
