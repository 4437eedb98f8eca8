"""Manual inspections: pictures that somebody posts, judged as any part's, behind production and for no PLC."""

from __future__ import annotations

import asyncio
import itertools
import queue
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from edge_inspector.datatypes import Batch, Frame, InspectionResult, Picture, PreparePlan, RawView, Reason
from edge_inspector.errors import FrameError, StorageError
from edge_inspector.inspection import Inspection
from edge_inspector.interfaces import OrderAnswer
from edge_inspector.stages import quality
from edge_inspector.station.acceptance import Acceptance
from edge_inspector.station.booking import Booking
from edge_inspector.station.condition import Condition
from edge_inspector.station.events import Deadline, Inferred, Job, LineEvent, PostedPictures, ViewFailed
from edge_inspector.station.inbox import Inbox, Posted
from edge_inspector.station.parts import LoadedRecipe
from edge_inspector.station.views import failed, measured

log = structlog.get_logger()
PATIENCE_NS = 1_000_000_000
"""How long pictures that are ready wait for a moment in which the line has no part; after it the line is busy."""
SHARE = 25
"""While the line runs, posted pictures have one part in so many of the model's time: 95 % of the parts meet none."""
RUNS_NS = 10_000_000_000
"""The line counts as running for so long after each part."""
Reply = Callable[[OrderAnswer], None]


@dataclass(frozen=True)
class _Request:
    who: str
    part_id: str
    pictures: Mapping[str, Posted]
    recipe: LoadedRecipe
    reply: Reply


@dataclass(frozen=True)
class _Begun:
    """It is in the books, and will be settled."""

    inspection: Inspection
    slot: int
    timer: asyncio.TimerHandle


