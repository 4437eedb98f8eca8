"""What threads and tasks tell the line loop; handled one by one, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_inspector.datatypes import (
    Batch,
    FeatureValue,
    Findings,
    Picture,
    PreparePlan,
    RawView,
    Reason,
    TriggerMode,
)
from edge_inspector.health.memory import Memory
from edge_inspector.health.vitals import Disk
from edge_inspector.interfaces import (
    Order,
    OrderAnswer,
    PlcLink,
    PlcRequest,
    PowerMode,
    PowerState,
    Vitals,
)
from edge_inspector.station.power_speeds import Speeds

if TYPE_CHECKING:
    from edge_inspector.station.rereading import FileNow


@dataclass(frozen=True)
class Shot:
    """The station asks a camera for the picture of part `seq`, in its n-th opening, before `deadline_ns`."""

    seq: int
    recipe: str
    plan: PreparePlan
    opening: int
    deadline_ns: int


@dataclass(frozen=True)
class Snapshot:
    """The station asks a camera for a picture that is no part's, in its n-th opening."""

    opening: int


@dataclass(frozen=True)
class Setting:
    """The GenICam features that a recipe asks of a camera; empty = as the station file has it."""

    recipe: str
    features: Mapping[str, FeatureValue]


@dataclass(frozen=True)
class Job:
    """A prepared picture on its way through the model; `queued_ns` and `deadline_ns` are CLOCK_MONOTONIC.

    `deadline_ns` None: the part is not accepted yet, because the camera triggered itself. `plan` is the one by which it
    was prepared: a recipe may be another one under its name by now. None = by that of the name.
    """

    picture: Picture
    recipe: str
    batch: Batch | RawView
    frame_id: int
    prepare_ns: int
    queued_ns: int
    deadline_ns: int | None
    plan: PreparePlan | None = None


@dataclass(frozen=True)
class CameraUp:
    """A camera is open; `opening` names this opening among all of them."""

    camera: str
    opening: int
    trigger_mode: TriggerMode = "software"


@dataclass(frozen=True)
class CameraDown:
    camera: str
    text: str


@dataclass(frozen=True)
class Exposed:
    """A picture has arrived, whole or not; `seq` is None when the station did not trigger the camera.

    `frame_id` and `line_edges` as in `Frame`, `plan` as in `Job`.
    """

    picture: Picture
    seq: int | None
    recipe: str
    arrival_ns: int
    frame_id: int | None = None
    line_edges: int | None = None
    plan: PreparePlan | None = None


@dataclass(frozen=True)
class ViewFailed:
    """There is no measured view for this picture; `seq` as in `Exposed`, None also when only `picture` is known."""

    picture: Picture
    seq: int | None
    reason: Reason
    text: str


@dataclass(frozen=True)
class SettingDone:
    """A camera has taken a recipe's features, or refused them: `error`."""

    camera: str
    setting: Setting
    error: str


@dataclass(frozen=True)
class WindowClosed:
    """The time in which a camera's picture of an announced part could come is over; `seq` None: it was refused."""

    camera: str
    seq: int | None


@dataclass(frozen=True)
class Inferred:
    """The model has answered: what the view shows, and how long it waited, ran and was read."""

    job: Job
    findings: Findings
    wait_ns: int
    infer_ns: int
    finish_ns: int


@dataclass(frozen=True)
class ModelsReady:
    """Every recipe's model was looked at: it is loaded and warm, or was told to be refused or missing."""


@dataclass(frozen=True)
class ModelLoaded:
    """A recipe's model is loaded and warm; `warning` says what is not as it should be, empty = nothing."""

    recipe: str
    warning: str


@dataclass(frozen=True)
class ModelWarm:
    """A recipe that was selected can be inspected at full speed: its model is loaded and has run."""

    recipe: str


@dataclass(frozen=True)
class ModelUnloaded:
    """A recipe's model has made room for another one."""

    recipe: str


@dataclass(frozen=True)
class ModelRefused:
    """A recipe's model may not be used."""

    recipe: str
    text: str


@dataclass(frozen=True)
class FileRead:
    """The station file was read again: what it says, or what is wrong with it. `done` is called once, with the outcome.

    `who` ordered it.
    """

    who: str
    outcome: FileNow | tuple[str, ...]
    done: Callable[[OrderAnswer], None]


@dataclass(frozen=True)
class RecipesTaken:
    """The GPU thread has the n-th set of recipes, and no model of an outdated one any more."""

    number: int


