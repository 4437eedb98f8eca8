"""The line loop: a part's way from its trigger to its verdict, one event after the other."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from edge_inspector.datatypes import (
    Detections,
    MeasuredView,
    PreparePlan,
    Reason,
    Roi,
    Trigger,
)
from edge_inspector.errors import StorageError
from edge_inspector.inspection import Inspection, Job
from edge_inspector.interfaces import (
    Alive,
    CommandAnswer,
    CommandRequest,
    ExposureDone,
    LinkState,
    OutputOrder,
    PartFeedback,
    PlcLink,
    RecipeAnswer,
    RecipeRequest,
    RefusedByLink,
    ResultAcknowledged,
    ResultWritten,
    StationStatus,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
    Unannounced,
)
from edge_inspector.matching import Doubt, Match, Seen
from edge_inspector.plc.tags import MAX_TEXT
from edge_inspector.station import commands
from edge_inspector.station.announcements import Announcements, windows
from edge_inspector.station.attempts import Attempts
from edge_inspector.station.booking import Booking
from edge_inspector.station.camera_alarms import CameraAlarms
from edge_inspector.station.cameras import Cameras
from edge_inspector.station.condition import Condition
from edge_inspector.station.events import (
    CameraDown,
    CameraUp,
    Deadline,
    Died,
    EngineNeeded,
    EngineProgress,
    Exposed,
    FromPlc,
    Inferred,
    LineEvent,
    LinkEvent,
    ModelEvent,
    ModelLoaded,
    ModelRefused,
    ModelsReady,
    Picture,
    PublisherHealth,
    Pulse,
    SettingDone,
    Shot,
    Stop,
    TimerTick,
    ViewFailed,
    WindowClosed,
)
from edge_inspector.station.line_stop import LineStop
from edge_inspector.station.links import Links
from edge_inspector.station.models import Models
from edge_inspector.station.output_lines import OutputLines
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.station.stalls import StallWatch

log = structlog.get_logger()
NOWHERE = Roi(0, 0, 0, 0)
MOST_LOST = 100
"""Parts that are told one by one when as many pictures of a line camera are lost; the rest is a number in the books."""


@dataclass
class Open:
    """An inspection with what the line needs to follow it; `link` is None where the station numbers the parts.

    `asker_gone`: the start of the PLC that asked is over, and its successor can take nothing of this part for its own.
    """

    inspection: Inspection
    recipe: LoadedRecipe
    slot: int
    timer: asyncio.TimerHandle
    link: PlcLink | None
    exposed_told: bool = False
    asker_gone: bool = False


class Line:
    """Owns every open inspection. All methods but `post` run on the event loop."""

    def __init__(self, parts: Parts, next_seq: int, emit: Callable[[str, object], None]) -> None:
        self.parts = parts
        down = dict.fromkeys(parts.cameras, "is being opened")
        self.announcements = Announcements(parts.cameras)
        self.booking = Booking(parts, emit)
        self.models = Models(parts.recipes, self.booking.event)
        active = parts.recipes[parts.active_recipe]
        self.links = Links(parts.links, parts.master, self.booking)
        self.condition = Condition(
            parts,
            active,
            self.announcements,
            self.models,
            LineStop(parts.limits.line_stop_after),
            self.links,
            down=down,
        )
        self.stalls = StallWatch(parts.clock)
        self.events: asyncio.Queue[LineEvent] = asyncio.Queue()
        self.open: dict[int, Open] = {}
        self.cameras: Cameras
        self.outputs: OutputLines
        self.status: StationStatus | None = None
        self._loop = asyncio.get_running_loop()
        self._emit = emit
        self._next_seq = next_seq
        self._attempts = Attempts(parts.ledger.recent_attempts())
        self._parts_of: dict[Picture, int] = {}
        self._settled: dict[int, Inspection] = {}
        self._exposing: dict[str, int] = {}
        self._alarms = CameraAlarms(parts.clock)
        self._by_line: dict[str, int | None] = {}
        self._out_of_step_told: set[str] = set()
        self.pulse_waiting = False
        self.stopping = asyncio.Event()

    def post(self, event: LineEvent) -> None:
        """Hand an event to the loop; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: a driver that hung has outlived the station
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)

    def by_itself(self, camera: str) -> tuple[str, PreparePlan] | None:
        """The recipe and plan for a picture that the station did not trigger; called on the camera's thread."""
        recipe = self.condition.recipe
        plan = recipe.plans.get(camera) if recipe.settings.trigger in ("line", "announced") else None
        return None if plan is None else (recipe.name, plan)

    async def run(self) -> None:
        """Handle events until the station has stopped: nothing is open and nothing more is accepted."""
        while self.open or not self.stopping.is_set():
            await self.handle(await self.events.get())
            await self._tell_status()

    async def handle(self, event: LineEvent) -> None:
        """One event. The branches stand in the order of a part's way."""
        if isinstance(event, FromPlc):
            await self._from_plc(event)
        elif isinstance(event, TimerTick):
            await self._timer_tick()
        elif isinstance(event, Exposed):
            await self._exposed(event)
        elif isinstance(event, Inferred):
            await self._inferred(event)
        elif isinstance(event, ViewFailed):
            await self._view_failed(event)
        elif isinstance(event, WindowClosed):
            await self._window_closed(event)
        elif isinstance(event, Deadline):
            await self._advance(event.seq, lambda i, now: i.on_deadline(now))
        elif isinstance(event, Pulse):
            await self._pulse(event)
        elif isinstance(event, Died):
            raise event.error
        elif isinstance(event, Stop):
            self.condition.stopping = True
            self.stopping.set()
        elif isinstance(event, ModelEvent):
            self._model(event)
        else:
            await self._health(event)

    async def _pulse(self, event: Pulse) -> None:
        self.pulse_waiting = False
        self.announcements.tick(self.condition.recipe.settings, self.parts.clock.monotonic_ns())
        for camera in [one for one in self._out_of_step_told if not self.announcements.doubt([one])]:
            self._out_of_step_told.discard(camera)
            log.info("camera_in_step", camera=camera)
        if event.alive:
            await self.links.tell(Alive())

    # --- a part comes in ----------------------------------------------------------------------------------------------

    async def _from_plc(self, event: FromPlc) -> None:
        link, request = event.link, event.request
        if isinstance(request, TriggerRequest):
            await self._asked(link, request)
        elif isinstance(request, RefusedByLink):
            self.booking.refused(request.trigger_seq, request.part_id, request.reason, request.count)
            if request.reason is Reason.MISSED:
                self.announcements.skipped(self.condition.recipe.settings, self.parts.clock.monotonic_ns())
            else:
                self._announce(None, request.seen_ns)
        elif isinstance(request, ResultAcknowledged):
            self.booking.acknowledged(request.result_ids)
        elif isinstance(request, LinkState):
            log.info("plc_link", link=link.name, alive=request.alive, plc_boot_id=request.plc_boot_id)
            self.links.restarted(link, request.plc_boot_id)
            for opened in self.open.values():
                if opened.link is link and opened.inspection.trigger.plc_boot_id != request.plc_boot_id:
                    opened.asker_gone = True
        else:
            await self._ordered(link, request)

    async def _ordered(
        self, link: PlcLink, request: RecipeRequest | CommandRequest | PartFeedback | ResultWritten | OutputOrder
    ) -> None:
        if isinstance(request, ResultWritten):
            self.links.written(link, request)
        elif isinstance(request, PartFeedback):
            self.booking.feedback(request)
        elif isinstance(request, OutputOrder):
            self.outputs.put(request)
        elif isinstance(request, RecipeRequest):
            answer = self._select_recipe(link, request)
            await self._tell_status()  # first: the answer must not be read beside the READY of the recipe before
            await link.tell(answer)
        else:
            await link.tell(CommandAnswer(request.seq, await self._carry_out(link, request.command)))

    def _select_recipe(self, link: PlcLink, request: RecipeRequest) -> RecipeAnswer:
        if not self.links.may_command(link):
            return RecipeAnswer(request.seq, accepted=False, reason=Reason.WRONG_MASTER)
        before = self.condition.recipe
        answer = commands.select_recipe(self.condition, request)
        if answer.accepted:
            self._set_cameras(before)
            self.models.select(self.condition.recipe.name)
        return answer

    async def _carry_out(self, link: PlcLink, command: int) -> int:
        """Status.CommandResult."""
        if not self.links.may_command(link):
            return commands.REFUSED
        result = commands.carry_out(self.condition, command)
        if command == commands.ABORT:
            await self.settle_all(Reason.ABORTED, "aborted by command")
        elif command == commands.RESET:
            self.booking.alarmed = False
        return result

    async def _asked(self, link: PlcLink, request: TriggerRequest) -> None:
        reason = self._why_not(link, request)
        if reason is not None:
            self.booking.refused(request.trigger_seq, request.part_id, reason)
            self._announce(None, request.seen_ns)
            await link.tell(TriggerRefused(request.trigger_seq, reason))
            return
        seq = self._accept(request.trigger_seq, request.part_id, request.seen_ns, link, request.plc_boot_id)
        if self.condition.recipe.settings.trigger == "announced":
            self._announce(seq, request.seen_ns)
        else:
            self._shoot(seq)
        await link.tell(TriggerAccepted(request.trigger_seq))

    def _why_not(self, link: PlcLink, request: TriggerRequest) -> Reason | None:
        if not self.links.may_command(link) or self.condition.recipe.settings.trigger not in ("plc", "announced"):
            return Reason.WRONG_MASTER
        blocked = self.condition.blocked()
        if blocked is not None:
            return blocked[0]
        return Reason.OVERLOAD if self._occupied() else None

    async def _timer_tick(self) -> None:
        if self.condition.recipe.settings.trigger != "timer":
            return
        blocked = self.condition.blocked()
        if blocked is not None or self._occupied():
            self.booking.refused(0, "", blocked[0] if blocked is not None else Reason.OVERLOAD)
            return
        self._shoot(self._accept_own(self.parts.clock.monotonic_ns()))

    def _accept_own(self, at_ns: int) -> int:
        """A part that the station itself numbers."""
        return self._accept(self._next_seq % 2**32, "", at_ns, None, 0)

    def _accept(self, trigger_seq: int, part_id: str, at_ns: int, link: PlcLink | None, plc_boot_id: int) -> int:
        """Write the part into the flight record, start its deadline, book it. Nothing is told before this."""
        parts, recipe = self.parts, self.condition.recipe
        at_ns = self.stalls.earliest_ns(at_ns)
        seq = self._next_seq
        trigger = Trigger(
            seq=seq,
            result_id=f"{parts.identity.station}.{parts.ledger.book}.{seq}",
            trigger_seq=trigger_seq,
            part_id=part_id[:MAX_TEXT],
            attempt=self._attempts.count(part_id),
            mode=self.condition.mode,
            recipe=recipe.name,
            recipe_no=recipe.settings.number,
            boot_id=parts.identity.boot_id,
            plc_boot_id=plc_boot_id,
            accepted_ns=at_ns,
            deadline_ns=at_ns + int(recipe.settings.deadline_ms * 1e6),
            wall_utc=parts.clock.utc(),
            clock_synced=parts.clock.synced(),
        )
        slot = self.booking.accepted(trigger)
        self._next_seq += 1
        margin_ns = int(recipe.settings.output_margin_ms * 1e6)
        job = Job(recipe.cameras, recipe.criteria, recipe.thresholds, recipe.model_hash, margin_ns)
        due_s = (trigger.deadline_ns - margin_ns - parts.clock.monotonic_ns()) / 1e9
        timer = self._loop.call_later(max(0.0, due_s), self.events.put_nowait, Deadline(seq))
        doubtful = frozenset(windows(recipe.settings))
        self.open[seq] = Open(Inspection(trigger, job, doubtful=doubtful), recipe, slot, timer, link)
        return seq

    def _shoot(self, seq: int) -> None:
        recipe, deadline_ns = self.open[seq].recipe, self.open[seq].inspection.trigger.deadline_ns
        for camera, plan in recipe.plans.items():
            self._exposing[camera] = seq
            opening = self.condition.openings[camera]
            self.cameras.shoot(camera, Shot(seq, recipe.name, plan, opening, deadline_ns))

    def _announce(self, seq: int | None, at_ns: int) -> None:
        """Expect the pictures of a part, also of one that was refused (`seq` None): it passes the cameras all the same.

        For a recipe that announces nothing there is nothing to expect.
        """
        now = self.parts.clock.monotonic_ns()
        for camera, close_ns in self.announcements.announce(self.condition.recipe.settings, seq, at_ns).items():
            closed = WindowClosed(camera, seq)
            self._loop.call_later(max(0.0, (close_ns - now) / 1e9), self.events.put_nowait, closed)

    # --- pictures and views -------------------------------------------------------------------------------------------

    async def _exposed(self, event: Exposed) -> None:
        seq = event.seq
        if seq is None:
            announced = self.parts.recipes[event.recipe].settings.trigger == "announced"
            seq = await (self._announced(event) if announced else self._line_trigger(event))
            if seq is None:
                return
        self._release(event.picture.camera, seq)
        self._parts_of[event.picture] = seq
        opened = self.open.get(seq)
        if opened is None:
            return
        opened.inspection = opened.inspection.on_exposed(event.picture.camera)
        if opened.inspection.all_exposed and not opened.exposed_told:
            opened.exposed_told = True
            await self.links.tell(ExposureDone(opened.inspection.trigger.trigger_seq), opened.link)

    async def _line_trigger(self, event: Exposed) -> int | None:
        """A camera's own trigger is always accepted; when the station cannot inspect, it settles UNDEFINED.

        So does each part whose picture is lost on its way: the PLC counts parts, and no later verdict may shift.
        """
        await self._lost_before(event)
        blocked = self.condition.blocked()
        try:
            seq = self._accept_own(event.arrival_ns)
        except StorageError as exc:
            log.error("trigger_not_recorded", camera=event.picture.camera, error=str(exc))
            self.booking.refused(0, "", Reason.STORAGE)
            return None
        self._parts_of[event.picture] = seq
        if event.recipe != self.condition.recipe.name:
            blocked = (Reason.RECIPE, f"picture prepared for recipe {event.recipe}")
        elif blocked is None and len(self.open) > self.parts.limits.max_open:
            blocked = (Reason.OVERLOAD, f"more than {self.parts.limits.max_open} parts in work")
        if blocked is not None:
            reason, text = blocked
            await self._advance(seq, lambda i, now: i.undefined(reason, text, now))
        return seq

    async def _lost_before(self, event: Exposed) -> None:
        """Parts of which a line camera's count says that they were photographed, and whose pictures never came."""
        camera = event.picture.camera
        if camera not in self._by_line or event.frame_id is None:
            return
        last = self._by_line[camera]
        self._by_line[camera] = event.frame_id if last is None else max(last, event.frame_id)
        lost = 0 if last is None else max(0, event.frame_id - last - 1)
        if not lost:
            return
        text = f"camera {camera}: {lost} pictures before number {event.frame_id} are lost"
        log.warning("pictures_lost", camera=camera, lost=lost)
        self.booking.event("alarm", "pictures_lost", text)
        told = 0
        with contextlib.suppress(StorageError):  # the flight record is full
            while told < min(lost, MOST_LOST):
                seq = self._accept_own(event.arrival_ns)
                told += 1
                await self._advance(seq, lambda i, now: i.undefined(Reason.NO_FRAME, text, now))
        if told < lost:
            self.booking.refused(0, "", Reason.MISSED, lost - told)

    async def _announced(self, event: Exposed) -> int | None:
        """The announced part that this picture is of, None = nobody's, or nobody can say."""
        camera = event.picture.camera
        outcome = self.announcements.seen(camera, Seen(event.frame_id, event.line_edges, event.arrival_ns))
        if isinstance(outcome, Doubt):
            self.booking.unannounced(camera, event.frame_id, outcome.text)
            await self.links.tell(Unannounced(camera))
            await self._out_of_step(camera, outcome)
        if not isinstance(outcome, Match):
            return None
        seq = outcome.seq
        opened = self.open.get(seq)
        if opened is not None and opened.recipe.name != event.recipe:
            text = f"picture prepared for recipe {event.recipe}"
            await self._advance(seq, lambda i, now: i.undefined(Reason.RECIPE, text, now))
        return seq

    async def _window_closed(self, event: WindowClosed) -> None:
        """The pictures of a part are certain now, or there is one missing."""
        camera = event.camera
        outcome = self.announcements.closed(camera, event.seq, self.parts.clock.monotonic_ns())
        if isinstance(outcome, Match):
            await self._advance(outcome.seq, lambda i, now: i.on_certain(camera, now))
        elif isinstance(outcome, Doubt):
            await self._out_of_step(camera, outcome)
            if self.announcements.silent(camera):
                self.cameras.reopen(camera, f"camera {camera}: announced parts brought no picture, one after the other")

    async def _out_of_step(self, camera: str, doubt: Doubt) -> None:
        """Nobody can say which picture of this camera is whose: every open part that needs one is a reject."""
        if camera not in self._out_of_step_told:
            self._out_of_step_told.add(camera)
            log.warning("camera_out_of_step", camera=camera, why=doubt.text)
            self.booking.event("alarm", "out_of_step", doubt.text)
        for seq in [seq for seq, opened in self.open.items() if camera in opened.recipe.cameras]:
            await self._advance(seq, lambda i, now: i.undefined(doubt.reason, doubt.text, now))

    async def _inferred(self, event: Inferred) -> None:
        """A view is measured."""
        job = event.job
        seq = self._parts_of.pop(job.picture, None)
        if seq is None:
            return
        inspection = self.open[seq].inspection if seq in self.open else self._settled.get(seq)
        if inspection is None:
            return
        camera = job.picture.camera
        known = event.wait_ns + event.infer_ns + event.finish_ns
        stages = {
            "acquire": job.queued_ns - job.prepare_ns - inspection.trigger.accepted_ns,
            "prepare": job.prepare_ns,
            "queue": event.wait_ns,
            "infer": event.infer_ns,
            "finish": event.finish_ns,
            "hop": self.parts.clock.monotonic_ns() - job.queued_ns - known,
        }
        calibration = self.parts.recipes[job.recipe].plans[camera].calibration
        plane = None if calibration is None else calibration.plane
        view = MeasuredView(camera, event.findings, job.batch.bounds, None, "", job.frame_id, stages, plane)
        await self._advance(seq, lambda i, at: i.on_view(view, at))

    async def _view_failed(self, event: ViewFailed) -> None:
        camera = event.picture.camera
        owner = self._parts_of.pop(event.picture, None)
        seq = owner if event.seq is None else event.seq
        if seq is None:  # a picture whose part could not be accepted
            return
        self._release(camera, seq)
        view = MeasuredView(camera, Detections.none(), NOWHERE, event.reason, event.text)
        log.warning("view_failed", camera=camera, reason=event.reason.name.lower(), error=event.text)
        await self._advance(seq, lambda i, now: i.on_view(view, now))

    def _release(self, camera: str, seq: int) -> None:
        """The camera has done with this part; it may be exposing a newer one already."""
        if self._exposing.get(camera) == seq:
            del self._exposing[camera]

    def _expected(self, seq: int) -> bool:
        """Whether a view of this part may still come."""
        return seq in self._exposing.values() or seq in self._parts_of.values()

    # --- the verdict --------------------------------------------------------------------------------------------------

    async def _advance(self, seq: int, step: Callable[[Inspection, int], Inspection]) -> None:
        """Take one step of an inspection; when it settles, tell the PLC at once, then book it."""
        now = self.parts.clock.monotonic_ns()
        opened = self.open.get(seq)
        if opened is None:
            self._late(seq, step, now)
            return
        opened.inspection = step(opened.inspection, now)
        result = opened.inspection.result
        if result is None:
            return
        opened.timer.cancel()
        del self.open[seq]
        if self._expected(seq):
            self._settled[seq] = opened.inspection
        self.parts.flight.verdict(opened.slot, result)
        told = await self.links.tell_result(opened.slot, result, opened.link, asker_gone=opened.asker_gone)
        if told:
            self.parts.flight.told(opened.slot)
        told_ns = self.parts.clock.monotonic_ns()
        result = replace(result, stage_ns={**result.stage_ns, "tell": told_ns - now})
        self.booking.settled(opened.slot, result, told)
        if told is not None:
            self.booking.told_at(result, told_ns)
        stop = self.condition.line_stop.settled(result)
        if stop:
            self.booking.event("alarm", "line_stop", stop)

    def _late(self, seq: int, step: Callable[[Inspection, int], Inspection], now: int) -> None:
        """A view of a part that is settled: booked as late, and it reaches nobody."""
        settled = self._settled.get(seq)
        if settled is None or settled.result is None:
            return
        after = step(settled, now)
        if after.late == settled.late:
            return
        if self._expected(seq):
            self._settled[seq] = after
        else:
            del self._settled[seq]
        self.booking.late(settled.result, now)

    async def settle_all(self, reason: Reason, text: str) -> None:
        """Every open part becomes UNDEFINED, for an abort or at the end of the time for stopping."""
        for seq in list(self.open):
            await self._advance(seq, lambda i, now: i.undefined(reason, text, now))

    # --- what the station is ------------------------------------------------------------------------------------------

    def _set_cameras(self, before: LoadedRecipe) -> None:
        """Order the active recipe's features of its cameras; the station is not READY until they have them."""
        recipe = self.condition.recipe
        for camera in recipe.cameras:
            self.condition.setting.add(camera)
            self.condition.refused.pop(camera, None)
            self.cameras.set(camera, recipe.setting(camera))
        self._by_line = dict.fromkeys(self._by_line)  # pictures that the recipe before took are not lost
        for camera in windows(recipe.settings).keys() - windows(before.settings).keys():
            self.announcements.reopened(camera, self.parts.clock.monotonic_ns())

    async def _camera_up(self, event: CameraUp) -> None:
        camera, condition = event.camera, self.condition
        condition.down.pop(camera, None)
        condition.openings[camera] = event.opening
        self._alarms.up(camera)
        self.cameras.came_up(camera)
        self.announcements.reopened(camera, self.parts.clock.monotonic_ns())
        self._by_line.pop(camera, None)
        if event.trigger_mode == "line":
            self._by_line[camera] = None
        text = f"camera {camera} was opened again before its picture was certain"
        for seq in [seq for seq, opened in self.open.items() if camera in opened.inspection.doubtful]:
            await self._advance(seq, lambda i, now: i.undefined(Reason.CAMERA, text, now))

    def _setting_done(self, event: SettingDone) -> None:
        """Only the answer to what the active recipe asks counts."""
        camera, condition, error = event.camera, self.condition, event.error
        known = condition.refused.get(camera)
        if event.setting == condition.recipe.setting(camera):
            condition.setting.discard(camera)
            condition.refused.pop(camera, None)
            if error:
                condition.refused[camera] = error
        if error and error != known:
            self.booking.event("alarm", "features_refused", f"recipe {event.setting.recipe}: {error}")

    def _model(self, event: ModelEvent) -> None:
        if isinstance(event, ModelLoaded):
            self.models.loaded(event)
        elif isinstance(event, ModelRefused):
            self.models.refused(event)
        elif isinstance(event, EngineNeeded):
            self.models.needed(event)
        elif isinstance(event, EngineProgress):
            self.models.progress(event)
        else:
            self.models.built(event, self.condition.recipe.name)

    async def _health(
        self, event: CameraUp | CameraDown | SettingDone | ModelsReady | PublisherHealth | LinkEvent
    ) -> None:
        condition = self.condition
        if isinstance(event, LinkEvent):
            await self.links.handle(event)
        elif isinstance(event, CameraUp):
            await self._camera_up(event)
        elif isinstance(event, SettingDone):
            self._setting_done(event)
        elif isinstance(event, CameraDown):
            condition.down[event.camera] = event.text
            self._exposing.pop(event.camera, None)
            for seq in list(self.open):
                await self._advance(seq, lambda i, now: i.on_camera_lost(event.camera, now))
            if self._alarms.due(event.camera):
                self.booking.event("alarm", "camera_lost", f"{event.camera}: {event.text}")
        elif isinstance(event, ModelsReady):
            gc.collect()
            gc.freeze()  # an OPC UA server holds some 480 000 objects: a full collection would stop all for 0.2 s
            self.stalls.forgive()
            log.info("models_looked_at")
        elif event.connected:
            condition.publishers_down.discard(event.destination)
        else:
            condition.publishers_down.add(event.destination)

    def _occupied(self) -> bool:
        """Whether the next part must wait for a picture that is still being taken, or for room."""
        return self._acquiring() or len(self.open) >= self.parts.limits.max_open

    def _acquiring(self) -> bool:
        """Whether a picture for the active recipe is being taken, or may still come."""
        cameras = self.condition.recipe.cameras
        return any(camera in self._exposing for camera in cameras) or self.announcements.waiting(cameras)

    async def _tell_status(self) -> None:
        silent = [camera for camera, seq in self._exposing.items() if seq not in self.open]
        acquiring = bool(self._exposing) or self._acquiring()
        status = self.condition.status(len(self.open), self._occupied(), acquiring, silent, self.booking.alarmed)
        if status != self.status:
            self.status = status
            await self.links.tell(status)
            self._emit("status", status)
