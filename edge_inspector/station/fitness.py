"""What happens around the parts, and whether the station is fit for them: cameras, models, disks, publishers."""

from __future__ import annotations

import gc

import structlog

from edge_inspector.datatypes import Reason
from edge_inspector.interfaces import Vitals
from edge_inspector.station.booking import Booking
from edge_inspector.station.by_itself import ByItself
from edge_inspector.station.camera_alarms import CameraAlarms
from edge_inspector.station.condition import Condition
from edge_inspector.station.events import (
    CameraDown,
    CameraUp,
    ImagesTrouble,
    LedgerHealth,
    ModelLoaded,
    PublisherHealth,
    SettingDone,
    VitalsRead,
)
from edge_inspector.station.in_work import InWork
from edge_inspector.station.links import Links
from edge_inspector.station.models import Models
from edge_inspector.station.parts import Parts
from edge_inspector.station.stalls import StallWatch

log = structlog.get_logger()


class Fitness:
    """On the event loop; a method for each event. `vitals` are the newest that were read."""

    def __init__(
        self,
        parts: Parts,
        condition: Condition,
        models: Models,
        booking: Booking,
        links: Links,
        work: InWork,
        by_itself: ByItself,
        stalls: StallWatch,
    ) -> None:
        self.vitals = Vitals()
        self._parts = parts
        self._condition = condition
        self._models = models
        self._booking = booking
        self._links = links
        self._work = work
        self._by_itself = by_itself
        self._stalls = stalls
        self._alarms = CameraAlarms(parts.clock)
        self._models_looked_at = False

    async def camera_up(self, event: CameraUp) -> None:
        camera, condition = event.camera, self._condition
        condition.down.pop(camera, None)
        condition.openings[camera] = event.opening
        self._alarms.up(camera)
        self._by_itself.opened(camera, event.trigger_mode)
        text = f"camera {camera} was opened again before its picture was certain"
        for seq in [seq for seq, opened in self._work.open.items() if camera in opened.inspection.doubtful]:
            await self._work.advance(seq, lambda i, now: i.undefined(Reason.CAMERA, text, now))

    def setting_done(self, event: SettingDone) -> None:
        """Only the answer to the last order counts: before that one, the camera may still obey another."""
        camera, condition, error = event.camera, self._condition, event.error
        known = condition.refused.get(camera)
        if event.setting is condition.asked[camera]:
            condition.setting.discard(camera)
            condition.refused.pop(camera, None)
            if error:
                condition.refused[camera] = error
        if error and error != known:
            self._booking.event("alarm", "features_refused", f"recipe {event.setting.recipe}: {error}")

    async def camera_down(self, event: CameraDown) -> None:
        camera = event.camera
        self._condition.down[camera] = event.text
        self._work.exposing.pop(camera, None)
        for seq in list(self._work.open):
            await self._work.advance(seq, lambda i, now: i.on_camera_lost(camera, now))
        if self._alarms.due(camera):
            self._booking.event("alarm", "camera_lost", f"{camera}: {event.text}")

    def model_loaded(self, event: ModelLoaded) -> None:
        self._models.loaded(event)
        if self._models_looked_at:  # what was there at the start stands in the books already
            recipe = self._parts.recipes.get(event.recipe)
            if recipe is not None:
                self._booking.audit("station", "engine_loaded", f"recipe {recipe.name}: {recipe.model_hash}")

    def models_ready(self) -> None:
        self._models_looked_at = True
        gc.collect()
        gc.freeze()  # an OPC UA server holds some 480 000 objects: a full collection would stop all for 0.2 s
        self._stalls.forgive()
        log.info("models_looked_at")

    async def vitals_read(self, event: VitalsRead) -> None:
        self.vitals = self._condition.power.filled(event.vitals)
        await self._links.tell(self.vitals)

    def publisher_health(self, event: PublisherHealth) -> None:
        if event.connected:
            self._condition.publishers_down.discard(event.destination)
        else:
            self._condition.publishers_down.add(event.destination)

    def images_trouble(self, event: ImagesTrouble) -> None:
        self._condition.images_trouble = event.text
        if event.text:
            self._booking.event("alarm", "images_stopped", event.text)
        else:
            self._booking.event("info", "images_again", "pictures are stored again")

    def ledger_health(self, event: LedgerHealth) -> None:
        """The alarm is told at once; booked and published it is when the ledger can be written again."""
        if event.healthy:
            self._booking.event("info", "ledger_again", "the ledger is being written again")
        else:
            self._booking.event("alarm", "ledger_stopped", event.text)
