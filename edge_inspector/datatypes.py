"""The frozen records that cross a border between two steps."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Color = Literal["gray", "rgb", "bgr"]
PixelFormat = Literal[
    "Mono8", "Mono12", "BGR8", "RGB8",
    "BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8", "BayerRG12", "BayerGB12", "BayerGR12", "BayerBG12",
]  # fmt: skip
"""GenICam's names. The 12-bit ones come unpacked: 16 bits, of which the upper four are empty."""
TriggerMode = Literal["software", "line", "free"]
"""Who makes a camera expose: the station, an input of the camera, or nobody (as fast as it can)."""
Homography: TypeAlias = tuple[float, float, float, float, float, float, float, float, float]
"""3x3, row by row."""
FeatureValue: TypeAlias = bool | int | float | str
"""What a GenICam feature is set to: Boolean, Integer, Float, Enumeration or String."""
Floats = npt.NDArray[np.float32]
Precision = Literal["fp32", "fp16", "int8"]
"""What an engine computes in; int8 means int8 convolutions with the rest in fp16 where the device has it."""


class Evaluation(enum.IntEnum):
    """Names and values of OPC 40001-101. The numbers are no order: see `SEVERITY`."""

    UNDEFINED = 0
    OK = 1
    NOT_OK = 2
    NOT_DECIDABLE = 3


SEVERITY = (Evaluation.OK, Evaluation.NOT_DECIDABLE, Evaluation.UNDEFINED, Evaluation.NOT_OK)
"""From harmless to worst; several views are worth the worst of them."""


class Mode(enum.IntEnum):
    """Why a part is inspected; only PRODUCTION can be an OK on a PLC output."""

    PRODUCTION = 1
    GOLDEN = 2
    SIMULATION = 3
    SETUP = 4
    MANUAL = 5


class Reason(enum.IntEnum):
    """Why a trigger was refused or a result is what it is; the value is the number that the PLC reads.

    A defect is DEFECT + its class index: see `InspectionResult.reason_no`.
    """

    NONE = 0
    DEADLINE = 1
    OVERLOAD = 2
    NO_FRAME = 3
    CAMERA = 4
    RESTART = 5
    INFERENCE = 6
    BAD_FRAME = 7
    SHUTDOWN = 8
    NOT_READY = 9
    PLC_LINK = 10
    WRONG_MASTER = 11
    PLC_RESTART = 12
    RECIPE = 13
    STORAGE = 14
    MISSED = 15
    UNANNOUNCED = 16
    BUFFER_OVERRUN = 17
    ABORTED = 18
    MISSING_VIEW = 19
    STOPPING = 20
    NOT_DECIDABLE = 21
    COUNT = 22
    GOLDEN = 23
    MACHINE = 24
    DEFECT = 1000


ERROR_CODE: Mapping[Reason, int] = {
    Reason.CAMERA: 101,
    Reason.NO_FRAME: 102,
    Reason.UNANNOUNCED: 103,
    Reason.INFERENCE: 201,
    Reason.RECIPE: 301,
    Reason.GOLDEN: 302,
    Reason.PLC_LINK: 401,
    Reason.BUFFER_OVERRUN: 402,
    Reason.STORAGE: 501,
    Reason.MACHINE: 601,
}
"""Status.ErrorCode while the reason keeps the station from being READY.

1xx camera, 2xx engine, 3xx recipe, 4xx link, 5xx storage, 6xx machine.
"""


@dataclass(frozen=True)
class Identity:
    """Who is speaking: the station's name, this start of it (random, 1..2^32-1), the software version."""

    station: str
    boot_id: int
    software_version: str


class Lease(Protocol):
    """A counted hold on a frame buffer; the buffer is reused when the last holder has released it."""

    def retain(self) -> None: ...
    def retain_if_free(self, slots: int) -> bool:
        """Retain, but only while at least so many other buffers are free: for those who can do without."""
        ...

    def release(self) -> None: ...


