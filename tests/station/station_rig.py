"""A station with fakes at the protocols: cameras, model and PLC that do, and fail, as they are told."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, TypeVar

import anyio
import numpy as np

from edge_inspector.control import Control
from edge_inspector.datatypes import (
    Batch,
    CameraStatistics,
    Criteria,
    FeatureValue,
    Frame,
    Identity,
    InputSpec,
    InspectionResult,
    PreparePlan,
    RawView,
    Tensors,
    ThresholdState,
    TriggerMode,
)
from edge_inspector.decoders.yolo import Yolo
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.store import EngineStore
from edge_inspector.errors import CameraError, FeatureError, FrameError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import (
    EngineOptions,
    ModelFile,
    PlcMessage,
    PlcRequest,
    StationStatus,
    Ticket,
    TriggerRequest,
)
from edge_inspector.pipeline import Reading
from edge_inspector.settings import PictureGate, Recipe, View
from edge_inspector.station import daemon
from edge_inspector.station.engines import Engines
from edge_inspector.station.parts import CameraPlan, Limits, LoadedRecipe, Parts, Recipes
from edge_inspector.store.books import Books, VerdictRow, read_books, verdicts
from edge_inspector.store.flight import FlightRecord
from edge_inspector.store.ledger import Ledger

SIDE = 32
SPEC = InputSpec(SIDE, SIDE, "gray", 1 / 255, (0.0,), (1.0,), 0)
CLASSES = ("dark", "bright")
Message = TypeVar("Message")


@dataclass(frozen=True)
class Pushed:
    """A picture that a camera's input made: how far its block id and its edge counter go on, and what becomes of it."""

    gray: int
    step: int = 1
    edges: int = 1
    damaged: bool = False


class FakeCamera:
    """Pictures of one gray value; `lost`, `hang`, `stuck`, `refuses` and `push` play its failures and its input.

    `hang`: no picture comes; `stuck`: the driver's call does not return.
    """

    def __init__(self, name: str, trigger_mode: TriggerMode = "software") -> None:
        self.name = name
        self.trigger_mode: TriggerMode = trigger_mode
        self.serial = ""
        self.image_hw: tuple[int, int] | None = (SIDE, SIDE)
        self.statistics = CameraStatistics()
        self.gray = 0
        self.lost = threading.Event()
        self.hang = threading.Event()
        self.stuck = threading.Event()
        self.opened = 0
        self.step = 1
        self.damaged = False
        self.features: list[Mapping[str, FeatureValue]] = []
        self.refuses = ""
        self.fails_at_once = False
        self._frames: queue.Queue[Pushed] = queue.Queue()
        self._number = 0
        self.counts_edges = False
        self._edges = 0

    def __enter__(self) -> FakeCamera:
        if self.lost.is_set() and not self.fails_at_once:
            raise CameraError(f"camera {self.name}: not there")
        self.opened += 1
        self.statistics = CameraStatistics()  # the station makes a new camera, and this device plays it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def apply(self, features: Mapping[str, FeatureValue]) -> None:
        if self.refuses in features:
            raise FeatureError(f"camera {self.name}: {self.refuses} = {features[self.refuses]}, expected less")
        self.features.append(features)

    def push(self, gray: int = 0, step: int = 1, edges: int = 1, damaged: bool = False) -> None:
        """The part's own sensor triggers the camera."""
        self._frames.put(Pushed(gray, step, edges, damaged))

    def trigger(self) -> None:
        self._frames.put(Pushed(self.gray, self.step, damaged=self.damaged))

    def grab(self, timeout_s: float) -> Frame | None:
        end = time.monotonic() + timeout_s
        if self.lost.is_set():
            raise CameraError(f"camera {self.name}: unplugged")
        while time.monotonic() < end or self.stuck.is_set():
            if self.lost.is_set():
                raise CameraError(f"camera {self.name}: unplugged")
            if not self.hang.is_set() and not self.stuck.is_set():
                try:
                    pushed = self._frames.get(timeout=0.005)
                except queue.Empty:
                    continue
                return self._frame(pushed)
            time.sleep(0.005)
        return None

    def _frame(self, pushed: Pushed) -> Frame:
        self._number += pushed.step
        self._edges += pushed.edges
        edges = self._edges if self.counts_edges else None
        if pushed.damaged:
            raise FrameError(f"camera {self.name}: incomplete", self._number, edges)
        self.statistics = replace(self.statistics, frames=self.statistics.frames + 1)
        pixels = np.full((SIDE, SIDE), pushed.gray, np.uint8)
        return Frame(self.name, self._number, 0, time.monotonic_ns(), pixels, "Mono8", None, edges)