class Manual:
    """One inspection at a time, one view of it at a time in the model, and each only while the line has no part.

    A part that comes in the middle waits for the run of one view at the most. `run` is the loop of a thread of its own,
    which reads and prepares; all other methods run on the event loop.
    """

    def __init__(
        self,
        condition: Condition,
        acceptance: Acceptance,
        booking: Booking,
        inbox: Inbox,
        idle: Callable[[], bool],
        size_of: Callable[[str], tuple[int, int] | None],
        post: Callable[[LineEvent], None],
    ) -> None:
        """`idle` tells whether no part is open and no picture of one is being taken.

        `size_of(camera)` is the height and width of its pictures, None = not known.
        """
        self.infer: Callable[[Job], bool]
        self.prepare: Callable[[Frame, PreparePlan], Batch | RawView]
        self._condition = condition
        self._acceptance = acceptance
        self._booking = booking
        self._inbox = inbox
        self._idle = idle
        self._size_of = size_of
        self._post = post
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._numbers = itertools.count(-1, -1)  # a camera's own pictures count up
        self._request: _Request | None = None
        self._begun: _Begun | None = None
        self._views: deque[Job | ViewFailed] = deque()
        self._patient_ns = self._not_before_ns = 0
        self._in_model: tuple[Picture, InspectionResult | None] | None = None

    def order(self, who: str, part_id: str, pictures: Mapping[str, Posted], reply: Reply) -> None:
        """Inspect by the active recipe; `reply` is called now, or with the verdict."""
        condition = self._condition
        recipe = condition.recipe
        why_not = self._not_ready(recipe)
        if why_not:
            reply(OrderAnswer(done=False, text=why_not, facts={"not_ready": True}))
        elif pictures.keys() != set(recipe.cameras):
            wanted, given = ", ".join(recipe.cameras), ", ".join(pictures) or "none"
            text = f"pictures of {given}: expected exactly one of each camera of recipe {recipe.name}: {wanted}"
            reply(OrderAnswer(done=False, text=text))
        elif self._request is not None or self._in_model is not None:
            reply(_busy("another posted picture is being inspected"))
        elif not self._idle():
            reply(_busy("the line has a part"))
        elif condition.power.changing:
            reply(_busy("the board's power mode is being changed"))
        elif self._line_runs() and self._now() < self._not_before_ns:
            reply(_busy(f"the line is running, and posted pictures have 1/{SHARE} of the model's time"))
        elif too_large := self._too_large(pictures):
            reply(OrderAnswer(done=False, text=too_large))
        else:
            self._request = _Request(who, part_id, pictures, recipe, reply)
            self._requests.put(self._request)

    @property
    def busy(self) -> bool:
        """Whether an inspection has begun that is not settled yet."""
        return self._begun is not None

    def owns(self, seq: int) -> bool:
        """Whether this is the number of the inspection that is open."""
        return self._begun is not None and self._begun.inspection.trigger.seq == seq

    @property
    def recipe(self) -> LoadedRecipe | None:
        """That of the inspection that is open; None = there is none."""
        return self._request.recipe if self._begun is not None and self._request is not None else None

    def ready(self, event: PostedPictures) -> None:
        """The thread has done its part."""
        if self._request is None:  # the station is stopping
            return
        if event.error:
            self._answer(OrderAnswer(done=False, text=event.error))
            return
        self._views = deque(event.views)
        self._patient_ns = self._now() + PATIENCE_NS

    def turn(self) -> None:
        """Go on if the line leaves room for it; called after every event of the line, each 100 ms at the least."""
        request = self._request
        if request is None or not self._views or self._in_model is not None:
            return
        changing = self._begun is None and self._condition.power.changing
        if changing or not self._idle():
            if self._begun is None and self._now() > self._patient_ns:
                why = "the board's power mode is being changed" if changing else "the line has one part after the other"
                self._answer(_busy(why))
            return
        if self._begun is None and not self._begin(request):
            return
        view = self._views.popleft()
        if isinstance(view, ViewFailed):
            self._step(lambda i, now: i.on_view(failed(view), now))
        elif self.infer(replace(view, queued_ns=self._now())):
            self._in_model = view.picture, None
        else:
            full = ViewFailed(view.picture, None, Reason.OVERLOAD, "the model has no room for another picture")
            self._step(lambda i, now: i.on_view(failed(full), now))

    def judged(self, event: Inferred | ViewFailed) -> None:
        """The model has answered."""
        in_model, self._in_model = self._in_model, None
        if in_model is None:
            return
        if isinstance(event, Inferred):
            rest_ns = (SHARE - 1) * (event.infer_ns + event.finish_ns)
            self._not_before_ns = max(self._now(), self._not_before_ns) + rest_ns
        late_of = in_model[1]
        if late_of is not None:
            self._booking.late(late_of, self._now())
        elif isinstance(event, ViewFailed):
            self._step(lambda i, now: i.on_view(failed(event), now))
        else:
            self._measured(event)

    def deadline(self) -> None:
        """The time of the open inspection is up."""
        self._step(lambda i, now: i.on_deadline(now))

    def end(self) -> None:
        """The station is stopping: what is open is UNDEFINED, what has not begun never will."""
        if self._begun is not None:
            self._step(lambda i, now: i.undefined(Reason.SHUTDOWN, "the station was stopped", now))
        elif self._request is not None:
            self._answer(OrderAnswer(done=False, text="the station is stopping", facts={"not_ready": True}))

    def run(self) -> None:
        self._inbox.make()
        while (request := self._requests.get()) is not None:
            self._post(self._read(request))
            self._inbox.keep()

    def stop(self) -> None:
        """End `run`; any thread."""
        self._requests.put(None)

    def _not_ready(self, recipe: LoadedRecipe) -> str:
        """Why nothing can be judged; empty = it can, also while the line is halted or set up."""
        condition = self._condition
        if condition.stopping:
            return "the station is stopping"
        if condition.recipe_error:
            return condition.recipe_error
        if not condition.changeover.models_follow():  # the model that is there is still the one of the recipe before
            return "the recipes of the station file are being taken over"
        if condition.parts.flight.used >= condition.parts.flight.slots // 2:  # the rest is the line's
            return "the flight record is half full: the ledger is behind"
        why_not = condition.models.why_not(recipe.name)
        return "" if why_not is None else why_not[1]

    def _too_large(self, pictures: Mapping[str, Posted]) -> str:
        """Why a picture would keep the model longer than a part's, or need more of its memory; empty = none."""
        for camera, posted in pictures.items():
            (height, width), own = posted.shape[:2], self._size_of(camera)
            if own is not None and (height > own[0] or width > own[1]):
                expected = f"expected at most the camera's own {own[1]}x{own[0]}"
                return f"picture of camera {camera} is {width}x{height}, {expected}"
        return ""

    def _line_runs(self) -> bool:
        last_ns = self._acceptance.last_part_ns
        return last_ns is not None and self._now() - last_ns < RUNS_NS

    def _begin(self, request: _Request) -> bool:
        """Put it into the books."""
        if self._condition.parts.recipes.get(request.recipe.name) is not request.recipe:
            self._answer(OrderAnswer(done=False, text=f"recipe {request.recipe.name} was changed meanwhile; try again"))
            return False
        try:
            inspection, slot = self._acceptance.posted(request.recipe, request.part_id, self._now())
        except StorageError as exc:
            self._answer(OrderAnswer(done=False, text=str(exc), facts={"not_ready": True}))
            return False
        trigger = inspection.trigger
        due_s = (trigger.deadline_ns - inspection.job.output_margin_ns - self._now()) / 1e9
        timer = asyncio.get_running_loop().call_later(max(0.0, due_s), self._post, Deadline(trigger.seq))
        self._begun = _Begun(inspection, slot, timer)
        return True

    def _measured(self, event: Inferred) -> None:
        if self._request is None or self._begun is None:
            return
        plan = self._request.recipe.plans[event.job.picture.camera]
        accepted_ns = self._begun.inspection.trigger.accepted_ns
        self._step(lambda i, now: i.on_view(measured(event, plan, accepted_ns, now), now))

    def _step(self, step: Callable[[Inspection, int], Inspection]) -> None:
        """One step of the open inspection; when it settles it is booked and told to who asked, and to nobody else."""
        begun, request = self._begun, self._request
        if begun is None or request is None:
            return
        inspection = step(begun.inspection, self._now())
        result = inspection.result
        self._begun = replace(begun, inspection=inspection)
        if result is None:
            return
        begun.timer.cancel()
        self._begun = None
        if self._in_model is not None:
            self._in_model = self._in_model[0], result
        self._condition.parts.flight.verdict(begun.slot, result)
        self._booking.settled(begun.slot, result, told=False)
        word = result.evaluation.name
        self._booking.audit(request.who, "inspect", f"{result.result_id}: part {request.part_id!r} is {word}")
        self._answer(OrderAnswer(done=True, facts=_facts(result)))

    def _answer(self, answer: OrderAnswer) -> None:
        if self._request is not None:
            self._request.reply(answer)
        self._request = None
        self._views.clear()

    def _now(self) -> int:
        return self._condition.parts.clock.monotonic_ns()

    def _read(self, request: _Request) -> PostedPictures:
        """On the thread of `run`. All files are gone afterwards."""
        views: list[Job | ViewFailed] = []
        try:
            for camera, plan in request.recipe.plans.items():
                views.append(self._view(camera, request, plan))
        except FrameError as exc:
            for posted in request.pictures.values():
                self._inbox.discard(posted)
            return PostedPictures((), str(exc))
        return PostedPictures(tuple(views), "")

    def _view(self, camera: str, request: _Request, plan: PreparePlan) -> Job | ViewFailed:
        posted = request.pictures[camera]
        picture, begun = Picture(camera, next(self._numbers)), self._now()
        pixels = self._inbox.take(posted)
        frame = Frame(camera, -1, 0, begun, pixels, posted.pixel_format)
        batch = self.prepare(frame, plan)
        fault = quality.fault(pixels, posted.pixel_format, self._condition.parts.cameras[camera].gate)
        if fault:
            return ViewFailed(picture, None, Reason.BAD_FRAME, f"camera {camera}, posted picture: {fault}")
        now = self._now()
        return Job(picture, request.recipe.name, batch, -1, now - begun, now, None, plan)


def _busy(text: str) -> OrderAnswer:
    return OrderAnswer(done=False, text=f"busy: {text}", facts={"busy": True})


def _facts(result: InspectionResult) -> dict[str, object]:
    """The verdict as JSON has it."""
    return {
        "result_id": result.result_id,
        "evaluation": result.evaluation.name,
        "reason": result.reason.name.lower(),
        "reason_no": result.reason_no,
        "reason_text": result.reason_text,
        "defects": result.defects,
        "cycle_ms": result.cycle_ms,
        "recipe": result.trigger.recipe,
        "recipe_no": result.trigger.recipe_no,
        "thresholds": result.thresholds,
        "model_hash": result.model_hash,
        "margin": result.margin,
        "rule": result.rule,
    }