@dataclass(frozen=True)
class EngineNeeded:
    """A recipe's engine must be built or proven."""

    recipe: str


@dataclass(frozen=True)
class EngineProgress:
    """How far the build of a recipe's engine is, 0..1."""

    recipe: str
    share: float
    text: str


@dataclass(frozen=True)
class EngineBuilt:
    """A build has ended: `outcome` of its proof, empty = there is no engine, and `text` says why."""

    recipe: str
    outcome: str
    text: str


@dataclass(frozen=True)
class FromPlc:
    link: PlcLink
    request: PlcRequest


@dataclass(frozen=True)
class LinkHealth:
    """A link that dials has reached its PLC, or not: `text`."""

    link: PlcLink
    connected: bool
    text: str


@dataclass(frozen=True)
class OutputTrouble:
    """The output lines of a camera do not obey, and why; empty = they do again."""

    camera: str
    text: str


@dataclass(frozen=True)
class VitalsRead:
    """How the machine is, and what is left of its disk and memory."""

    vitals: Vitals
    disk: Disk = field(default_factory=Disk)
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True)
class PowerOpened:
    """The board's power control is there; `modes` as in `PowerControl`, `speeds` what was measured in them."""

    modes: tuple[PowerMode, ...]
    state: PowerState
    speeds: Speeds


@dataclass(frozen=True)
class PowerRead:
    """What the board says of itself now."""

    state: PowerState


@dataclass(frozen=True)
class PowerChanged:
    """A change of the power mode has come to its end; `error` empty = the board is in `mode`.

    `for_good`: it will never go without a reboot. `state` is what the board said afterwards.
    """

    mode: PowerMode
    state: PowerState
    error: str = ""
    for_good: bool = False


@dataclass(frozen=True)
class PowerTrouble:
    """The board's power control cannot be reached or does not do something, and why."""

    text: str


@dataclass(frozen=True)
class TimerTick:
    """The period of a timer recipe is over."""


@dataclass(frozen=True)
class Deadline:
    seq: int


@dataclass(frozen=True)
class PublisherHealth:
    destination: str
    connected: bool
    text: str


@dataclass(frozen=True)
class Pulse:
    """Time has passed; `alive` says whether the whole verdict path has made progress."""

    alive: bool


@dataclass(frozen=True)
class Stop:
    """Finish what is open, accept nothing more; `who` has ordered it, empty = nobody knows."""

    who: str = ""


@dataclass(frozen=True)
class Died:
    """A thread has ended by an exception that nobody expected."""

    thread: str
    error: BaseException


@dataclass(frozen=True)
class ImagesTrouble:
    """Pictures cannot be stored; an empty text = they can again."""

    text: str


@dataclass(frozen=True)
class LedgerHealth:
    """The ledger cannot be written any more, or can again; `text` says why not."""

    healthy: bool
    text: str


@dataclass(frozen=True)
class Noticed:
    """Something about the books or the pictures that a person should know; all three as in `Event`."""

    severity: Literal["info", "warning", "alarm"]
    code: str
    text: str


@dataclass(frozen=True)
class DestinationTrouble:
    """A broker takes only a part of what it is given; `severity`, `code`, `text` and `parts` as in `Event`."""

    destination: str
    severity: Literal["info", "warning", "alarm"]
    code: str
    text: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ordered:
    """Somebody who is no PLC wants something; `reply` is called once, on the event loop, and never blocks."""

    order: Order
    reply: Callable[[OrderAnswer], None]


@dataclass(frozen=True)
class PostedPictures:
    """Pictures that somebody has sent are ready for the model, or cannot be inspected: `error`."""

    views: tuple[Job | ViewFailed, ...]
    error: str


LineEvent: TypeAlias = (
    CameraUp
    | CameraDown
    | SettingDone
    | WindowClosed
    | Exposed
    | ViewFailed
    | Inferred
    | ModelsReady
    | ModelLoaded
    | ModelWarm
    | ModelUnloaded
    | ModelRefused
    | RecipesTaken
    | FileRead
    | EngineNeeded
    | EngineProgress
    | EngineBuilt
    | FromPlc
    | LinkHealth
    | OutputTrouble
    | VitalsRead
    | PowerOpened
    | PowerRead
    | PowerChanged
    | PowerTrouble
    | TimerTick
    | Deadline
    | PublisherHealth
    | ImagesTrouble
    | DestinationTrouble
    | Ordered
    | PostedPictures
    | LedgerHealth
    | Noticed
    | Pulse
    | Stop
    | Died
)