class FakeModel:
    """Sees a defect "bright" in every picture that is not black; waits while `slow` is set."""

    memory_bytes = 1
    output_shapes: Mapping[str, tuple[int, ...]] = {"output0": (1, 6, 1)}

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self._submitted: dict[int, Batch] = {}
        self._number = 0

    def submit(self, batch: Batch | RawView, slot: int) -> Ticket:
        assert isinstance(batch, Batch)
        self._backend.runs.append(len(batch.tiles))
        self._number += 1
        self._submitted[self._number] = batch
        return Ticket(slot, self._number)

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        batch = self._submitted.pop(ticket.number)
        while self._backend.slow.is_set():
            time.sleep(0.002)
        if self._backend.error is not None:
            raise self._backend.error
        seen = [[[16], [16], [8], [8], [0.0], [float(picture.max())]] for picture in batch.pixels]
        return Tensors({"output0": np.array(seen, np.float32)})

    def rehearse(self, plan: PreparePlan) -> None: ...

    def keep_warm(self) -> None: ...

    def close(self) -> None: ...


class FakeBackend:
    """As ONNX Runtime: nothing to build and nothing to prove, unless a test says so."""

    prepares_on_device = False
    options = EngineOptions()

    def __init__(self) -> None:
        self.slow = threading.Event()
        self.error: Exception | None = None
        self.load_error: Exception | None = None
        self.proof: Literal["none", "kept", "each_start"] = "none"
        self.max_batch = 1
        self.chosen: dict[str, str] = {}
        self.runs: list[int] = []
        self.loaded: list[ModelFile] = []

    def facts(self) -> Mapping[str, str]:
        return {"gpu": "fake", **self.chosen}

    def build(
        self, model: ModelFile, spec: InputSpec, into: Path, progress: Callable[[float, str], None]
    ) -> Mapping[str, object]:
        return {}

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> FakeModel:
        if self.load_error is not None:
            raise self.load_error
        self.loaded.append(model)
        return FakeModel(self)


class FakeLink:
    """A PLC link that remembers everything that it was told."""

    name = "plc"
    acknowledges = True
    dials = False
    asks = True

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
    bundles: dict[str, Bundle] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    build_command: Callable[[str], Sequence[str]] = lambda recipe: ["false"]
    master: str = "plc"
    line_stop_after: int = 0
    boot_id: int = 70
    gate: PictureGate = field(default_factory=lambda: PictureGate(identical=False, min_brightness=0, max_saturated=1))

    def recipe(
        self,
        name: str,
        cameras: Sequence[str] = ("a",),
        number: int = 1,
        features: Mapping[str, FeatureValue] = MappingProxyType({}),
        **settings: Any,
    ) -> LoadedRecipe:
        """Add a recipe; the first one is active."""
        views = tuple(View(camera=camera, features=dict(features)) for camera in cameras)
        made = Recipe(number=number, views=views, bundle=Path("b"), **settings)
        loaded = LoadedRecipe(
            name, made, Criteria(CLASSES), ThresholdState((0.5, 0.5)), "hash", ModelFile("m.onnx", f"sha-{name}"),
            Reading(Yolo(), len(CLASSES), 0.05, 0.5), {camera: PreparePlan(SPEC) for camera in cameras},
        )  # fmt: skip
        for camera in cameras:
            by_itself = settings.get("trigger") in ("line", "announced")
            self.cameras.setdefault(camera, FakeCamera(camera, "line" if by_itself else "software"))
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
            limits=Limits(self.max_open, self.line_stop_after, 0.5, self.stop_timeout_s),
            master=self.master,
            active_recipe=next(iter(self.recipes)),
            recipes=Recipes(self.recipes, self.bundles),
            cameras={
                name: CameraPlan(lambda camera=camera: camera, self.gate)  # type: ignore[misc]
                for name, camera in self.cameras.items()
            },
            backend=self.backend,
            engines=Engines(self.backend, EngineStore(self.folder / "engines"), self.bundles, frozenset(self.accepted)),
            build_command=self.build_command,
            links=[self.link],
            output_cameras=(),
            state_dir=self.folder,
            publishers=[],
            flight=flight,
            ledger=Ledger(self.ledger, [], on_booked=flight.free),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeLink]:
        """The station while the block lasts; afterwards it has stopped by its own way and booked everything."""
        async with self.running_parts(self.parts()) as link:
            yield link

    @asynccontextmanager
    async def running_parts(self, parts: Parts) -> AsyncIterator[FakeLink]:
        """As `running`, of parts that the test has made."""
        control = Control(self.folder / "c.sock")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(daemon.run, parts, control)
            yield self.link
            with anyio.move_on_after(1):  # anyio complains of a hang-up and a cancel in the same turn of the loop
                while control._clients:  # noqa: ASYNC110 - nobody tells that the last one has gone
                    await anyio.sleep(0.005)
            control.stop()

    def books(self) -> Books:
        return read_books(self.ledger)

    def events(self, code: str) -> list[str]:
        """The texts of the events of this code that are booked by now."""
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as book:
            return [text for (text,) in book.execute("SELECT text FROM events WHERE code = ? ORDER BY rowid", (code,))]

    async def booked(self, code: str) -> None:
        """Wait until an event of this code is in the ledger."""
        with anyio.fail_after(20):
            while not self.events(code):  # noqa: ASYNC110 - the ledger's thread sets no event of the loop
                await anyio.sleep(0.02)

    def rows(self) -> list[VerdictRow]:
        return list(verdicts(self.ledger).values())
