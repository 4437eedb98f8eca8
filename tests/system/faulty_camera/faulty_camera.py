"""The plugin camera `faulty`: the real Basler driver on pylon's emulator, and a bench that makes it fail on order."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field

from edge_inspector.cameras.basler import BaslerCamera
from edge_inspector.cameras.basler import Config as BaslerConfig
from edge_inspector.cameras.basler.discovery import CameraInfo, chosen, not_opened
from edge_inspector.datatypes import CameraStatistics, FeatureValue, Frame, TriggerMode
from edge_inspector.settings import LocalPath

PICTURE_S = 5.0
"""The emulator needs some 10 ms for a picture; on a busy machine it gets this long."""


class Config(BaslerConfig):
    """As Basler's, on the emulator only."""

    type: Literal["faulty"]  # type: ignore[assignment]
    faults: LocalPath = Field(description="Folder: <camera>.sock takes orders, <camera>.jsonl tells what was done.")
    line_input: bool = Field(False, description="The camera exposes when an edge is ordered, as by its own input.")


@dataclass(frozen=True)
class Order:
    """One fault of the next picture; `s` is for those that take time."""

    fault: str
    s: float = 0.0


class Bench:
    """What happens to one camera whatever instance drives it: it outlives them all, and works on a thread of its own.

    Orders are JSON datagrams `{"fault": ..., "n": 1, "s": 0.0, "part": ""}`. At once: `remove` (the cable is pulled),
    `edge` (the camera's input sees a part), `release` (every call that hangs goes on), `clear` (what was ordered of
    pictures and calls to come is forgotten). `hang_open` and `hang_close` are those of the next such call; each other
    fault is that of the next `n` pictures: see `FaultyCamera`.
    A file <camera>.away, .held or .swapped holds the CLOCK_MONOTONIC seconds until which pylon does not see the camera,
    another program has it, or another camera is in its place; it outlives the process, too.
    """

    def __init__(self, camera: str, folder: Path) -> None:
        self.edges: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.lock = threading.RLock()
        self.device: Any = None
        self._camera = camera
        self._folder = folder
        self._orders: deque[Order] = deque()
        self._calls: deque[str] = deque()
        self._released = threading.Event()
        self._deeds = (folder / f"{camera}.jsonl").open("a", buffering=1)
        path = folder / f"{camera}.sock"
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, name=f"bench-{camera}", daemon=True).start()

    def tell(self, did: str, **facts: object) -> None:
        """Write down what was done; times are CLOCK_MONOTONIC ns, as in the station's books."""
        with self.lock:
            self._deeds.write(json.dumps({"did": did, "ns": time.monotonic_ns(), **facts}) + "\n")

    def next_picture(self) -> Order:
        with self.lock:
            return self._orders.popleft() if self._orders else Order("")

    def call(self, name: str) -> None:
        """Hang here when that was ordered of this call."""
        with self.lock:
            hangs = name in self._calls
            if hangs:
                self._calls.remove(name)
        if hangs:
            self.hang(name)

    def hang(self, where: str) -> None:
        released = self._released
        self.tell("hung", where=where)
        released.wait()

    def lasts(self, state: str) -> bool:
        """Whether the camera is `away`, `held` or `swapped` now."""
        path = self._folder / f"{self._camera}.{state}"
        return path.exists() and time.monotonic() < float(path.read_text())

    def remove(self) -> None:
        """Pull the cable, as far as the emulator has one."""
        with self.lock:
            if self.device is not None and not self.device.IsCameraDeviceRemoved():
                self.device.GetNodeMap().GetNode("FirePnPCallback").Execute()
                self.tell("removed")

    def _listen(self) -> None:
        while True:
            order = json.loads(self._socket.recv(4096))
            fault = order["fault"]
            with self.lock:
                if fault == "remove":
                    self.remove()
                elif fault == "edge":
                    self.edges.put(order["part"])
                elif fault == "release":
                    self._released.set()
                    self._released = threading.Event()
                elif fault in ("hang_open", "hang_close"):
                    self._calls.append(fault)
                elif fault == "clear":
                    self._orders.clear()
                    self._calls.clear()
                else:
                    self._orders.extend([Order(fault, float(order.get("s", 0.0)))] * order.get("n", 1))


_benches: dict[str, Bench] = {}
_making = threading.Lock()


def _bench(camera: str, folder: Path) -> Bench:
    with _making:
        if camera not in _benches:
            _benches[camera] = Bench(camera, folder)
        return _benches[camera]