@dataclass(frozen=True)
class Frame:
    """One picture as the camera delivered it: HxW or HxWx3, uint8 or uint16, distorted camera pixels.

    `frame_id` is the camera's own block id (gaps show lost frames), `camera_ticks` its clock; `arrival_ns` is
    CLOCK_MONOTONIC. `line_edges` is how many edges its trigger input had seen, None = it does not count them.
    """

    camera: str
    frame_id: int
    camera_ticks: int
    arrival_ns: int
    pixels: npt.NDArray[Any]
    pixel_format: PixelFormat
    lease: Lease | None = None
    line_edges: int | None = None

    @property
    def hw(self) -> tuple[int, int]:
        return (int(self.pixels.shape[0]), int(self.pixels.shape[1]))

    def release(self) -> None:
        """Give the buffer back; the pixels must not be read afterwards."""
        if self.lease is not None:
            self.lease.release()


@dataclass(frozen=True)
class Picture:
    """The name of one exposure: the camera and the number of the picture on its thread."""

    camera: str
    number: int


@dataclass(frozen=True)
class CameraStatistics:
    """What one camera has done since it was made. The last five stay 0 where the driver cannot tell."""

    frames: int = 0
    failed_buffers: int = 0
    dropped_no_slot: int = 0
    discarded_late: int = 0
    buffer_underruns: int = 0
    packets: int = 0
    packets_failed: int = 0
    packets_resent: int = 0
    missed_frames: int = 0

    def __add__(self, other: CameraStatistics) -> CameraStatistics:
        """Both together: one camera, opened twice."""
        return CameraStatistics(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Roi:
    """A rectangle in undistorted full-image pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Calibration:
    """Camera and lens; `matrix` is fx, fy, cx, cy in pixels of an `image_hw` picture.

    `distortion` is OpenCV's: k1 k2 p1 p2 [k3 [k4 k5 k6]] of a pinhole, k1 k2 k3 k4 of a fisheye lens. `serial` is the
    camera's, empty = not written down. `plane` takes undistorted pixels to mm on the inspection plane.
    """

    image_hw: tuple[int, int]
    matrix: tuple[float, float, float, float]
    distortion: tuple[float, ...]
    lens: Literal["pinhole", "fisheye"] = "pinhole"
    serial: str = ""
    plane: Homography | None = None


@dataclass(frozen=True)
class InputSpec:
    """What a model wants to see: (value8 * scale - mean) / std per channel, letterboxed with `pad_value` (8-bit)."""

    height_px: int
    width_px: int
    color: Color
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad_value: int

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3


@dataclass(frozen=True)
class Tiling:
    """A view is looked at in overlapping tiles; all in undistorted full-image pixels.

    `overlap_px` is what neighbours share at the least: a defect up to that size is whole in one of them.
    """

    width_px: int
    height_px: int
    overlap_px: int


@dataclass(frozen=True)
class PreparePlan:
    """All that turns a frame into a model's input, known before the first frame; hashable and picklable."""

    input: InputSpec
    roi: Roi | None = None
    calibration: Calibration | None = None
    tiling: Tiling | None = None


@dataclass(frozen=True)
class Letterbox:
    """input px = undistorted px * scale + offset; `undo` is the way back."""

    scale: float
    offset_x: float
    offset_y: float

    def undo(self, xyxy: Floats) -> Floats:
        """(n,4) boxes in model-input pixels -> (n,4) boxes in undistorted full-image pixels."""
        offset = np.array([self.offset_x, self.offset_y, self.offset_x, self.offset_y], np.float32)
        undone: Floats = ((xyxy - offset) / np.float32(self.scale)).astype(np.float32)
        return undone

    def apply(self, xyxy: Floats) -> Floats:
        """(n,4) boxes in undistorted full-image pixels -> (n,4) boxes in model-input pixels."""
        offset = np.array([self.offset_x, self.offset_y, self.offset_x, self.offset_y], np.float32)
        there: Floats = (xyxy * np.float32(self.scale) + offset).astype(np.float32)
        return there


@dataclass(frozen=True)
class Batch:
    """One view ready for a model: `pixels` (n,C,H,W) float32, one `Letterbox` for each of the n tiles.

    `bounds` is the undistorted picture or its ROI, to which boxes are clipped; `windows` is each tile's part of it.
    """

    pixels: Floats
    tiles: tuple[Letterbox, ...]
    bounds: Roi
    windows: tuple[Roi, ...]

    def __post_init__(self) -> None:
        n = len(self.tiles)
        if self.pixels.ndim != 4 or self.pixels.shape[0] != n or len(self.windows) != n:
            shapes = f"{self.pixels.shape} with {len(self.windows)} windows"
            raise ValueError(f"Batch.pixels has shape {shapes}, expected ({n}, C, H, W) with {n} windows")


@dataclass(frozen=True)
class RawView:
    """One view that its backend prepares on the device: the camera's pixels, no lease on them, and as in `Batch`."""

    frame: Frame
    plan: PreparePlan
    tiles: tuple[Letterbox, ...]
    bounds: Roi
    windows: tuple[Roi, ...]


@dataclass(frozen=True)
class Tensors:
    """A model's raw outputs by name; the first axis is the tile."""

    by_name: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Region:
    """What a model saw inside a box: `outline` (k,2) float32, k >= 3, a closed polygon around its largest part.

    `area_px` counts all its parts without their holes. Both in the frame of the box: undistorted full-image pixels.
    """

    outline: Floats
    area_px: float


@dataclass(frozen=True)
class Detections:
    """A struct of arrays: `xyxy` (n,4) float32 in undistorted full-image pixels.

    `confidence` (n,) float32 0..1, `class_id` (n,) int64. `candidate` (n,) int64 is which row of the raw output each
    comes from, for decoders that look there again; `regions` are its outlines. Both None = the family has none.
    """

    xyxy: Floats
    confidence: Floats
    class_id: npt.NDArray[np.int64]
    candidate: npt.NDArray[np.int64] | None = None
    regions: tuple[Region, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.confidence)
        if self.xyxy.shape != (n, 4) or self.confidence.shape != (n,) or self.class_id.shape != (n,):
            shapes = f"{self.xyxy.shape}, {self.confidence.shape}, {self.class_id.shape}"
            raise ValueError(f"Detections of {shapes}, expected (n,4), (n,), (n,)")
        for name, one in (("candidate", self.candidate), ("regions", self.regions)):
            if one is not None and len(one) != n:
                raise ValueError(f"Detections.{name} has {len(one)} rows, expected {n}")

    def __len__(self) -> int:
        return len(self.confidence)

    @staticmethod
    def none() -> Detections:
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def pick(self, index: npt.NDArray[Any]) -> Detections:
        """The rows that `index` (a mask or integers) selects, in its order."""
        rows = np.arange(len(self))[index]
        return Detections(
            self.xyxy[rows],
            self.confidence[rows],
            self.class_id[rows],
            None if self.candidate is None else self.candidate[rows],
            None if self.regions is None else tuple(self.regions[i] for i in rows),
        )


@dataclass(frozen=True)
class Classification:
    """What the whole view shows: `scores` (classes,) float32, each 0..1."""

    scores: Floats

    def __post_init__(self) -> None:
        if self.scores.ndim != 1:
            raise ValueError(f"Classification.scores has shape {self.scores.shape}, expected (classes,)")


@dataclass(frozen=True)
class Measurement:
    """Numbers that a model reads off the whole view, in the order of the bundle's classes and their units."""

    values: tuple[float, ...]


Findings: TypeAlias = Detections | Classification | Measurement
"""What a model says of one view; which of them, its task decides."""


@dataclass(frozen=True)
class Limits:
    """Between which numbers, themselves included, a measured value is good; `unit` is for people."""

    low: float
    high: float
    unit: str = ""


Measure = Literal["length_px", "width_px", "area_px2", "length_mm", "width_mm", "area_mm2"]
"""What of a finding a rule looks at."""
Trapezoid: TypeAlias = tuple[float, float, float, float, float, float]
"""Between y = `top` and `bottom`: top, bottom, left x at both, right x at both."""


@dataclass(frozen=True)
class Zone:
    """A part of one camera's picture: its area in trapezoids that do not overlap, undistorted full-image pixels.

    Edges of pixels are whole numbers, as boxes have them. A zone `outside` is all that the named one is not. Over its
    `window` x1, y1, x2, y2 lies a grid, whose `cells` say, row by row, how much of each is in the zone; whether all
    that is outside of the window is in the zone, `beyond` says. See `stages.zones`, which makes it.
    """

    name: str
    camera: str
    trapezoids: tuple[Trapezoid, ...]
    outside: bool
    window: tuple[float, float, float, float]
    cells: bytes
    beyond: bool

    @cached_property
    def columns(self) -> npt.NDArray[np.float64]:
        """(6, n): the trapezoids, ready for arithmetic."""
        columns: npt.NDArray[np.float64] = np.array(self.trapezoids, np.float64).reshape(-1, 6).T
        return columns


@dataclass(frozen=True)
class Place:
    """Where a rule looks: at the pictures of `cameras`, and where there are zones only in them."""

    cameras: tuple[str, ...]
    zones: tuple[Zone, ...] = ()


@dataclass(frozen=True)
class DefectRule:
    """Findings that make a part bad; no name = what holds where no rule of the recipe speaks of a class.

    A finding counts when it is larger than each of `larger_than`; so many, and so large together, must be in one
    picture, or `together` in all, and that in so many views. In
    doubt are findings that miss a threshold by `grey_score`, or a size by the share `grey_size` of it.
    """

    name: str
    classes: frozenset[int]
    place: Place
    larger_than: tuple[tuple[Measure, float], ...] = ()
    total_larger_than: tuple[tuple[Measure, float], ...] = ()
    at_least: int = 1
    together: bool = False
    in_views: int = 1
    grey_score: float = 0.0
    grey_size: float = 0.0


@dataclass(frozen=True)
class PresenceRule:
    """How many there must be in each picture, the limits themselves included."""

    name: str
    classes: frozenset[int]
    place: Place
    least: int
    most: float
    grey_score: float = 0.0


@dataclass(frozen=True)
class MeasureRule:
    """The limits of one value; nearer to them than `grey` it is in doubt."""

    name: str
    value: int
    place: Place
    limits: Limits
    grey: float = 0.0


@dataclass(frozen=True)
class ClassifyRule:
    """Which classes of a view are good, and by how much the best of them must lead the rest."""

    name: str
    good: frozenset[int]
    place: Place
    margin: float = 0.0


@dataclass(frozen=True)
class TolerateRule:
    """Findings that are no defect; its zones are the outsides of those in which they must lie wholly."""

    name: str
    classes: frozenset[int]
    place: Place


Rule: TypeAlias = DefectRule | PresenceRule | MeasureRule | ClassifyRule | TolerateRule
"""A rule of a recipe, ready to judge by: classes are indices."""


@dataclass(frozen=True)
class Criteria:
    """What a bundle says of its classes: their names, those that are no defect, and the limits of measured values.

    `limits` has one entry for each class where the model measures, and none otherwise. `rules` are the recipe's, and
    what holds where they say nothing; without any the bundle's word is all. `stand_ins`: a finding without an area
    only stands for its view, as those of anomaly maps do.
    """

    classes: tuple[str, ...]
    good: frozenset[int] = frozenset()
    limits: tuple[Limits, ...] = ()
    rules: tuple[Rule, ...] = ()
    stand_ins: bool = False


@dataclass(frozen=True)
class MeasuredView:
    """What one camera saw of one part; `failure` says why it could not be measured (then `findings` is empty).

    `bounds` is the part of the undistorted picture that was looked at. `plane` takes its pixels to mm, where the
    camera's calibration has an inspection plane.
    """

    camera: str
    findings: Findings
    bounds: Roi
    failure: Reason | None = None
    failure_text: str = ""
    frame_id: int = -1
    stage_ns: Mapping[str, int] = field(default_factory=dict)
    plane: Homography | None = None


@dataclass(frozen=True)
class ThresholdState:
    """The confidence from which a detection counts, per class index; a snapshot is stamped into each result."""

    by_class: tuple[float, ...]
    policy: str = "fixed"
    """Who made them: the name of a policy, as `[recipes.X.adaptive]` has it."""


@dataclass(frozen=True)
class Defect:
    """One finding that counted: `box` is x, y, width, height in undistorted full-image pixels.

    `size_mm` is its width and height on the inspection plane, None = the camera's calibration has no plane.
    """

    class_name: str
    class_id: int
    score: float
    box: tuple[float, float, float, float]
    camera: str
    size_mm: tuple[float, float] | None = None


@dataclass(frozen=True)
class Judgement:
    """The recipe's word on all views of one part."""

    evaluation: Evaluation
    reason: Reason
    reason_text: str
    defects: tuple[Defect, ...] = ()
    views_judged: int = 0
    margin: float | None = None
    rule: str = ""
    peaks: tuple[float, ...] = ()
    """All three as in `InspectionResult`."""


@dataclass(frozen=True)
class Trigger:
    """An accepted trigger: one part in front of the cameras. Times are CLOCK_MONOTONIC ns.

    `seq` is the book's own number (the last part of result_id); `trigger_seq` is the PLC's number, or ours in line and
    timer mode.
    """

    seq: int
    result_id: str
    trigger_seq: int
    part_id: str
    attempt: int
    mode: Mode
    recipe: str
    recipe_no: int
    boot_id: int
    plc_boot_id: int
    accepted_ns: int
    deadline_ns: int
    wall_utc: str
    clock_synced: bool


@dataclass(frozen=True)
class Refusal:
    """A trigger that was not accepted, and why; `count` > 1 stands for a run of skipped sequence numbers."""

    trigger_seq: int
    part_id: str
    reason: Reason
    wall_utc: str
    boot_id: int
    count: int = 1


@dataclass(frozen=True)
class InspectionResult:
    """The one verdict on one accepted trigger."""

    trigger: Trigger
    evaluation: Evaluation
    reason: Reason
    reason_text: str
    defects: tuple[Defect, ...]
    views: tuple[str, ...]
    views_judged: int
    thresholds: tuple[float, ...]
    model_hash: str
    settled_ns: int
    stage_ns: Mapping[str, int]
    frame_ids: tuple[int, ...] = ()
    """The camera's own number of the picture of each of `views`; -1 = there was none."""
    margin: float | None = None
    """How near it was: the smallest distance of a score from its class's threshold, None = nothing had a score."""
    rule: str = ""
    """The recipe's rule that decided; empty = none of them: nothing spoke against the part, or `reason` says what."""
    peaks: tuple[float, ...] = ()
    """The highest threshold of each class at which its rules would still reject, 0 = none would; from this thresholds
    learn. That is the highest score seen where they look; for "3 or more" it is the third highest."""
    policy: str = "fixed"
    """Which policy made the thresholds."""

    @property
    def result_id(self) -> str:
        return self.trigger.result_id

    @property
    def views_expected(self) -> int:
        return len(self.views)

    @property
    def reason_no(self) -> int:
        """The PLC's number for the reason; a defect is 1000 + the class index of the first one."""
        if self.reason is Reason.DEFECT and self.defects:
            return int(Reason.DEFECT) + self.defects[0].class_id
        return int(self.reason)

    @property
    def max_score(self) -> float:
        return max((d.score for d in self.defects), default=0.0)

    @property
    def cycle_ms(self) -> float:
        """From the trigger to the verdict, in milliseconds."""
        return (self.settled_ns - self.trigger.accepted_ns) / 1e6


@dataclass(frozen=True)
class Event:
    """Something a person or the broker should know: not a part."""

    severity: Literal["info", "warning", "alarm"]
    code: str
    text: str
    wall_utc: str
    parts: tuple[str, ...] = ()
    """The result_ids of the parts that caused it."""


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to the station, or saw what: `what` is a short word in snake_case, `detail` says it to people."""

    wall_utc: str
    clock_synced: bool
    who: str
    what: str
    detail: str


ImageKind = Literal["original", "overlay"]


@dataclass(frozen=True)
class SavedImage:
    """One picture of a part on the disk: the camera's own pixels (original), or a drawing for people (overlay).

    `path` is relative to the image folder, with `/`; `sha256` is that of the file's bytes; `why` names the policies
    that kept it. `every_nth` is of how many such parts one is kept, 1 = all of them.
    """

    seq: int
    result_id: str
    camera: str
    kind: ImageKind
    why: tuple[str, ...]
    path: str
    sha256: str
    size_bytes: int
    lossless: bool
    pixel_format: PixelFormat
    image_hw: tuple[int, int]
    frame_id: int
    wall_utc: str
    clock_synced: bool
    every_nth: int = 1


@dataclass(frozen=True)
class OutboxMessage:
    """One message for one destination, kept in the ledger until the destination has acknowledged it."""

    destination: str
    topic: str
    schema: str
    payload: bytes
    seq: int
    retain: bool = False
    row: int = 0
