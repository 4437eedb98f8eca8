"""One Basler camera through pylon."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from edge_inspector.cameras.basler import counter, discovery
from edge_inspector.cameras.basler.buffers import SAMPLES, BlockIds, Pixels, unpadded
from edge_inspector.cameras.basler.config import Config
from edge_inspector.cameras.basler.controls import Controls
from edge_inspector.cameras.basler.nodes import Feature, Nodes
from edge_inspector.cameras.basler.outputs import Outputs
from edge_inspector.cameras.basler.sdk import sdk, translated
from edge_inspector.cameras.basler.stream import StreamCounts
from edge_inspector.cameras.ring import FrameRing
from edge_inspector.datatypes import CameraStatistics, FeatureValue, Frame, TriggerMode
from edge_inspector.errors import CameraError, FeatureError, FrameError

LOST_CHECK_MS = 100
"""pylon does not wake a waiting RetrieveResult when the camera is unplugged: it is asked this often."""
READY_TIMEOUT_MS = 1000
"""How long a camera may need, beyond its exposure, to be ready for the next software trigger."""
FAILED_IN_A_ROW = 5
"""After so many failed buffers the camera counts as lost: opening it anew renegotiates packet size and bandwidth."""
OUTPUT_TIMEOUT_S = 2.0
"""How long an output line may wait for a change of features; that makes the camera's selectors its own."""
STATISTICS_EVERY_NS = 1_000_000_000
"""How often the stream grabber is asked for its counts."""


