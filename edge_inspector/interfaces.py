"""The protocols at which plugins meet the station. A fake stands only here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from edge_inspector.datatypes import (
    Batch,
    CameraStatistics,
    Event,
    FeatureValue,
    Frame,
    InputSpec,
    InspectionResult,
    Mode,
    OutboxMessage,
    Picture,
    Precision,
    PreparePlan,
    RawView,
    Reason,
    SavedImage,
    Tensors,
    TriggerMode,
)


class Clock(Protocol):
    """Time, injected so that tests own it."""

    def monotonic_ns(self) -> int: ...
    def utc(self) -> str:
        """RFC 3339, UTC, milliseconds."""
        ...

    def synced(self) -> bool:
        """Whether the wall clock has been set since boot; a Jetson without a clock battery starts in 1970."""
        ...


class _Opened(Protocol):
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Camera(_Opened, Protocol):
    """A source of frames; opened, used and closed on its own thread, and never opened again: a new one is made."""

    trigger_mode: TriggerMode
    """software: the station must call `trigger` for each picture; otherwise pictures come by themselves."""
    serial: str
    """Of the device, once it is open; empty = it has none."""
    image_hw: tuple[int, int] | None
    """Of the pictures, once it is open; None = only a picture tells."""
    statistics: CameraStatistics
    """Replaced whole, so any thread may read it."""

    def __enter__(self) -> Camera:
        """Open the device. CameraError when it is not there."""
        ...

    def apply(self, features: Mapping[str, FeatureValue]) -> None:
        """Take a recipe's GenICam features; those of the recipe before go back to what they were.

        FeatureError: one was refused, the camera stays open. CameraError: lost.
        """
        ...

    def trigger(self) -> None:
        """Expose once. CameraError when the device is lost. Only for trigger_mode = software."""
        ...

    def grab(self, timeout_s: float) -> Frame | None:
        """The next frame; None when none came in time. FrameError: this picture is damaged. CameraError: lost.

        With timeout_s = 0 and nothing triggered it only looks whether the device is there.
        """
        ...


class Model(Protocol):
    """A loaded network. All calls on the GPU thread; n is collected after n+1 is submitted, in two slots."""

    memory_bytes: int
    output_shapes: Mapping[str, tuple[int, ...]]
    """Of one batch, by output name."""

    def submit(self, batch: Batch | RawView, slot: int) -> Ticket:
        """Start; a `Batch` may not change until it is collected, a `RawView` is the caller's again on return.

        Any number of tiles: a model that takes fewer at once runs more than once. InferenceError when it does not fit.
        """
        ...

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        """Wait for the outputs. InferenceError on a failure, a time-out or outputs that are not finite.

        DeviceLostError when no model can run in this process any more; so for `submit`.
        """
        ...

    def rehearse(self, plan: PreparePlan) -> None:
        """Views of this plan will come: do what the first of them would wait for. InferenceError as `collect`."""
        ...

    def keep_warm(self) -> None:
        """Nothing was submitted for a while: do what keeps the device from slowing down, if it does."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Ticket:
    """One submitted batch."""

    slot: int
    number: int


@dataclass(frozen=True)
class ModelFile:
    """What a backend needs of a bundle: its network, and the folder in which an engine was built from it.

    `engine_dir` is empty where the backend runs the ONNX file itself.
    """

    onnx_path: str
    sha256: str
    engine_dir: str = ""


@dataclass(frozen=True)
class EngineOptions:
    """How the ONNX file is changed before a backend builds an engine from it.

    `compact_rows` is the number of candidates that leave the device, 0 = the network's own outputs. `calibration_dir`
    holds the pictures by which int8 is scaled.
    """

    precision: Precision = "fp32"
    compact_rows: int = 0
    calibration_dir: str = ""


