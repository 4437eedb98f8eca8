"""V4L2 and USB cameras, RTSP and HTTP streams and video files, through OpenCV."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType

from edge_inspector.cameras.opencv_source import Config, Fetched, Source
from edge_inspector.cameras.ring import FrameRing
from edge_inspector.datatypes import CameraStatistics, FeatureValue, Frame, TriggerMode
from edge_inspector.errors import FrameError

__all__ = ["Config", "OpenCvCamera", "surely_after"]

DEVICE_LATENCY_S = 0.1
"""About three pictures of a webcam that compresses: what its sensor, processor and USB may hold back."""
STREAM_LATENCY_S = 0.5
"""IP cameras on a local network: 0.2 to 0.4 s from light to packet is usual."""
LIVE_SHARE = 0.5
"""A picture for which we waited longer than this part of a period cannot have lain ready in a buffer."""
UNSETTLED_PICTURES = 2
"""Sensors take a changed exposure or gain for the second picture after it, as a rule."""
READY_NS = 3_000_000
"""What lies ready is fetched faster than this, unless the machine is overloaded."""
LOST = "is lost (cable, power, network?)"


def surely_after(moment_ns: int, before: Fetched | None, this: Fetched, period_ns: float) -> bool:
    """Whether the exposure of `this` began after the moment: the picture read just before it was finished after that.

    The driver's time stamp tells when that was. Without one, that picture came after the moment and both had to be
    waited for, so neither lay in a buffer; this holds while the network carries at least twice the stream's rate.
    """
    if before is None:
        return False
    if before.stamp_ns is not None and this.stamp_ns is not None:
        return before.stamp_ns >= moment_ns
    return before.arrival_ns >= moment_ns and min(before.waited_ns, this.waited_ns) >= LIVE_SHARE * period_ns


class OpenCvCamera:
    """Latest-only from a live source; every picture in turn from a file.

    trigger = software exposes nothing: such a camera runs freely. What its driver, FFmpeg and the network have buffered
    is read and thrown away, and the picture that was being exposed too; a part costs up to two frame periods beyond
    `latency_s`, three after a burst. Between parts nobody reads, so the first reads drain what has gathered.

    What cannot be given here: a hardware trigger; block ids (`frame_id` counts what we read, so a picture that the
    network lost leaves no gap); damage that FFmpeg conceals, and a stream's change of size, which OpenCV scales away;
    a stop to a hang inside FFmpeg or the kernel, which the station's watch over this thread notices.
    """

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.trigger_mode: TriggerMode = config.trigger
        self.serial = ""
        self.image_hw: tuple[int, int] | None = None
        self.statistics = CameraStatistics()
        self._source = Source(name, config)
        latency_s = DEVICE_LATENCY_S if self._source.kind == "device" else STREAM_LATENCY_S
        self._latency_ns = round((latency_s if config.latency_s is None else config.latency_s) * 1e9)
        self._ring = FrameRing(config.slots)
        self._opened_ns = 0
        self._triggers = 0
        self._moment_ns = 0
        self._before: Fetched | None = None
        self._overridden: dict[str, float] = {}
        self._changed_ns = 0
        self._unsettled = 0

    def __enter__(self) -> OpenCvCamera:
        """Open the source and set it. CameraError when that fails."""
        with contextlib.ExitStack() as undo:
            undo.callback(self._source.close)
            with self._source.translated("cannot be opened"):
                self._source.open()
            undo.pop_all()
        self.image_hw = self._source.image_hw
        self._opened_ns = time.monotonic_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def apply(self, features: Mapping[str, FeatureValue]) -> None:
        """Take a recipe's properties; those of the recipe before go back. Pictures from before they work are skipped.

        FeatureError: unknown, refused, or taken with another value.
        """
        source = self._source
        back = [name for name in reversed(self._overridden) if name not in features]
        with source.translated(LOST):
            for name in back:
                source.write(name, self._overridden[name])
                source.check_taken(name, self._overridden.pop(name))
            for name, value in features.items():
                before = source.value(name)
                source.write(name, value)
                self._overridden.setdefault(name, before)
                source.check_taken(name, value)
        if back or features:
            self._changed_ns, self._unsettled = time.monotonic_ns(), UNSETTLED_PICTURES

    def trigger(self) -> None:
        """Let `grab` bring the first picture exposed from now on, or a file's next one."""
        if self.trigger_mode != "software":
            raise RuntimeError(f"camera {self.name}: trigger() needs trigger = software, not {self.trigger_mode}")
        self._triggers += 1
        self._moment_ns = time.monotonic_ns() + self._latency_ns

    def grab(self, timeout_s: float) -> Frame | None:
        """The next picture; None when none came in time, later than that by one read (`stall_s`) at most.

        FrameError: damaged, of another size, no free slot, or none of those that came was surely exposed after the
        trigger. CameraError: silent for `stall_s`, ended, unplugged.
        """
        deadline_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        if not self._due(timeout_s):
            return None
        source = self._source
        try:
            with source.translated(LOST):
                fetched = source.next(deadline_ns) if source.kind == "file" else self._live(deadline_ns)
                if fetched is None:
                    return None
                self._triggers = self._triggers - 1 if source.kind == "file" else 0
                return self._frame(fetched)
        finally:
            if source.damaged != self.statistics.failed_buffers:
                self.statistics = replace(self.statistics, failed_buffers=source.damaged)

    def _due(self, timeout_s: float) -> bool:
        """Whether to read now; waits until then, or for the time-out in vain."""
        if self._source.exhausted or (self.trigger_mode == "software" and not self._triggers):
            time.sleep(timeout_s)
            return False
        if self._source.kind != "file" or self.trigger_mode == "software":
            return True
        wait_s = (self._opened_ns + self._source.count * self._source.period_ns - time.monotonic_ns()) / 1e9
        time.sleep(max(0.0, min(wait_s, timeout_s)))
        return wait_s <= timeout_s

    def _live(self, deadline_ns: int) -> Fetched | None:
        """The first picture that is wanted; when there is none in time, of a free camera the newest that there was."""
        skipped = 0
        while (fetched := self._source.next(deadline_ns)) is not None:
            before, self._before = self._before, fetched
            free = self.trigger_mode == "free"
            if (free and fetched.damaged) or self._is_wanted(before, fetched):
                return fetched
            if time.monotonic_ns() >= deadline_ns:
                if free and not self._unsettled:
                    return fetched
                skipped += 1
                break
            skipped += 1
            if free:
                self.statistics = replace(self.statistics, discarded_late=self.statistics.discarded_late + 1)
        if skipped and self.trigger_mode == "software":
            raise FrameError(
                f"{self._source.shown}: {skipped} pictures came, none surely exposed after the trigger; raise the "
                f"station's grab_timeout_s well above latency_s ({self._latency_ns / 1e9:g}), or tell its fps "
                f"(taken for {1e9 / self._source.period_ns:.3g})"
            )
        return None

    def _is_wanted(self, before: Fetched | None, fetched: Fetched) -> bool:
        if fetched.damaged:
            return False
        if self._unsettled:
            self._unsettled -= surely_after(self._changed_ns, before, fetched, self._source.period_ns)
            return False
        if self.trigger_mode == "free":
            return fetched.waited_ns >= READY_NS
        return surely_after(self._moment_ns, before, fetched, self._source.period_ns)

    def _frame(self, fetched: Fetched) -> Frame | None:
        """The picture, decoded, in the ring; None when a free one found every slot held."""
        pixels = self._source.decoded(fetched)
        held = self._ring.copy_in(pixels, pixels.shape, pixels.dtype)
        if held is None:
            self.statistics = replace(self.statistics, dropped_no_slot=self.statistics.dropped_no_slot + 1)
            if self.trigger_mode == "free":
                return None
            where = f"{self._source.shown}, picture {fetched.frame_id}"
            raise FrameError(f"{where}: all {self._ring.slots} slots are held; raise slots", fetched.frame_id)
        self.statistics = replace(self.statistics, frames=self.statistics.frames + 1)
        ticks = fetched.stamp_ns if fetched.stamp_ns is not None else self._source.ticks_ns()
        return Frame(self.name, fetched.frame_id, ticks, fetched.arrival_ns, held[0], "BGR8", held[1])