class BaslerCamera:
    """One camera, opened once; pictures are copied out of pylon's buffers at once.

    `frame_id` is pylon's BlockID carried on beyond 16 bits and over restarts; `camera_ticks` its time stamp (0 from the
    emulator).
    """

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.trigger_mode: TriggerMode = config.trigger
        self.serial = ""
        self.image_hw: tuple[int, int] | None = None
        self.statistics = CameraStatistics()
        self._config = config
        self._ring = FrameRing(config.slots)
        self._pylon: Any = None
        self._genicam: Any = None
        self._device: Any = None
        self._controls: Any = None
        self._outputs: Outputs | None = None
        self._selectors = threading.Lock()
        self._ids = BlockIds()
        self._stream = StreamCounts()
        self._owed = 0
        self._failed_in_a_row = 0
        self._heard_ns = 0
        self._statistics_ns = 0

    def __enter__(self) -> BaslerCamera:
        """Find the camera, set it and start it. CameraError when that fails; FeatureError: it refuses its settings."""
        if self._pylon is not None:
            raise RuntimeError(f"camera {self.name}: was opened before; an instance is opened once, make a new one")
        self._pylon, self._genicam = sdk(self._config.emulate_count if self._config.emulate_folder else 0)
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            self._open()
            with self._setting():
                self._controls = Controls(self.name, self._config, self._pylon, self._genicam, self._device)
                self._controls.set_up()
                self._start()
            self._outputs = Outputs(self.name, Nodes(self._device.GetNodeMap(), self._genicam))
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def features(self) -> list[Feature]:
        """Every setting of the open camera that is meant for people, in its own order, as it stands."""
        with self._translated("is lost"):
            self._check_there()
            found: list[Feature] = self._controls.all()
        return found

    def apply(self, features: Mapping[str, FeatureValue]) -> None:
        """Take a recipe's features; those of the recipe before go back to what they were. Between two parts only.

        FeatureError: one was refused; all is as before the call. CameraError: lost. Grabbing is stopped and started
        only for features that are locked meanwhile (Width, PixelFormat, ...); pictures under way are lost then.
        """
        with self._selectors, self._setting():
            self._check_there()
            if self._controls.is_set_to(features):
                return
            if not self._controls.locks(features):
                self._controls.override(features)
                return
            self._stop()
            try:
                self._controls.override(features)
            finally:
                self._start()  # takes over the new size, too

    def set_output(self, line: str, on: bool) -> None:
        """Energise an output line such as Line2, or let it fall; on any thread, while another one grabs.

        CameraError: not open, lost, or a line that cannot be driven.
        """
        if not self._selectors.acquire(timeout=OUTPUT_TIMEOUT_S):
            raise CameraError(f"camera {self.name}: output line {line} waits for features that are still being set")
        try:
            if self._outputs is None:
                raise CameraError(f"camera {self.name}: is not open, so its output line {line} cannot be set")
            with self._translated(f"output line {line} cannot be set"):
                self._outputs.put(line, on)
        finally:
            self._selectors.release()

    def trigger(self) -> None:
        """Expose once. CameraError: lost, never ready, or the picture of the trigger before has not come.

        The latter so that a late picture is never taken for the next part's: one that was given up is thrown away here.
        """
        if self.trigger_mode != "software":
            raise RuntimeError(f"camera {self.name}: trigger() needs trigger = software, not {self.trigger_mode}")
        with self._translated("is lost"):
            while self._owed:
                with self._device.RetrieveResult(0, self._pylon.TimeoutHandling_Return) as late:
                    if not late.IsValid():
                        self._check_there()
                        raise CameraError(f"camera {self.name}: the picture of the last trigger never came; reopen it")
                    self._owed -= 1
                    self._number(late)
                    self._count(discarded_late=1)
            timeout_ms = READY_TIMEOUT_MS + math.ceil(self._controls.exposure_us / 1e3)
            if not self._device.WaitForFrameTriggerReady(timeout_ms, self._pylon.TimeoutHandling_Return):
                self._check_there()
                raise CameraError(f"camera {self.name}: not ready for a trigger within {timeout_ms} ms; reopen it")
            self._check_there()
            self._device.ExecuteSoftwareTrigger()
            self._owed += 1

    def grab(self, timeout_s: float) -> Frame | None:
        """The next frame; None when none came in time. CameraError: lost, or free-running and silent for stall_s.

        FrameError: the buffer is incomplete, not of the size that was set, or found every slot held. A free-running
        camera gives its latest picture, and skips frames while every slot is held; both are counted.
        """
        deadline_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        while True:
            left_ms = max(0, math.ceil((deadline_ns - time.monotonic_ns()) / 1e6))
            with (
                self._translated("is lost"),
                self._device.RetrieveResult(min(left_ms, LOST_CHECK_MS), self._pylon.TimeoutHandling_Return) as result,
            ):
                arrival_ns = time.monotonic_ns()
                self._read_statistics(arrival_ns)
                if not result.IsValid():
                    self._check_there()
                    self._check_not_stalled(arrival_ns)
                elif (frame := self._frame(result, arrival_ns)) is not None:
                    return frame
            if left_ms == 0:
                return None

    def _open(self) -> None:
        with self._translated("pylon cannot list the cameras"):
            factory = self._pylon.TlFactory.GetInstance()
            found = discovery.chosen(self.name, self._config, factory.EnumerateDevices())
        try:
            self._device = self._pylon.InstantCamera(factory.CreateDevice(found))
            self._device.Open()
        except self._genicam.GenericException as exc:
            held = discovery.info(found, discovery.accessible(factory, self._genicam, found))
            raise discovery.not_opened(self.name, held, str(exc)) from exc
        self.serial = str(found.GetSerialNumber())

    def _start(self) -> None:
        """The latest picture only when nobody triggers; else each picture belongs to a part."""
        strategy = "LatestImageOnly" if self.trigger_mode == "free" else "OneByOne"
        self.image_hw = self._controls.image_hw
        self._ids.restart()
        self._device.StartGrabbing(getattr(self._pylon, f"GrabStrategy_{strategy}"))
        self._heard_ns = time.monotonic_ns()

    def _stop(self) -> None:
        self._device.StopGrabbing()
        self._count(discarded_late=self._owed)
        self._owed = 0

    def _frame(self, result: Any, arrival_ns: int) -> Frame | None:
        """The picture, out of pylon's buffer; None when a free-running camera found every slot held."""
        self._owed = max(0, self._owed - 1)
        self._heard_ns = arrival_ns
        number, edges = self._number(result), self._line_edges(result)
        where = f"camera {self.name}, block {'without number' if number is None else number}"
        try:
            pixels = self._pixels(result)
            if number is None:
                raise FrameError("nobody can tell which picture this is")
        except FrameError as exc:
            self._count(failed_buffers=1)
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= FAILED_IN_A_ROW:
                text = f"camera {self.name}: {self._failed_in_a_row} pictures in a row have failed, the last: {exc}"
                raise CameraError(text) from exc
            raise FrameError(f"{where}: {exc}", number, edges) from exc
        self._failed_in_a_row = 0
        held = self._ring.copy_in(pixels, pixels.shape, pixels.dtype)
        if held is None:
            self._count(dropped_no_slot=1)
            if self.trigger_mode == "free":
                return None
            raise FrameError(f"{where}: all {self._ring.slots} slots are held; raise slots", number, edges)
        self._count(frames=1)
        ticks = int(result.GetTimeStamp())
        return Frame(self.name, number, ticks, arrival_ns, held[0], self._controls.pixel_format, held[1], edges)

    def _number(self, result: Any) -> int | None:
        """The camera's count, where it has none ours; what never came is counted."""
        block_id = int(result.GetBlockID())
        number, lost = self._ids.following(block_id, int(result.GetNumberOfSkippedImages()))
        self._count(missed_frames=lost)
        return number

    def _line_edges(self, result: Any) -> int | None:
        if not self._controls.counts_edges or not result.IsChunkDataAvailable():
            return None
        return counter.line_edges(Nodes(result.GetChunkDataNodeMap(), self._genicam))

    def _pixels(self, result: Any) -> Pixels:
        """A view of pylon's buffer. FrameError when it is incomplete or not of the size that was set."""
        if not result.GrabSucceeded():
            raise FrameError(
                f"{result.GetErrorDescription()} (pylon error {result.GetErrorCode():#x}); "
                "if it happens again check cable, packet size and bandwidth"
            )
        hw = (int(result.GetHeight()), int(result.GetWidth()))
        height, width = self._controls.image_hw
        if hw != (height, width):
            raise FrameError(f"{hw[1]} x {hw[0]} pixels, expected {width} x {height} as when it was set up")
        sample, samples = SAMPLES[self._controls.pixel_format]
        return unpadded(result.GetImageMemoryView(), hw, np.dtype(sample), samples, int(result.GetPaddingX()))

    def _read_statistics(self, now_ns: int) -> None:
        if now_ns - self._statistics_ns >= STATISTICS_EVERY_NS and not self._device.IsCameraDeviceRemoved():
            self._statistics_ns = now_ns
            grabber = Nodes(self._device.GetStreamGrabberNodeMap(), self._genicam)
            self.statistics = replace(self.statistics, **self._stream.read(grabber))

    def _count(self, **more: int) -> None:
        if any(more.values()):
            counted = {field: getattr(self.statistics, field) + n for field, n in more.items()}
            self.statistics = replace(self.statistics, **counted)

    def _check_there(self) -> None:
        if self._device.IsCameraDeviceRemoved():
            raise CameraError(f"camera {self.name}: unplugged or without power; reopen it when it is back")
        if not self._device.IsGrabbing():
            raise CameraError(f"camera {self.name}: pylon has stopped grabbing; reopen it")

    def _check_not_stalled(self, now_ns: int) -> None:
        """Of a triggered camera silence says nothing: there may be no part."""
        silent_s = (now_ns - self._heard_ns) / 1e9
        if self.trigger_mode == "free" and silent_s >= self._config.stall_s:
            raise CameraError(
                f"camera {self.name}: runs free but gave no picture for {silent_s:.1f} s (stall_s = "
                f"{self._config.stall_s:g}); reopen it"
            )

    def _close(self) -> None:
        """What is lost cannot be closed politely: pylon's complaints about that are of no use to anybody."""
        alone = self._selectors.acquire(timeout=OUTPUT_TIMEOUT_S)
        try:
            self._let_lines_fall()
        finally:
            if alone:
                self._selectors.release()
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(self._genicam.GenericException):
                device.StopGrabbing()
            with contextlib.suppress(self._genicam.GenericException):
                device.Close()
            with contextlib.suppress(self._genicam.GenericException):
                device.DestroyDevice()

    def _let_lines_fall(self) -> None:
        outputs, self._outputs = self._outputs, None
        if outputs is not None:
            with contextlib.suppress(self._genicam.GenericException, CameraError):
                outputs.fall()

    @contextlib.contextmanager
    def _setting(self) -> Iterator[None]:
        """Around settings: a camera that is gone refuses them all, and that is not the user's fault."""
        try:
            with self._translated("cannot be set"):
                yield
        except FeatureError as exc:
            if self._device.IsCameraDeviceRemoved():
                raise CameraError(f"camera {self.name}: unplugged while it was set; reopen it when it is back") from exc
            raise

    def _translated(self, what: str) -> contextlib.AbstractContextManager[None]:
        return translated(self._genicam, f"camera {self.name}: {what}")