class Backend(Protocol):
    """Loads models on one device. `facts`, `build` and `load` are called on the thread on which the models live."""

    prepares_on_device: bool
    """Whether its models take `RawView` instead of `Batch`."""
    proof: Literal["none", "kept", "each_start"]
    """How it is shown that what runs gives the verdicts of the ONNX file.

    none: it is the reference itself; kept: once for each engine, in its passport; each_start: nobody tells when a
    server changes its model.
    """
    max_batch: int
    """Views of several cameras that may go into one run."""
    options: EngineOptions

    def facts(self) -> Mapping[str, str]:
        """All that an engine depends on besides the model, sorted into names: versions, device, builder options.

        Names that begin with `option.` are what somebody chose; an engine that differs in those alone runs here too.
        ConfigError: the backend cannot run on this machine, and what to install.
        """
        ...

    def build(
        self, model: ModelFile, spec: InputSpec, into: Path, progress: Callable[[float, str], None]
    ) -> Mapping[str, object]:
        """Write an engine of `model` into the empty folder `into`; the report (JSON) is what a person may want to know.

        A backend that runs ONNX files writes nothing. `progress` takes 0..1 and what is being done. BundleError: the
        network cannot be built, and why.
        """
        ...

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> Model:
        """Load and warm up. BundleError when the file is damaged or its inputs are not what the plan gives."""
        ...


@runtime_checkable
class HasOutputLines(Protocol):
    """A camera with digital outputs."""

    def set_output(self, line: str, on: bool) -> None:
        """Energise an output line or let it fall; on a thread of its own, while `grab` waits. CameraError."""
        ...


# --- PLC -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TriggerRequest:
    """The PLC says: a part is here. `seen_ns` is when its write reached us (CLOCK_MONOTONIC)."""

    trigger_seq: int
    part_id: str
    seen_ns: int
    plc_boot_id: int


@dataclass(frozen=True)
class RefusedByLink:
    """A trigger that the contract itself refused (boot id not echoed, link stale): booked, never inspected.

    `seen_ns` as in `TriggerRequest`.
    """

    trigger_seq: int
    part_id: str
    reason: Reason
    count: int = 1
    seen_ns: int = field(default=0, compare=False)


@dataclass(frozen=True)
class RecipeRequest:
    """The PLC orders a recipe by number or, when that is 0, by name."""

    seq: int
    number: int
    name: str


@dataclass(frozen=True)
class CommandRequest:
    """Control.Command with its sequence number."""

    seq: int
    command: int


@dataclass(frozen=True)
class ResultAcknowledged:
    """The PLC has read every result up to and including `trigger_seq`; `result_ids` are those it frees."""

    trigger_seq: int
    result_ids: tuple[str, ...]


@dataclass(frozen=True)
class LinkState:
    """Whether a PLC is there (`alive`), and which start of it."""

    alive: bool
    plc_boot_id: int


@dataclass(frozen=True)
class PartFeedback:
    """Somebody has looked at a part again: it was good or bad. `trigger_seq` and `plc_boot_id` are the part's."""

    trigger_seq: int
    plc_boot_id: int
    good: bool


@dataclass(frozen=True)
class ResultWritten:
    """A link that dials has brought these results to the PLC; `at_ns` is the end of the write (CLOCK_MONOTONIC)."""

    result_ids: tuple[str, ...]
    at_ns: int


@dataclass(frozen=True)
class OutputOrder:
    """Set one output line of a camera, by its GenICam name such as Line2.

    A line is not energised any more after `not_after_ns` (CLOCK_MONOTONIC): a pulse would be taken for the next part's.
    """

    camera: str
    line: str
    on: bool
    not_after_ns: int | None = None


PlcRequest: TypeAlias = (
    TriggerRequest
    | RefusedByLink
    | RecipeRequest
    | CommandRequest
    | ResultAcknowledged
    | LinkState
    | PartFeedback
    | ResultWritten
    | OutputOrder
)


@dataclass(frozen=True)
class TriggerAccepted:
    trigger_seq: int


@dataclass(frozen=True)
class TriggerRefused:
    trigger_seq: int
    reason: Reason


@dataclass(frozen=True)
class ExposureDone:
    """Every camera of the part has its picture: the part may move."""

    trigger_seq: int


@dataclass(frozen=True)
class RecipeAnswer:
    seq: int
    accepted: bool
    reason: Reason


