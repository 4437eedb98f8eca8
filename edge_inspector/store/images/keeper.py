"""Keeps the pictures that the policy wants: leases while the verdict is awaited, files afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import structlog

from edge_inspector.datatypes import Calibration, Frame, InspectionResult, Picture, SavedImage
from edge_inspector.interfaces import Clock
from edge_inspector.store.images import files
from edge_inspector.store.images.darkroom import Darkroom
from edge_inspector.store.images.encode import NotAPicture
from edge_inspector.store.images.policy import Policy
from edge_inspector.store.images.recovery import reconcile
from edge_inspector.store.images.retention import Retention
from edge_inspector.store.images.settings import ImageSettings
from edge_inspector.store.images.waiting import Task, WaitingRoom

log = structlog.get_logger()
TURN_S = 1.0
"""How long the thread sleeps at most."""
RETRY_NS = 5_000_000_000
"""Between two tries while files cannot be written."""
SPARED = 8
"""So much less than images.queue_mb may wait while the machine's memory is short."""
EXPIRE_NS = 600_000_000_000
WARN_NS = 60_000_000_000
"""A warning that goes on is told so often, with the number since the last one."""
LAST_NS = 1_000_000_000
"""How long files are still written after `stop`; the daemon waits for 2 s."""


class ImageStore:
    """`run` is the loop of its own thread; implements `interfaces.PictureKeeper`."""

    def __init__(
        self,
        settings: ImageSettings,
        folder: Path,
        calibrations: Mapping[str, Calibration | None],
        clock: Clock,
        book: Path,
    ) -> None:
        """`calibrations` are those of the cameras: boxes are in undistorted pixels, pictures are not.

        `book` is the ledger, with which the folder is compared at the start. ConfigError: a mask for no camera.
        """
        self.settings = settings
        self.folder = folder
        self._book = book
        self._clock = clock
        self._darkroom = Darkroom(settings, calibrations)
        self._waiting = WaitingRoom(settings.queue_mb * 1_000_000, Policy(settings).wanted, clock.monotonic_ns)
        self._retention = Retention(settings, folder, clock)
        self._stopping = threading.Event()
        self._is_open = False
        self._stored = self._stored_bytes = self._failed = self._worth_less = 0
        self._trouble = ""
        self._trouble_bytes = 0
        self._retry_ns = self._expire_ns = self._look_ns = self._warn_ns = 0
        self._warned = {"images_skipped": 0, "images_removed_early": 0}

    def renew(self, settings: ImageSettings, calibrations: Mapping[str, Calibration | None]) -> None:
        """Other limits of how much is kept and for how long, and perhaps more cameras. Any thread."""
        self.settings = settings
        self._retention.settings = settings
        self._darkroom.know(calibrations)
        self._expire_ns = 0

    def spare(self, on: bool) -> None:
        """Memory is short, or not any more: few pictures may wait for the disk then. Any thread."""
        whole = self.settings.queue_mb * 1_000_000
        self._waiting.limit(whole // SPARED if on else whole)

    def offer(self, picture: Picture, frame: Frame) -> None:
        self._waiting.offer(picture, frame)

    def belongs(self, picture: Picture, seq: int) -> None:
        self._waiting.belongs(picture, seq)

    def nobody(self, picture: Picture) -> None:
        self._waiting.nobody(picture)

    def settled(self, result: InspectionResult) -> None:
        self._waiting.settled(result)

    def run(
        self,
        saved: Callable[[SavedImage], None],
        removed: Callable[[tuple[str, ...]], None],
        trouble: Callable[[str], None],
        warn: Callable[[str, str], None],
    ) -> None:
        """Until `stop`. `trouble(text)`: files cannot be written; "" = they can again. `warn(code, text)`: an event.

        All are called on this thread.
        """
        self._retention.tell = removed
        while not self._stopping.is_set():
            more = self._waiting.waiting and not self._trouble
            self._waiting.wait(0.0 if more else TURN_S)
            self._waiting.unload()
            if not self._trouble or self._clock.monotonic_ns() >= self._retry_ns:
                self._try(lambda: self._work(saved, removed), trouble)
            self._look_after(warn)
        end_ns = self._clock.monotonic_ns() + LAST_NS
        while self._waiting.waiting and not self._trouble and self._clock.monotonic_ns() < end_ns:
            self._try(lambda: self._work(saved, removed), trouble)
        self._waiting.give_up()

    def stop(self) -> None:
        """Write what waits, as far as it goes quickly, and return from `run`."""
        self._stopping.set()
        self._waiting.wake()

    def counters(self) -> Mapping[str, float]:
        """Numbers since the start, and of this moment (queue, bytes, max_bytes, stopped): any thread."""
        return {
            "images_queue": self._waiting.waiting,
            "images_stored": self._stored,
            "images_stored_bytes": self._stored_bytes,
            "images_skipped": sum(self._waiting.skipped) + self._worth_less,
            "images_failed": self._failed,
            "images_removed": self._retention.removed,
            "images_removed_early": self._retention.removed_early,
            "images_bytes": self._retention.bytes,
            "images_max_bytes": self._retention.max_bytes,
            "images_stopped": float(bool(self._trouble)),
        }

    def _try(self, work: Callable[[], None], trouble: Callable[[str], None]) -> None:
        """A disk that fails stops the pictures, and nothing else, until it works again."""
        try:
            work()
        except OSError as exc:
            self._retry_ns = self._clock.monotonic_ns() + RETRY_NS
            what = exc.strerror or exc
            text = f"pictures are not stored in {self.folder}: {what}; they will be as soon as that is mended"
            if not self._trouble:
                log.error("images_stopped", folder=str(self.folder), error=str(exc))
                trouble(text)
            self._trouble = text
        else:
            if self._trouble:
                log.info("images_again", folder=str(self.folder))
                trouble("")
            self._trouble = ""

    def _work(self, saved: Callable[[SavedImage], None], removed: Callable[[tuple[str, ...]], None]) -> None:
        """One file, or what else there is to do. OSError when the disk does not let us."""
        self.folder.mkdir(mode=files.FOLDER_MODE, parents=True, exist_ok=True)
        if not self._is_open:
            files.remove_leftovers(self.folder)
            reconcile(self.folder, self._book, saved, removed)
            self._retention.count()
            self._is_open = True
        now = self._clock.monotonic_ns()
        if now >= self._expire_ns:
            self._retention.expire()
            self._expire_ns = now + EXPIRE_NS
        task = self._waiting.take()
        if task is not None:
            self._store(task, saved)
        elif self._trouble:
            self._retention.make_room(self._trouble_bytes, rank=0)
            files.try_out(self.folder, self._trouble_bytes)

    def _store(self, task: Task, saved: Callable[[SavedImage], None]) -> None:
        """Every file of a task. OSError: the rest of it waits again."""
        left = list(task.wanted)
        try:
            for image, content in self._darkroom.prints(task):
                self._trouble_bytes = image.size_bytes
                if self._retention.make_room(image.size_bytes, left[0].rank):
                    files.write(self.folder, image.path, content)
                    self._retention.added(image.size_bytes)
                    self._stored += 1
                    self._stored_bytes += image.size_bytes
                    saved(image)
                else:
                    self._worth_less += 1
                del left[0]
        except (NotAPicture, cv2.error) as exc:
            self._failed += 1
            log.warning("image_not_stored", result_id=task.result.result_id, camera=task.frame.camera, error=str(exc))
        except OSError:
            self._failed += 1
            self._waiting.put_back(replace(task, wanted=tuple(left)))
            raise

    def _look_after(self, warn: Callable[[str, str], None]) -> None:
        """Once a second: forget what never came, and tell what a person should know and could change."""
        now = self._clock.monotonic_ns()
        if now < self._look_ns:
            return
        self._look_ns = now + round(TURN_S * 1e9)
        self._waiting.sweep()
        if now < self._warn_ns:
            return
        skipped, early = sum(self._waiting.skipped[1:]), self._retention.removed_early
        for code, count, text in (
            (
                "images_skipped",
                skipped,
                "pictures that should be kept were not: no room for them in memory (images.queue_mb) or in their "
                "camera's buffers (slots); the disk or the processor is too slow for so many",
            ),
            (
                "images_removed_early",
                early,
                f"pictures were removed before their min_days: images.max_gb = {self.settings.max_gb:g} was reached",
            ),
        ):
            if count > self._warned[code]:
                warn(code, f"{count - self._warned[code]} {text}")
                self._warned[code] = count
                self._warn_ns = now + WARN_NS