class FaultyCamera:
    """Everything but the fault is the real driver's. Faults of a picture:

    unplug: the cable is pulled while it is taken. hang_trigger, hang_grab: the call does not come back.
    stall: it is never taken. late: it comes `s` late. failed: an incomplete buffer. empty, shape: of size 0, or half.
    frozen, black, saturated, defocus: other pixels. skip: one before it is lost. repeat: the one before once more.
    reorder: it comes after its successor.
    """

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.trigger_mode: TriggerMode = "line" if config.line_input else config.trigger
        self._config = config
        self._real = BaslerCamera(name, config)
        self._bench: Bench
        self._order = Order("")
        self._exposed_ns = 0
        self._before: Frame | None = None
        self._kept: tuple[Frame, str] | None = None

    @property
    def serial(self) -> str:
        return self._real.serial

    @property
    def image_hw(self) -> tuple[int, int] | None:
        return self._real.image_hw

    @property
    def statistics(self) -> CameraStatistics:
        return self._real.statistics

    def __enter__(self) -> FaultyCamera:
        self._bench = bench = _bench(self.name, self._config.faults)
        bench.tell("opening")
        bench.call("hang_open")
        if bench.lasts("away"):
            chosen(self.name, self._config, [])
        if bench.lasts("held"):
            held = CameraInfo("Emulation", str(self._config.serial), "", "", "BaslerCamEmu", accessible=False)
            raise not_opened(self.name, held, "as the test ordered")
        if bench.lasts("swapped"):
            other = {"0815-0000": "0815-0001"}.get(str(self._config.serial), "0815-0000")
            self._real = BaslerCamera(self.name, self._config.model_copy(update={"serial": other}))
        with bench.lock:
            self._real.__enter__()
            bench.device = self._real._device
        bench.tell("opened", serial=self.serial)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        bench = self._bench
        bench.call("hang_close")
        with bench.lock:
            if bench.device is self._real._device:
                bench.device = None
            self._real.__exit__(kind, error, trace)
        bench.tell("closed")

    def apply(self, features: Mapping[str, FeatureValue]) -> None:
        self._real.apply(features)

    def trigger(self) -> None:
        self._begin("")
        if self._order.fault == "hang_trigger":
            self._bench.hang("trigger")
        if self._order.fault != "stall":
            self._real.trigger()

    def grab(self, timeout_s: float) -> Frame | None:
        if self.trigger_mode == "line":
            return self._edge(timeout_s)
        order, self._order = self._order, Order("")
        fault = order.fault
        if fault == "hang_grab":
            self._bench.hang("grab")
        if fault == "late":
            time.sleep(order.s)
        if fault == "unplug":
            self._bench.remove()
            while (lost := self._real.grab(timeout_s)) is not None:
                lost.release()
        frame = self._real.grab(timeout_s)
        if frame is not None and fault == "reorder":
            self._kept = frame, ""
            frame = self._shot()
        elif frame is not None and self._kept is not None:
            frame.release()
            (frame, _), self._kept, fault = self._kept, None, "reordered"
        return self._delivered(frame, fault, "")

    def _edge(self, timeout_s: float) -> Frame | None:
        """The picture of the next part that passes the camera's own sensor."""
        if self._kept is not None and self._order.fault != "reorder":
            (frame, part), self._kept = self._kept, None
            return self._delivered(frame, "reordered", part)
        try:
            part = self._bench.edges.get(timeout=timeout_s)
        except queue.Empty:
            return None
        self._begin(part)
        if self._order.fault == "stall":
            return None
        shot = self._shot()
        if shot is not None and self._order.fault == "reorder":
            self._kept = shot, part
            return None
        return self._delivered(shot, self._order.fault, part)

    def _begin(self, part: str) -> None:
        """A new exposure, with what the bench has in store for it."""
        self._order = self._bench.next_picture()
        self._exposed_ns = time.monotonic_ns()
        self._bench.tell("trigger", fault=self._order.fault, part=part)
        if self._order.fault == "failed":
            device = self._real._device
            device.ForceFailedBufferCount.Value = 1
            device.GetNodeMap().GetNode("ForceFailedBuffer").Execute()
        if self._order.fault == "skip" and (lost := self._shot()) is not None:
            lost.release()

    def _shot(self) -> Frame | None:
        self._real.trigger()
        return self._real.grab(PICTURE_S)

    def _delivered(self, frame: Frame | None, fault: str, part: str) -> Frame | None:
        """The picture as it is told to the station; what it shows is written down first."""
        if frame is None:
            return None
        if fault in ("frozen", "repeat") and self._before is None:
            fault = ""  # there is none before it
        frame = self._spoiled(frame, fault)
        mean = float(frame.pixels.mean()) if frame.pixels.size else -1.0
        exposed_ns = 0 if fault in ("reordered", "repeat", "frozen") else self._exposed_ns
        self._bench.tell("frame", frame_id=frame.frame_id, mean=mean, fault=fault, part=part, exposed_ns=exposed_ns)
        self._before = replace(frame, pixels=frame.pixels.copy(), lease=None)
        return frame

    def _spoiled(self, frame: Frame, fault: str) -> Frame:
        pixels = frame.pixels
        if fault in ("frozen", "repeat") and self._before is not None:
            frame_id = self._before.frame_id if fault == "repeat" else frame.frame_id
            return replace(frame, pixels=self._before.pixels, frame_id=frame_id)
        changed: Mapping[str, Callable[[], Any]] = {
            "black": lambda: np.zeros_like(pixels),
            "saturated": lambda: np.full_like(pixels, 255),
            "defocus": lambda: cv2.blur(pixels, (31, 31)),
            "empty": lambda: pixels[:0],
            "shape": lambda: pixels[: pixels.shape[0] // 2],
        }
        return replace(frame, pixels=changed[fault]()) if fault in changed else frame