@dataclass(frozen=True)
class CommandAnswer:
    seq: int
    result: int


@dataclass(frozen=True)
class StationStatus:
    """What the station is, told when it changes."""

    ready: bool
    busy: bool
    acquiring: bool
    halted: bool
    mode: Mode
    recipe: str
    recipe_no: int
    recipe_ready: bool
    warning: bool
    error_code: int
    error_text: str
    clock_synced: bool
    queue_depth: int
    line_stop: int = 0
    """Reason number why the line should stop until AckLineStop; 0 = it need not."""
    alarm: bool = False
    degraded: bool = False
    golden_due: bool = False
    runs_by_itself: bool = False
    """The recipe is triggered by the station or its cameras, not by a PLC."""


@dataclass(frozen=True)
class Unannounced:
    """A camera brought a picture that no announced part can be sure of."""

    camera: str


@dataclass(frozen=True)
class Vitals:
    """How the machine is; None = not known here. Degrees Celsius, 0..1, percent."""

    temp_c: float | None = None
    gpu_load: float | None = None
    disk_free_pct: float | None = None
    power_mode: str | None = None
    memory_free_pct: float | None = None
    throttled: str = ""
    """Why the machine runs slower than its power mode allows (heat, over-current), in words; empty = it does not."""


@dataclass(frozen=True)
class Alive:
    """The verdict path has made progress: the heartbeat may advance."""


PlcMessage: TypeAlias = (
    TriggerAccepted
    | TriggerRefused
    | ExposureDone
    | RecipeAnswer
    | CommandAnswer
    | StationStatus
    | InspectionResult
    | Unannounced
    | Vitals
    | Alive
)


class PlcLink(Protocol):
    """One way to a PLC. Runs on the event loop; creates no tasks; exchanges only the records above.

    A link that `dials` calls the PLC or its remote I/O. It may be away: opening or `receive` then raises OutputError,
    and the station opens the same link again later. Its `tell` only notes what is to be written; `receive` writes it
    and says so with `ResultWritten`. Every other link is opened once, and `tell` is all.
    """

    name: str
    acknowledges: bool
    """Whether the PLC acknowledges results in this link."""
    dials: bool
    asks: bool
    """Whether the PLC can trigger and order anything through it."""

    async def __aenter__(self) -> PlcLink:
        """OutputError when it cannot be opened."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def receive(self) -> PlcRequest:
        """The next request, in the order in which the PLC wrote them. May be cancelled and called again at any time.

        OutputError when a link that dials is lost.
        """
        ...

    async def tell(self, message: PlcMessage) -> None:
        """Returns when the PLC can read it, or at once in a link that dials; never waits for a network."""
        ...


# --- Publishers ------------------------------------------------------------------------------------------------------


class Publisher(_Opened, Protocol):
    """Drains one destination of the outbox; opened, used and closed on its own thread, never on the verdict's path."""

    destination: str

    def __enter__(self) -> Publisher:
        """Connect. OutputError when the destination is not there."""
        ...

    def render(self, record: InspectionResult | Event | SavedImage) -> tuple[OutboxMessage, ...]:
        """The messages for one record, none when the destination does not want it.

        Pure; called on any thread, connected or not.
        """
        ...

    def publish(self, messages: Sequence[OutboxMessage]) -> int:
        """Returns how many of them, from the first on, the destination has acknowledged; 0 = none of them is due yet.

        OutputError: all stay in the outbox.
        """
        ...

    def announce(self, state: str, state_no: int, recipe: str) -> None:
        """Publish the station's state, retained."""
        ...

    def metrics(self, values: dict[str, float]) -> None:
        """Publish counters and percentiles; may be lost."""
        ...

    def idle(self, timeout_s: float) -> None:
        """Keep the connection alive for a while with nothing to send. OutputError when it is lost."""
        ...


