"""The line loop: a part's way from its trigger to its verdict, one event after the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from edge_inspector.datatypes import PreparePlan, Reason
from edge_inspector.health.notify import Notifier
from edge_inspector.interfaces import (
    Alive,
    ExposureDone,
    LinkState,
    OutputOrder,
    PlcLink,
    RefusedByLink,
    ResultAcknowledged,
    StationStatus,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
    Vitals,
)
from edge_inspector.station.acceptance import Acceptance
from edge_inspector.station.announcements import Announcements
from edge_inspector.station.booking import Booking
from edge_inspector.station.by_itself import ByItself
from edge_inspector.station.camera_health import CameraHealth
from edge_inspector.station.cameras import Cameras
from edge_inspector.station.changeover import Changeover
from edge_inspector.station.condition import Condition
from edge_inspector.station.events import (
    CameraDown,
    CameraUp,
    Deadline,
    DestinationTrouble,
    Died,
    EngineBuilt,
    EngineNeeded,
    EngineProgress,
    Exposed,
    FileRead,
    FromPlc,
    ImagesTrouble,
    Inferred,
    LedgerHealth,
    LineEvent,
    LinkHealth,
    ModelLoaded,
    ModelRefused,
    ModelsReady,
    ModelUnloaded,
    ModelWarm,
    Noticed,
    Ordered,
    OutputTrouble,
    PostedPictures,
    PowerChanged,
    PowerOpened,
    PowerRead,
    PowerTrouble,
    PublisherHealth,
    Pulse,
    RecipesTaken,
    SettingDone,
    Shot,
    Stop,
    TimerTick,
    ViewFailed,
    VitalsRead,
    WindowClosed,
)
from edge_inspector.station.fitness import Fitness
from edge_inspector.station.golden import Golden
from edge_inspector.station.in_work import InWork, Open
from edge_inspector.station.inbox import Inbox
from edge_inspector.station.line_rules import LineRules
from edge_inspector.station.links import Links
from edge_inspector.station.live_view import LiveView
from edge_inspector.station.manual import Manual
from edge_inspector.station.models import Models
from edge_inspector.station.orders import Nothing, Orders
from edge_inspector.station.output_lines import OutputLines
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.station.pictures import Pictures
from edge_inspector.station.plc_orders import PlcOrders
from edge_inspector.station.power import Power
from edge_inspector.station.reload import Reload
from edge_inspector.station.scarcity import Scarcity
from edge_inspector.station.setup_mode import SetupMode
from edge_inspector.station.stalls import StallWatch
from edge_inspector.station.thresholds import Thresholds
from edge_inspector.station.views import failed, measured

log = structlog.get_logger()


class Line:
    """All methods but `post` and `by_itself` run on the event loop."""

    def __init__(self, parts: Parts, next_seq: int, emit: Callable[[str, object], None]) -> None:
        self.parts = parts
        self.announcements = Announcements(parts.cameras)
        self.booking = Booking(parts, emit)
        self.live = LiveView(parts.cameras, parts.clock)
        self.camera_health = CameraHealth(parts, self.post)
        images = [] if parts.images is None else [parts.images]
        self.pictures = Pictures([*images, self.camera_health, self.live])
        self._thresholds = Thresholds(parts, self.booking, self.camera_health.warning)
        self._golden = Golden(parts, self.booking)
        self._line_rules = LineRules(parts, self.booking)
        self.models = Models(parts.recipes, self.booking.event)
        self.power = Power(
            parts,
            self.booking,
            self.models.select,
            lambda seq: seq in self.work.exposing.values(),
            lambda: self.condition.recipe,
        )
        self.changeover = Changeover(parts, self.booking, self._set_cameras, self.power.select_model)
        active = parts.recipes[parts.active_recipe]
        self.links = Links(parts.links, parts.master, self.booking)
        self.scarcity = Scarcity(self.booking, self._spare)
        self.condition = Condition(
            parts,
            active,
            self.announcements,
            self.models,
            self._line_rules,
            self._thresholds,
            self._golden,
            self.camera_health,
            self.changeover,
            self.links,
            self.power,
            self.scarcity,
            {name: active.setting(name) for name in parts.cameras},
            down=dict.fromkeys(parts.cameras, "is being opened"),
        )
        self.stalls = StallWatch(parts.clock)
        self.events: asyncio.Queue[LineEvent] = asyncio.Queue()
        self.cameras: Cameras
        self.outputs: OutputLines
        self.notifier: Notifier
        self.status: StationStatus | None = None
        self._loop = asyncio.get_running_loop()
        self._emit = emit
        then = (self._thresholds.settled, self._golden.settled, self._line_rules.settled, self.power.settled)
        self.work = InWork(parts, self.links, self.booking, self.pictures, then)
        self._by_itself = ByItself(
            parts,
            self.condition,
            self.announcements,
            self.booking,
            self.links,
            self.work,
            self._accept_own,
            self.changeover.owner,
            self._reopen,
            self.events.put_nowait,
        )
        self._fitness = Fitness(
            parts, self.condition, self.models, self.booking, self.links, self.work, self._by_itself, self.stalls
        )
        self._acceptance = Acceptance(parts, next_seq, self.booking, self._thresholds)
        self._setup = SetupMode(self.condition, self.live, self.booking, parts.clock)
        inbox = Inbox(parts.flight.path.parent)
        self.manual = Manual(
            self.condition, self._acceptance, self.booking, inbox, self._idle, self._size_of, self.post
        )
        self.reload = Reload(self.condition, self.booking, self.work, self.manual, self.post)
        self.changeover.models_follow = lambda: self.reload.models_follow
        more = {"reload": (Nothing, self.reload.order)}
        more |= {**self._thresholds.orders(), **self._golden.orders(self.condition)}
        more |= self.camera_health.orders(self.condition)
        self._plc_orders = PlcOrders(self.condition, self.booking, self.work, self._tell_status)
        self._orders = Orders(
            self.condition, self.booking, self._setup, self.live, self.manual, self._plc_orders.select, more
        )
        self.pulse_waiting = False
        self.stopping = asyncio.Event()
        self._handlers = self._what_to_do()

    def post(self, event: LineEvent) -> None:
        """Hand an event to the loop; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: a driver that hung has outlived the station
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)

    @property
    def vitals(self) -> Vitals:
        """The newest that were read."""
        return self._fitness.vitals

    def by_itself(self, camera: str) -> tuple[str, PreparePlan] | None:
        """The recipe and plan for a picture that the station did not trigger; called on the camera's thread."""
        recipe = self.changeover.shown or self.condition.recipe
        plan = recipe.plans.get(camera) if recipe.settings.trigger in ("line", "announced") else None
        return None if plan is None else (recipe.name, plan)

    async def run(self) -> None:
        """Handle events until the station has stopped: nothing is open and nothing more is accepted."""
        while self.work.open or not self.stopping.is_set():
            await self.handle(await self.events.get())
            self.manual.turn()
            await self._tell_status()

    async def end(self, why: str) -> None:
        """Whatever is open becomes UNDEFINED, and the links hear that the station is stopping."""
        self._stop(Stop())
        try:
            await self.work.settle_all(Reason.SHUTDOWN, why)
        finally:
            await self._tell_status()

    async def handle(self, event: LineEvent) -> None:
        """One event."""
        todo = self._handlers[type(event)](event)
        if todo is not None:
            await todo

    def _what_to_do(self) -> dict[type, Callable[[Any], Awaitable[None] | None]]:
        """In the order of a part's way, and then what happens around the parts."""
        return {
            FromPlc: self._from_plc,
            TimerTick: lambda _: self._timer_tick(),
            Exposed: self._exposed,
            Inferred: self._inferred,
            ViewFailed: self._view_failed,
            WindowClosed: self._by_itself.window_closed,
            Deadline: self._deadline,
            Ordered: self._orders.carry_out,
            PostedPictures: self.manual.ready,
            Pulse: self._pulse,
            Stop: self._stop,
            Died: self._died,
            CameraUp: self._camera_up,
            CameraDown: self._fitness.camera_down,
            SettingDone: self._fitness.setting_done,
            ModelsReady: lambda _: self._models_ready(),
            ModelLoaded: self._fitness.model_loaded,
            ModelWarm: self._model_warm,
            ModelUnloaded: lambda event: self.models.unloaded(
                event, self.changeover.wanted(self.condition.recipe.name)
            ),
            ModelRefused: self.models.refused,
            FileRead: self.reload.file_read,
            RecipesTaken: self.reload.recipes_taken,
            EngineNeeded: self.models.needed,
            EngineProgress: self.models.progress,
            EngineBuilt: lambda event: self.models.built(event, self.changeover.wanted(self.condition.recipe.name)),
            LinkHealth: self.links.health,
            OutputTrouble: self.links.output_trouble,
            VitalsRead: self._vitals_read,
            PowerOpened: self.power.opened,
            PowerRead: self.power.read,
            PowerChanged: self.power.changed,
            PowerTrouble: self.power.trouble,
            PublisherHealth: self._fitness.publisher_health,
            DestinationTrouble: lambda e: self.booking.event(e.severity, e.code, e.text, e.parts),
            ImagesTrouble: self._fitness.images_trouble,
            LedgerHealth: self._fitness.ledger_health,
            Noticed: lambda e: self.booking.event(e.severity, e.code, e.text),
        }

    async def _deadline(self, event: Deadline) -> None:
        if self.manual.owns(event.seq):
            self.manual.deadline()
        else:
            await self.work.advance(event.seq, lambda i, now: i.on_deadline(now))

    def _stop(self, event: Stop) -> None:
        if event.who:
            self.booking.audit(event.who, "stopped", "the station was stopped")
        self.condition.stopping = True
        self.manual.end()
        self.stopping.set()

    def _died(self, event: Died) -> None:
        if isinstance(event.error, Exception):
            raise event.error
        # a sys.exit() in somebody's library would end the process as if it had been told to
        raise RuntimeError(f"thread {event.thread} was ended by {event.error!r}") from event.error

    async def _pulse(self, event: Pulse) -> None:
        self._setup.pulse(self.cameras, inspecting=not self._idle())
        self._by_itself.tick()
        self._golden.tick(self.condition.recipe)
        if event.alive:
            await self.links.tell(Alive())
        self.pulse_waiting = False  # not before: a link that takes no heartbeat must not be signed for

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
                self._by_itself.announce(None, request.seen_ns)
        elif isinstance(request, ResultAcknowledged):
            self.booking.acknowledged(request.result_ids)
        elif isinstance(request, LinkState):
            log.info("plc_link", link=link.name, alive=request.alive, plc_boot_id=request.plc_boot_id)
            self.links.heard(link, request)
            for opened in self.work.open.values():
                if opened.link is link and opened.inspection.trigger.plc_boot_id != request.plc_boot_id:
                    opened.asker_gone = True
        elif isinstance(request, OutputOrder):
            self.outputs.put(request)
        else:
            await self._plc_orders.carry_out(link, request)

    async def _asked(self, link: PlcLink, request: TriggerRequest) -> None:
        reason = self._why_not(link, request)
        if reason is not None:
            self.booking.refused(request.trigger_seq, request.part_id, reason)
            self._by_itself.announce(None, request.seen_ns)
            await link.tell(TriggerRefused(request.trigger_seq, reason))
            return
        seq = self._accept(request.trigger_seq, request.part_id, request.seen_ns, link, request.plc_boot_id)
        if self.condition.recipe.settings.trigger == "announced":
            self._by_itself.announce(seq, request.seen_ns)
        else:
            self._shoot(seq)
        await link.tell(TriggerAccepted(request.trigger_seq))

    def _why_not(self, link: PlcLink, request: TriggerRequest) -> Reason | None:
        if not self.links.may_command(link) or self.condition.recipe.settings.trigger not in ("plc", "announced"):
            return Reason.WRONG_MASTER
        blocked = self.condition.blocked()
        if blocked is not None:
            return blocked[0]
        return self._overload() if self._occupied() else None

    async def _timer_tick(self) -> None:
        if self.condition.recipe.settings.trigger != "timer":
            return
        blocked = self.condition.blocked()
        if blocked is not None or self._occupied():
            self.booking.refused(0, "", blocked[0] if blocked is not None else self._overload())
            return
        self._shoot(self._accept_own(self.parts.clock.monotonic_ns()))

    def _accept_own(self, at_ns: int, recipe: LoadedRecipe | None = None) -> int:
        """A part that the station itself numbers; `recipe` None = the active one."""
        return self._accept(self._acceptance.own_trigger_seq, "", at_ns, None, 0, recipe)

    def _accept(
        self,
        trigger_seq: int,
        part_id: str,
        at_ns: int,
        link: PlcLink | None,
        plc_boot_id: int,
        recipe: LoadedRecipe | None = None,
    ) -> int:
        """Write the part into the flight record, start its deadline, book it. Nothing is told before this."""
        recipe = recipe or self.condition.recipe
        mode = self._golden.mode_of(at_ns, self.condition.mode_now) if link is None else self.condition.mode_now
        inspection, slot = self._acceptance.part(
            recipe, mode, trigger_seq, part_id, self.stalls.earliest_ns(at_ns), plc_boot_id
        )
        seq, due_ns = inspection.trigger.seq, inspection.trigger.deadline_ns - inspection.job.output_margin_ns
        due_s = (due_ns - self.parts.clock.monotonic_ns()) / 1e9
        timer = self._loop.call_later(max(0.0, due_s), self.events.put_nowait, Deadline(seq))
        self.work.open[seq] = Open(inspection, recipe, slot, timer, link)
        if recipe is not self.condition.recipe:
            self._golden.by_recipe_before(seq)
        return seq

    def _shoot(self, seq: int) -> None:
        recipe, deadline_ns = self.work.open[seq].recipe, self.work.open[seq].inspection.trigger.deadline_ns
        for camera, plan in recipe.plans.items():
            self.work.exposing[camera] = seq
            opening = self.condition.openings[camera]
            self.cameras.shoot(camera, Shot(seq, recipe.name, plan, opening, deadline_ns))

    # --- pictures and views -------------------------------------------------------------------------------------------

    async def _exposed(self, event: Exposed) -> None:
        seq = event.seq
        if seq is None:
            seq = await self._by_itself.part_of(event)
            if seq is None:
                self.pictures.nobody(event.picture)
                return
        self.pictures.belongs(event.picture, seq)
        self.work.release(event.picture.camera, seq)
        self.work.parts_of[event.picture] = seq
        opened = self.work.open.get(seq)
        if opened is None:
            return
        opened.inspection = opened.inspection.on_exposed(event.picture.camera)
        if opened.inspection.all_exposed and not opened.exposed_told:
            opened.exposed_told = True
            await self.links.tell(ExposureDone(opened.inspection.trigger.trigger_seq), opened.link)

    async def _inferred(self, event: Inferred) -> None:
        """A view is measured."""
        job = event.job
        if job.picture.number < 0:  # see `Manual`
            self.manual.judged(event)
            return
        seq = self.work.parts_of.pop(job.picture, None)
        if seq is None:
            return
        inspection = self.work.inspection(seq)
        if inspection is None:
            return
        opened = self.work.open.get(seq)
        plan = None if opened is None else opened.recipe.plans[job.picture.camera]
        view = measured(event, plan, inspection.trigger.accepted_ns, self.parts.clock.monotonic_ns())
        await self.work.advance(seq, lambda i, at: i.on_view(view, at))

    async def _view_failed(self, event: ViewFailed) -> None:
        camera = event.picture.camera
        if event.picture.number < 0:
            self.manual.judged(event)
            return
        owner = self.work.parts_of.pop(event.picture, None)
        seq = owner if event.seq is None else event.seq
        if seq is None:  # a picture whose part could not be accepted
            return
        self.work.release(camera, seq)
        view = failed(event)
        log.warning("view_failed", camera=camera, reason=event.reason.name.lower(), error=event.text)
        await self.work.advance(seq, lambda i, now: i.on_view(view, now))

    # --- what the station is ------------------------------------------------------------------------------------------

    def _set_cameras(self, before: LoadedRecipe) -> None:
        """Order the active recipe's features of its cameras; the station is not READY until they have them."""
        for camera in self.condition.recipe.cameras:
            self.cameras.set(camera, self.condition.ask(camera))
        self._by_itself.recipe_changed(before)

    def _model_warm(self, event: ModelWarm) -> None:
        self.changeover.warm(event)
        self.power.warm(event)

    def _models_ready(self) -> None:
        self._fitness.models_ready()
        self.scarcity.models_ready()

    async def _vitals_read(self, event: VitalsRead) -> None:
        self.scarcity.read(event)
        await self._fitness.vitals_read(event)

    def _spare(self, on: bool) -> None:
        """Give back what no verdict needs, or take it into use again."""
        log.warning("memory_spared" if on else "memory_used_again")
        self.live.resting = on
        if self.parts.images is not None:
            self.parts.images.spare(on)
        if on:
            self.models.spare()

    async def _camera_up(self, event: CameraUp) -> None:
        self.cameras.came_up(event.camera)
        await self._fitness.camera_up(event)

    def _reopen(self, camera: str, why: str) -> None:
        self.cameras.reopen(camera, why)

    def _idle(self) -> bool:
        """Whether the line leaves room for something else: no part is open, and none is being photographed."""
        return not self.work.open and not self.work.exposing and not self._acquiring()

    def _size_of(self, camera: str) -> tuple[int, int] | None:
        """Height and width of the camera's pictures, None = it is away, or does not say."""
        opened = self.cameras.opened(camera)
        return None if opened is None else opened.image_hw

    def _occupied(self) -> bool:
        """Whether the next part must wait for a picture that is still being taken, or for room."""
        return self._acquiring() or len(self.work.open) >= self.parts.limits.max_open

    def _overload(self) -> Reason:
        """There is no room for another part; a PLC that does not wait for the picture is not the board's fault."""
        if len(self.work.open) >= self.parts.limits.max_open:
            self.power.late()
        return Reason.OVERLOAD

    def _acquiring(self) -> bool:
        """Whether a picture for the active recipe is being taken, or may still come."""
        cameras = self.condition.recipe.cameras
        return any(camera in self.work.exposing for camera in cameras) or self.announcements.waiting(cameras)

    async def _tell_status(self) -> None:
        self.reload.look()
        self.changeover.look(self.work, self.condition)
        self.power.look(
            busy=bool(self.work.open or self.work.exposing or self.manual.busy or self.condition.stopping),
            changeover=self.changeover.under_way,
            refused=self.condition.failed,
        )
        silent = [camera for camera, seq in self.work.exposing.items() if seq not in self.work.open]
        acquiring = bool(self.work.exposing) or self._acquiring()
        status = self.condition.status(len(self.work.open), self._occupied(), acquiring, silent, self.booking.alarmed)
        if status != self.status:
            self.status = status
            await self.links.tell(status)
            self._emit("status", status)
        self.power.told()
