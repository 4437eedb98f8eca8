"""What the station is at this moment: fit or not, and why not."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_inspector.datatypes import ERROR_CODE, Mode, Reason
from edge_inspector.interfaces import StationStatus
from edge_inspector.station.announcements import Announcements
from edge_inspector.station.camera_health import CameraHealth
from edge_inspector.station.changeover import Changeover
from edge_inspector.station.events import Setting
from edge_inspector.station.golden import Golden
from edge_inspector.station.line_rules import LineRules
from edge_inspector.station.links import Links
from edge_inspector.station.models import Models
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.station.power import Power
from edge_inspector.station.scarcity import Scarcity
from edge_inspector.station.thresholds import Thresholds


@dataclass
class Condition:
    """Changed by the line loop as events come in; everything that it says is computed from its fields.

    `down` holds the cameras that are away and why, `openings` which opening of each camera this is. `asked` are the
    features that each camera was ordered last, `setting` those that have not taken them yet, `refused` those that do
    not take them and why.
    """

    parts: Parts
    recipe: LoadedRecipe
    announcements: Announcements
    models: Models
    line_rules: LineRules
    thresholds: Thresholds
    golden: Golden
    camera_health: CameraHealth
    changeover: Changeover
    links: Links
    power: Power
    scarcity: Scarcity
    asked: dict[str, Setting]
    mode: Mode = Mode.PRODUCTION
    halted: bool = False
    held_by: str = ""
    """Who has halted the station by an order; `halted` is the PLC's own."""
    setup_by: str = ""
    """Who has begun setup mode, empty = it is off."""
    stopping: bool = False
    recipe_error: str = ""
    down: dict[str, str] = field(default_factory=dict)
    openings: dict[str, int] = field(default_factory=dict)
    setting: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    publishers_down: set[str] = field(default_factory=set)
    images_trouble: str = ""

    @property
    def mode_now(self) -> Mode:
        """That of a part which is accepted at this moment."""
        return Mode.SETUP if self.setup_by else self.mode

    def blocked(self) -> tuple[Reason, str] | None:
        """Why no part can be inspected now, None = the station is fit."""
        machine = self.scarcity.why_not() or self.power.why_not()
        return self._held() or self._not_set_up() or machine or self._not_trusted() or self._full()

    @property
    def set_up(self) -> bool:
        """Recipe, model and cameras are all there, whoever may hold the station."""
        return self._not_set_up() is None

    def ask(self, camera: str) -> Setting:
        """What the active recipe wants of the camera; until that has it, the station is not READY."""
        self.asked[camera] = setting = self.recipe.setting(camera)
        self.setting.add(camera)
        self.refused.pop(camera, None)
        return setting

    @property
    def failed(self) -> bool:
        """The recipe's model or features were refused: nothing of that comes right before somebody orders it again."""
        why_not = self.models.why_not(self.recipe.name)
        refused = not self.refused.keys().isdisjoint(self.recipe.cameras)
        return refused or (why_not is not None and why_not[0] is Reason.INFERENCE)

    def _held(self) -> tuple[Reason, str] | None:
        """Somebody wants no part inspected."""
        if self.stopping:
            return Reason.STOPPING, "the station is stopping"
        if self.halted:
            return Reason.NOT_READY, "halted by command"
        if self.held_by:
            return Reason.NOT_READY, f"halted by {self.held_by}"
        if self.setup_by:
            return Reason.NOT_READY, f"setup mode, ordered by {self.setup_by}"
        return None

    def _not_set_up(self) -> tuple[Reason, str] | None:
        """Recipe, model and cameras are not there yet, or not any more."""
        if self.recipe_error:
            return Reason.RECIPE, self.recipe_error
        why_not = self.models.why_not(self.recipe.name)
        if why_not is not None:
            before = self.changeover.before
            refused = before is not None and before.name != self.recipe.name and why_not[0] is Reason.INFERENCE
            return (Reason.RECIPE, why_not[1]) if refused else why_not
        for camera in self.recipe.cameras:
            if camera in self.down:
                return Reason.CAMERA, f"camera {camera}: {self.down[camera]}"
            if camera in self.setting:
                return Reason.NOT_READY, f"camera {camera} is taking the features of recipe {self.recipe.name}"
            if camera in self.refused:
                return Reason.RECIPE, self.refused[camera]
        changing = self.changeover.why_not()
        return (Reason.NOT_READY, changing) if changing else None

    def _not_trusted(self) -> tuple[Reason, str] | None:
        """It would judge, but nobody could trust its word."""
        blind = self.camera_health.why_not(self.recipe)
        if blind:
            return Reason.CAMERA, blind
        unproven = self.golden.why_not(self.recipe) if self.mode is Mode.PRODUCTION else None
        if unproven is not None:
            return unproven
        doubt = self.announcements.doubt(self.recipe.cameras) if self.recipe.settings.trigger == "announced" else ""
        return (Reason.UNANNOUNCED, doubt) if doubt else None

    def _full(self) -> tuple[Reason, str] | None:
        if not self.parts.flight.full:
            return None
        return Reason.STORAGE, f"the flight record is full: {self.parts.ledger.error or 'the ledger is behind'}"

    def status(
        self, open_parts: int, occupied: bool, acquiring: bool, silent: list[str], alarmed: bool
    ) -> StationStatus:
        """As PLC and broker should see it; `silent` are the cameras that have not answered a trigger in time."""
        blocked = self.blocked()
        code, text = self._error(blocked, silent)
        return StationStatus(
            ready=blocked is None and not occupied,
            busy=open_parts > 0,
            acquiring=acquiring,
            halted=self.halted or bool(self.held_by),
            mode=self.mode_now,
            recipe=self.recipe.name,
            recipe_no=self.recipe.settings.number,
            recipe_ready=self.models.why_not(self.recipe.name) is None
            and not self.recipe_error
            and not self.changeover.why_not()
            and not (self.setting | self.refused.keys()).intersection(self.recipe.cameras),
            warning=bool(self.publishers_down or self.links.away or self.models.warning(self.recipe.name))
            or bool(self.images_trouble or self.thresholds.warning(self.recipe) or self.line_rules.notice)
            or bool(self.power.warning or self.scarcity.warning)
            or not self.parts.ledger.healthy,
            error_code=code,
            error_text=text,
            clock_synced=self.parts.clock.synced(),
            queue_depth=open_parts,
            line_stop=self.line_rules.reason,
            alarm=alarmed,
            degraded=self.power.throttled or bool(self.camera_health.warning(self.recipe)),
            golden_due=self.golden.due(self.recipe),
            runs_by_itself=self.recipe.settings.trigger in ("line", "timer"),
        )

    def _error(self, blocked: tuple[Reason, str] | None, silent: list[str]) -> tuple[int, str]:
        """Status.ErrorCode and its text; a text without a code says why the station is not ready."""
        code, text = (0, "") if blocked is None else (ERROR_CODE.get(blocked[0], 0), blocked[1])
        if not code and silent:
            return ERROR_CODE[Reason.CAMERA], f"camera {silent[0]} has not answered its trigger in time"
        if not code and not self.parts.ledger.healthy:
            return ERROR_CODE[Reason.STORAGE], self.parts.ledger.error
        warning = self.models.warning(self.recipe.name) or self.power.warning or self.scarcity.warning
        return code, text or self.line_rules.text or warning
