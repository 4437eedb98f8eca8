"""One camera's thread: open, expose, prepare, hand on; open again when it was lost."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

import structlog

from edge_inspector import pipeline
from edge_inspector.datatypes import Frame, PreparePlan, Reason
from edge_inspector.errors import CameraError, FrameError
from edge_inspector.interfaces import Camera, Clock, Progress
from edge_inspector.station.backoff import Backoff
from edge_inspector.station.events import CameraDown, CameraUp, Exposed, Job, LineEvent, Picture, Shot, ViewFailed

log = structlog.get_logger()
_WAIT_S = 0.25
"""How long a wait may last before the thread looks whether it should stop."""


class CameraThread:
    """Runs `run` on a thread of its own; `shoot` and `stop` may be called from any other."""

    def __init__(
        self,
        name: str,
        camera: Camera,
        clock: Clock,
        progress: Progress,
        grab_timeout_s: float,
        post: Callable[[LineEvent], None],
        infer: Callable[[Job], bool],
        free_running: Callable[[str], tuple[str, PreparePlan] | None],
        plans: Sequence[PreparePlan],
    ) -> None:
        """`infer` hands a job to the model and says whether there was room for it.

        `plans` are those of all recipes for this camera.
        `free_running(camera)` is the recipe name and plan for a picture that nobody asked for, None = discard it.
        """
        self.name = name
        self.camera = camera
        self._clock = clock
        self._progress = progress
        self._grab_timeout_s = grab_timeout_s
        self._post = post
        self._infer = infer
        self._free_running = free_running
        self._plans = plans
        self._shots: queue.SimpleQueue[Shot] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._number = 0
        self._opening = 0

    def shoot(self, shot: Shot) -> None:
        """Expose once for this part."""
        self._shots.put(shot)

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        backoff, told = Backoff(), ""
        for plan in self._plans:
            pipeline.warm_up(plan)
        while not self._stopping.is_set():
            self._progress.sign(f"camera-{self.name}")
            try:
                with self.camera:
                    self._opening += 1
                    log.info("camera_up", camera=self.name)
                    self._post(CameraUp(self.name, self._opening))
                    backoff.reset()
                    told = ""
                    self._serve()
            except CameraError as exc:
                if str(exc) != told:  # once, not with each try
                    told = str(exc)
                    log.warning("camera_lost", camera=self.name, error=told)
                self._post(CameraDown(self.name, str(exc)))
                self._stopping.wait(backoff.next_s())

    def _serve(self) -> None:
        """Until the camera is lost, which is told before it is closed: a driver may take its time for that."""
        try:
            while not self._stopping.is_set():
                self._progress.sign(f"camera-{self.name}")
                self._turn()
        except CameraError as exc:
            self._post(CameraDown(self.name, str(exc)))
            raise

    def _turn(self) -> None:
        """One exposure, or a bounded wait for one."""
        if not self.camera.software_triggered:
            self._watch()
            return
        try:
            shot = self._shots.get(timeout=_WAIT_S)
        except queue.Empty:
            return
        if shot.opening != self._opening:
            self._drop(shot, Reason.CAMERA, f"camera {self.name} was lost before it took the picture")
        elif self._clock.monotonic_ns() >= shot.deadline_ns:
            self._drop(shot, Reason.DEADLINE, f"camera {self.name} was busy until after the deadline")
        else:
            self._expose(shot)

    def _drop(self, shot: Shot, reason: Reason, text: str) -> None:
        """Take no picture: it would show whatever is in front of the camera by now."""
        self._post(ViewFailed(self._next_picture(), shot.seq, reason, text))

    def _expose(self, shot: Shot) -> None:
        picture = self._next_picture()
        try:
            self.camera.trigger()
            frame = self.camera.grab(self._grab_timeout_s)
        except FrameError as exc:
            self._post(ViewFailed(picture, shot.seq, Reason.BAD_FRAME, str(exc)))
            return
        except CameraError as exc:
            self._post(ViewFailed(picture, shot.seq, Reason.CAMERA, str(exc)))
            raise
        if frame is None:
            text = f"camera {self.name} gave no picture within {self._grab_timeout_s:g} s of its trigger"
            self._post(ViewFailed(picture, shot.seq, Reason.NO_FRAME, text))
            return
        self._hand_on(picture, frame, shot.recipe, shot.plan, shot)

    def _watch(self) -> None:
        """A picture that nobody asked for; a damaged one, too, shows that a part was there."""
        try:
            frame = self.camera.grab(_WAIT_S)
        except FrameError as exc:
            wanted = self._free_running(self.name)
            if wanted is not None:
                picture = self._next_picture()
                self._post(Exposed(picture, None, wanted[0], self._clock.monotonic_ns()))
                self._post(ViewFailed(picture, None, Reason.BAD_FRAME, str(exc)))
            return
        if frame is None:
            return
        wanted = self._free_running(self.name)
        if wanted is None:
            frame.release()
            return
        self._hand_on(self._next_picture(), frame, *wanted, None)

    def _hand_on(self, picture: Picture, frame: Frame, recipe: str, plan: PreparePlan, shot: Shot | None) -> None:
        """`shot` is None when the camera triggered itself."""
        seq = None if shot is None else shot.seq
        self._post(Exposed(picture, seq, recipe, frame.arrival_ns))
        begun = self._clock.monotonic_ns()
        try:
            batch = pipeline.prepare(frame, plan)
        except FrameError as exc:
            self._post(ViewFailed(picture, seq, Reason.BAD_FRAME, str(exc)))
            return
        finally:
            frame.release()
        now = self._clock.monotonic_ns()
        deadline_ns = None if shot is None else shot.deadline_ns
        if not self._infer(Job(picture, recipe, batch, frame.frame_id, now - begun, now, deadline_ns)):
            self._post(ViewFailed(picture, seq, Reason.OVERLOAD, "the model has no room for another picture"))

    def _next_picture(self) -> Picture:
        self._number += 1
        return Picture(self.name, self._number)