@dataclass(frozen=True)
class Order:
    """What somebody who is no PLC wants of the station; `who` answers for it: a user of the machine, a token, a broker.

    The names and their arguments: station/orders.py.
    """

    name: str
    who: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OrderAnswer:
    """Whether the order was carried out; `text` says why not. `facts` is what was asked for, as JSON has it."""

    done: bool
    text: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class TakesOrders(Protocol):
    """A publisher whose destination may also order something; both are called on the publisher's thread."""

    def orders(self) -> Sequence[tuple[object, Order]]:
        """What came in since the last call, each with a token for its answer."""
        ...

    def answer(self, token: object, answer: OrderAnswer) -> None:
        """OutputError when the destination is lost."""
        ...


class PictureKeeper(Protocol):
    """Keeps pictures of parts for later. Nothing here waits for a disk; any thread."""

    def offer(self, picture: Picture, frame: Frame) -> None:
        """A picture that may be worth keeping: it takes a lease on the frame if there is room, and counts if not."""
        ...

    def belongs(self, picture: Picture, seq: int) -> None:
        """The picture is that of part `seq`; before or after it is settled, before or after `offer`."""
        ...

    def nobody(self, picture: Picture) -> None:
        """The picture is no part's."""
        ...

    def settled(self, result: InspectionResult) -> None:
        """The verdict: now it is known whether the part's pictures are kept."""
        ...


@dataclass(frozen=True)
class OutboxStanding:
    """How many messages wait for a destination, since when, and how many it will never get."""

    waiting: int
    oldest_utc: str | None
    """RFC 3339; when the oldest of them was booked. None = nothing waits."""
    dropped: int
    """Given up because the outbox had outgrown its limit."""
    refused: int
    """Given up because the destination never takes them."""


class Outbox(Protocol):
    """What has not been acknowledged yet, oldest first; one thread for each destination."""

    def pending(self, destination: str, limit: int, without: Collection[str] = ()) -> list[OutboxMessage]:
        """The oldest that were not handed out yet, leaving out the topics `without`, which are passed over for now."""
        ...

    def rewind(self, destination: str) -> None:
        """Hand out again what was passed over."""
        ...

    def delivered(self, destination: str, rows: Sequence[int]) -> None:
        """The destination has them: the first of those that were handed out."""
        ...

    def give_up(self, destination: str, row: int, why: str) -> None:
        """The destination will never take the first of those that were handed out."""
        ...

    def standing(self, destination: str) -> OutboxStanding: ...


# --- Power -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PowerMode:
    """One of the board's own, as its table numbers and names it, such as 0 MAXN or 2 15W."""

    number: int
    name: str


@dataclass(frozen=True)
class PowerState:
    """What the board says of itself; None = it does not say. Degrees Celsius, watts, 0..1.

    `throttled` says in words what holds the board down, empty = nothing does. `rails_w` are the power rails by name,
    `temperatures_c` the thermal zones.
    """

    mode: PowerMode | None = None
    clocks_locked: bool | None = None
    throttled: str = ""
    gpu_load: float | None = None
    total_w: float | None = None
    rails_w: Mapping[str, float] = field(default_factory=dict)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)


class PowerControl(Protocol):
    """A board's power modes and sensors. Blocking, each call within its own time-out; used on one thread at a time."""

    modes: Sequence[PowerMode]
    """The board's own table, from the least to the most power where that is known; empty = it has none."""

    def state(self) -> PowerState:
        """What can be read is there, what cannot is None; stale values count as unknown. Never raises."""
        ...

    def set_mode(self, mode: PowerMode) -> None:
        """Returns when the board says that it is in this mode; its clocks are unlocked meanwhile.

        RebootNeededError: nothing was changed. PowerError: refused, timed out, or the board is in another mode.
        """
        ...

    def set_clocks(self, locked: bool) -> None:
        """Hold the clocks at the mode's maximum, or let them follow the load. PowerError as `set_mode`."""
        ...


class Progress(Protocol):
    """The book that each loop of the verdict path signs; it gates heartbeat and watchdog."""

    def sign(self, loop: Literal["line", "gpu", "plc"] | str) -> None: ...
    def rest(self, loop: Literal["line", "gpu", "plc"] | str) -> None:
        """Expect nothing of the loop until it signs again: it does something for which nobody waits."""
        ...
