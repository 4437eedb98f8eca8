"""One camera's thread: open, expose, prepare, hand on; open a new one when it was lost."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog

from edge_inspector import pipeline
from edge_inspector.datatypes import Batch, CameraStatistics, Frame, Picture, PreparePlan, RawView, Reason
from edge_inspector.errors import CameraError, FeatureError, FrameError
from edge_inspector.interfaces import Camera, Clock
from edge_inspector.station.backoff import Backoff
from edge_inspector.station.events import (
    CameraDown,
    CameraUp,
    Exposed,
    Job,
    LineEvent,
    Setting,
    SettingDone,
    Shot,
    Snapshot,
    ViewFailed,
)
from edge_inspector.station.parts import CameraPlan
from edge_inspector.station.picture_check import PictureCheck

log = structlog.get_logger()
_WAIT_S = 0.25
"""How long a wait may last before the thread looks whether it should stop."""
OPEN_S = 30.0
"""How long a driver may need to open a camera and to set it, or to close it."""
PASSING_NS = 200_000_000
"""How long a picture may be on its way that was begun by the features before: exposure, reading, 5 MP over gigabit."""
PATIENCE_S = 2.0
"""How much longer than asked a driver may wait for a picture before its call counts as hung."""


STEADY_NS = 10_000_000_000
"""A camera that was up for less than this has not come back: the waits go on growing, and nothing is told twice."""


class CameraThread:
    """Runs `run` on a thread of its own; every other public method may be called from any other."""

    def __init__(
        self,
        name: str,
        plan: CameraPlan,
        plans: Sequence[PreparePlan],
        grab_timeout_s: float,
        setting: Setting,
        clock: Clock,
        post: Callable[[LineEvent], None],
        infer: Callable[[Job], bool],
        prepare: Callable[[Frame, PreparePlan], Batch | RawView],
        by_itself: Callable[[str], tuple[str, PreparePlan] | None],
        offer: Callable[[Picture, Frame], None],
        show: Callable[[Picture, Frame], None],
        numbers: Iterator[int],
    ) -> None:
        """`plans` are those of all recipes for this camera.

        `infer` hands a job to the model and says whether there was room for it; `prepare` makes its picture ready.
        `by_itself(camera)` is the recipe name and plan for a picture that the station did not trigger, None = discard.
        `offer` shows each picture, once its part's model has it, to those who may want to keep it; `show` those that
        are no part's.
        `numbers` counts the pictures and openings of this camera, over all threads that it has had.
        """
        self.name = name
        self.opened = 0
        self.lost = 0
        self._make = plan.make
        self._gate = plan.gate
        self._calibration = plan.calibration
        self._check = PictureCheck(plan.gate)
        self._plans = plans
        self._grab_timeout_s = grab_timeout_s
        self._clock = clock
        self._tell = post
        self._infer = infer
        self._prepare = prepare
        self._by_itself = by_itself
        self._offer = offer
        self._show = show
        self._orders: queue.SimpleQueue[Shot | Setting | Snapshot] = queue.SimpleQueue()
        self._snapping = False
        self._setting = setting
        self._taken: Setting | None = None
        self._stopping = threading.Event()
        self._abandoned = False
        self._reopen = ""
        self._numbers = numbers
        self._counted: tuple[CameraStatistics, Camera | None] = (CameraStatistics(), None)
        self._opening = 0
        self._call: tuple[str, int] | None = None

    @property
    def statistics(self) -> CameraStatistics:
        """Of all cameras that this thread has opened."""
        before, camera = self._counted
        return before if camera is None else before + camera.statistics

    @property
    def camera(self) -> Camera | None:
        """The open camera, for what other threads may do with it."""
        return self._counted[1]

    def shoot(self, shot: Shot) -> None:
        """Expose once for this part."""
        self._orders.put(shot)

    def snap(self) -> None:
        """Take a picture that is no part's; one at a time."""
        if not self._snapping and self.camera is not None:
            self._snapping = True
            self._orders.put(Snapshot(self._opening))

    @property
    def snapping(self) -> bool:
        """Whether such a picture is still to be taken."""
        return self._snapping

    def set(self, setting: Setting) -> None:
        """Take a recipe's features before anything that is ordered later; `SettingDone` tells.

        Of several only the newest: the station has gone on to that one's recipe.
        """
        self._setting = setting
        self._orders.put(setting)

    def reopen(self, text: str) -> None:
        """Treat the camera as lost, for what `text` says."""
        self._reopen = text

    def stop(self) -> None:
        self._stopping.set()

    def abandon(self) -> Iterator[int]:
        """Hear nothing more of this thread, and go on counting where it is. Its driver's call may never return."""
        self._abandoned = True
        self.stop()
        return self._numbers

    def overdue(self, now_ns: int) -> str:
        """The driver's call that should have returned by now, empty = none."""
        call = self._call
        return call[0] if call is not None and now_ns > call[1] else ""

    def run(self) -> None:
        backoff, told = Backoff(), ""
        for plan in self._plans:
            pipeline.warm_up(plan)
        while not self._stopping.is_set():
            camera, up_ns = self._make(), self._clock.monotonic_ns()
            try:
                with self._opened(camera):
                    up_ns = self._clock.monotonic_ns()
                    self._serve(camera)
            except CameraError as exc:
                if self._clock.monotonic_ns() - up_ns >= STEADY_NS:
                    backoff.reset()
                    told = ""
                if str(exc) != told:  # once, not with each try
                    told = str(exc)
                    self._log("camera_lost", error=told)
                self._post(CameraDown(self.name, str(exc)))
                self._stopping.wait(backoff.next_s())

    @contextmanager
    def _opened(self, camera: Camera) -> Iterator[None]:
        """The camera, checked and set for the recipe of this moment. A driver that hangs in here is overdue."""
        with self._bounded("opening", OPEN_S):
            camera.__enter__()
        try:
            self._check_identity(camera)
            self._opening = next(self._numbers)
            self._check, self._reopen = PictureCheck(self._gate), ""
            setting = self._setting
            error = self._set(camera, setting)
            if camera.trigger_mode != "software" and setting.features:
                self._let_pass(camera)
            self._post(SettingDone(self.name, setting, error))
            self.opened += 1
            self._counted = (self._counted[0], camera)
            self._log("camera_up", serial=camera.serial)
            self._post(CameraUp(self.name, self._opening, camera.trigger_mode))
            yield
        finally:
            self._counted = (self.statistics, None)
            with self._bounded("closing", OPEN_S):
                camera.__exit__(None, None, None)

    def _check_identity(self, camera: Camera) -> None:
        """A calibration is good for one camera and one picture size. CameraError when this is another."""
        for calibration in {self._calibration, *(plan.calibration for plan in self._plans)}:
            if calibration is None:
                continue
            if calibration.serial and camera.serial and calibration.serial != camera.serial:
                raise CameraError(
                    f"camera {self.name}: has serial {camera.serial}, its calibration is that of camera "
                    f"{calibration.serial}; are two cameras swapped? Correct the station file, or calibrate this one"
                )
            if camera.image_hw is not None and camera.image_hw != calibration.image_hw:
                (h, w), (height, width) = camera.image_hw, calibration.image_hw
                raise CameraError(
                    f"camera {self.name}: gives pictures of {w} x {h}, its calibration was made at {width} x {height}; "
                    "set the camera to that size, or calibrate again"
                )

    def _serve(self, camera: Camera) -> None:
        """Until the camera is lost, which is told before it is closed: a driver may take its time for that."""
        try:
            while not self._stopping.is_set():
                self._turn(camera)
                self._check.trust(self.name)
                if self._reopen:
                    raise CameraError(self._reopen)
        except CameraError as exc:
            self.lost += 1
            self._post(CameraDown(self.name, str(exc)))
            raise

    def _turn(self, camera: Camera) -> None:
        """One order or one picture, or a bounded wait for them."""
        triggered = camera.trigger_mode == "software"
        try:
            order = self._orders.get(timeout=_WAIT_S) if triggered else self._orders.get_nowait()
        except queue.Empty:
            if triggered:
                self._look_after(camera)
            else:
                self._watch(camera)
            return
        if isinstance(order, Setting):
            if order is self._setting and order is not self._taken:  # an opening takes the newest, too
                error = self._set(camera, order)
                if camera.trigger_mode != "software":
                    self._let_pass(camera)
                self._post(SettingDone(self.name, order, error))
        elif isinstance(order, Snapshot):
            self._take_snapshot(camera, order)
        elif order.opening != self._opening:
            self._drop(order, Reason.CAMERA, f"camera {self.name} was lost before it took the picture")
        elif self._clock.monotonic_ns() >= order.deadline_ns:
            self._drop(order, Reason.DEADLINE, f"camera {self.name} was busy until after the deadline")
        else:
            self._expose(camera, order)

    def _look_after(self, camera: Camera) -> None:
        """An idle camera that is unplugged is missed now, not with the next part; a picture that comes is nobody's."""
        with self._bounded("being idle", PATIENCE_S), suppress(FrameError):
            frame = camera.grab(0.0)
            if frame is not None:
                frame.release()

    def _set(self, camera: Camera, setting: Setting) -> str:
        """What the camera refuses, empty = nothing. It is the recipe's fault: the camera stays as it is."""
        self._taken = setting
        try:
            with self._bounded("taking a recipe's features", OPEN_S):
                camera.apply(setting.features)
        except FeatureError as exc:
            return str(exc)
        return ""

    def _let_pass(self, camera: Camera) -> None:
        """A picture that was begun by the features before comes while the station is not READY, and is no OK."""
        end_ns = self._clock.monotonic_ns() + PASSING_NS
        while not self._stopping.is_set() and (left_ns := end_ns - self._clock.monotonic_ns()) > 0:
            self._watch(camera, left_ns / 1e9)

    def _drop(self, shot: Shot, reason: Reason, text: str) -> None:
        """Take no picture: it would show whatever is in front of the camera by now."""
        self._post(ViewFailed(self._next_picture(), shot.seq, reason, text))

    def _expose(self, camera: Camera, shot: Shot) -> None:
        picture, timeout_s = self._next_picture(), self._grab_timeout_s
        try:
            with self._bounded("taking a picture", 2 * timeout_s + PATIENCE_S):
                camera.trigger()
                frame = camera.grab(timeout_s)
        except FrameError as exc:
            self._check.damaged(exc)
            self._post(ViewFailed(picture, shot.seq, Reason.BAD_FRAME, str(exc)))
            return
        except CameraError as exc:
            self._post(ViewFailed(picture, shot.seq, Reason.CAMERA, str(exc)))
            raise
        if frame is None:
            text = self._silent()
            self._post(ViewFailed(picture, shot.seq, Reason.NO_FRAME, text))
            raise CameraError(text)
        self._hand_on(picture, frame, shot.recipe, shot.plan, shot)

    def _take_snapshot(self, camera: Camera, snapshot: Snapshot) -> None:
        """Only where the station triggers the camera, and only in the opening that was meant."""
        try:
            if snapshot.opening != self._opening or camera.trigger_mode != "software":
                return
            with self._bounded("taking a picture", 2 * self._grab_timeout_s + PATIENCE_S):
                camera.trigger()
                frame = camera.grab(self._grab_timeout_s)
            if frame is None:
                raise CameraError(self._silent())
            try:
                self._check.follows(frame)  # it has its place in the order, or the next part could be given an old one
                self._show(self._next_picture(), frame)
            finally:
                frame.release()
        except FrameError as exc:
            self._check.damaged(exc)
        finally:
            self._snapping = False

    def _watch(self, camera: Camera, wait_s: float = _WAIT_S) -> None:
        """A picture that the station did not trigger; a damaged one, too, shows that a part was there."""
        try:
            with self._bounded("waiting for a picture", wait_s + PATIENCE_S):
                frame = camera.grab(wait_s)
        except FrameError as exc:
            self._check.damaged(exc)
            wanted = self._by_itself(self.name)
            if wanted is not None:
                picture, now = self._next_picture(), self._clock.monotonic_ns()
                self._post(Exposed(picture, None, wanted[0], now, exc.frame_id, exc.line_edges, wanted[1]))
                self._post(ViewFailed(picture, None, Reason.BAD_FRAME, str(exc)))
            return
        if frame is None:
            return
        wanted = self._by_itself(self.name)
        if wanted is None:
            frame.release()
            return
        self._hand_on(self._next_picture(), frame, *wanted, None)

    def _hand_on(self, picture: Picture, frame: Frame, recipe: str, plan: PreparePlan, shot: Shot | None) -> None:
        """`shot` is None when the station did not trigger the camera."""
        seq = None if shot is None else shot.seq
        self._post(Exposed(picture, seq, recipe, frame.arrival_ns, frame.frame_id, frame.line_edges, plan))
        begun = self._clock.monotonic_ns()
        try:
            self._check.follows(frame)
            batch = self._prepare(frame, plan)  # refuses what is no picture at all
            self._check.check(frame)
        except FrameError as exc:
            self._post(ViewFailed(picture, seq, Reason.BAD_FRAME, str(exc)))
        else:
            now = self._clock.monotonic_ns()
            deadline_ns = None if shot is None else shot.deadline_ns
            job = Job(picture, recipe, batch, frame.frame_id, now - begun, now, deadline_ns, plan)
            if not self._infer(job):
                self._post(ViewFailed(picture, seq, Reason.OVERLOAD, "the model has no room for another picture"))
        finally:
            self._offer(picture, frame)  # last: the part waits for nobody
            frame.release()

    @contextmanager
    def _bounded(self, what: str, limit_s: float) -> Iterator[None]:
        """Around each call of the driver: `overdue` tells of one that does not come back."""
        self._call = (what, self._clock.monotonic_ns() + round(limit_s * 1e9))
        try:
            yield
        finally:
            self._call = None

    def _post(self, event: LineEvent) -> None:
        if not self._abandoned:
            self._tell(event)

    def _log(self, event: str, **facts: object) -> None:
        if not self._abandoned:
            (log.warning if "error" in facts else log.info)(event, camera=self.name, **facts)

    def _silent(self) -> str:
        return f"camera {self.name} gave no picture within {self._grab_timeout_s:g} s of its trigger"

    def _next_picture(self) -> Picture:
        return Picture(self.name, next(self._numbers))
