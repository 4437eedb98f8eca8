"""Which announced part a camera's picture belongs to: block id, arrival window and edge counter. A pure state machine.

Doubt is never resolved by guessing: any picture too many, too few, too early or too late puts the camera out of step,
and it is in step again only after a quiet time, or after one refused announcement that brought exactly one picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from edge_inspector.datatypes import Reason


@dataclass(frozen=True)
class Seen:
    """One picture, whole or damaged; `frame_id` and `line_edges` as in `Frame`, None = not known."""

    frame_id: int | None
    line_edges: int | None
    arrival_ns: int


@dataclass(frozen=True)
class Window:
    """When the picture of an announced part may arrive, CLOCK_MONOTONIC ns, both ends included.

    `seq` None: the announcement was refused; its picture is still expected, and belongs to nobody. `overtaken`: another
    part was refused meanwhile, whose picture may come after this window.
    """

    seq: int | None
    opens_ns: int
    closes_ns: int
    pictures: int = 0
    overtaken: bool = False


@dataclass(frozen=True)
class Match:
    """The picture is that of part `seq`."""

    seq: int


@dataclass(frozen=True)
class Spare:
    """The picture is that of a part whose announcement was refused."""


@dataclass(frozen=True)
class Doubt:
    """Nobody can say any more which picture is whose: every open part of this camera becomes UNDEFINED."""

    reason: Reason
    text: str


Outcome: TypeAlias = Match | Spare | Doubt


@dataclass(frozen=True)
class Matcher:
    """One camera. Every method returns the next state; time comes in as an argument.

    `doubt` says why the camera is out of step, empty = it is in step; `quiet_since_ns` is when it was last disturbed.
    """

    camera: str
    window: Window | None = None
    last: Seen | None = None
    doubt: str = ""
    quiet_since_ns: int = 0

    @property
    def free(self) -> bool:
        """Whether a part may be announced to it."""
        return self.window is None and not self.doubt

    def reopened(self, now_ns: int) -> Matcher:
        """The camera counts anew; a part that was announced to its predecessor may still pass."""
        return Matcher(self.camera, doubt="was opened and waits for a quiet moment", quiet_since_ns=now_ns)

    def announced(self, window: Window) -> Matcher:
        """A part is announced. One that is refused while a window is open has none: its picture, then or later, is one
        too many, and the camera is not free before that can have come."""
        if window.seq is not None and not self.free:
            raise ValueError(f"part {window.seq} announced to camera {self.camera}, which is not free")
        return replace(self, window=window if self.window is None else replace(self.window, overtaken=True))

    def skipped(self, now_ns: int) -> Matcher:
        """Parts have not been announced at all, and may pass now or later."""
        if self.window is not None:
            return replace(self, window=replace(self.window, overtaken=True))
        return replace(self, doubt="the PLC has skipped parts, which may pass now", quiet_since_ns=now_ns)

    def seen(self, picture: Seen) -> tuple[Matcher, Outcome]:
        """A picture has arrived."""
        window = self.window
        wrong = _out_of_order(self.last, picture) or _out_of_place(window, picture)
        if wrong or window is None:
            me = replace(self, last=picture, window=None, doubt=wrong, quiet_since_ns=picture.arrival_ns)
            return me, Doubt(Reason.UNANNOUNCED, f"camera {self.camera}: {wrong}")
        me = replace(self, last=picture, window=replace(window, pictures=1))
        return me, Spare() if window.seq is None else Match(window.seq)

    def closed(self, seq: int | None, now_ns: int) -> tuple[Matcher, Match | Doubt | None]:
        """The window of `seq` has ended. Match: it had exactly its picture; None: there is nothing to be said."""
        window = self.window
        if window is None or window.seq != seq or now_ns < window.closes_ns:
            return self, None
        if window.pictures:
            doubt = "" if seq is None else self.doubt
            me = replace(self, window=None, doubt=doubt)
            if window.overtaken:
                wrong = "a part was refused while the one before it was looked at, and its picture may still come"
                me = replace(me, doubt=wrong, quiet_since_ns=now_ns)
            return me, None if seq is None else Match(seq)
        wrong = "an announced part brought no picture"
        me = replace(self, window=None, doubt=wrong, quiet_since_ns=now_ns)
        return me, None if seq is None else Doubt(Reason.NO_FRAME, f"camera {self.camera}: {wrong}")

    def ticked(self, now_ns: int, quiet_ns: int) -> Matcher:
        """Time has passed: what was not disturbed for `quiet_ns` is in step again."""
        quiet = self.window is None and now_ns - self.quiet_since_ns >= quiet_ns
        return replace(self, doubt="") if self.doubt and quiet else self


def _out_of_order(last: Seen | None, picture: Seen) -> str:
    """What the camera's own counters say against this picture, empty = nothing."""
    if last is None or last.frame_id is None or picture.frame_id is None:
        return ""
    step = picture.frame_id - last.frame_id
    if step < 1:
        return f"picture {picture.frame_id} came after picture {last.frame_id}"
    if step > 1:
        return f"{step - 1} pictures before number {picture.frame_id} are lost"
    if last.line_edges is None or picture.line_edges is None:
        return ""
    edges = picture.line_edges - last.line_edges
    return "" if edges == 1 else f"its trigger input saw {edges} edges for one picture"


def _out_of_place(window: Window | None, picture: Seen) -> str:
    """What the announcements say against this picture, empty = nothing."""
    if window is None:
        return "a picture that nobody announced"
    if window.pictures:
        return "a second picture for one announced part"
    if picture.arrival_ns < window.opens_ns:
        return f"a picture {(window.opens_ns - picture.arrival_ns) / 1e6:.1f} ms before its window"
    if picture.arrival_ns > window.closes_ns:
        return f"a picture {(picture.arrival_ns - window.closes_ns) / 1e6:.1f} ms after its window"
    return ""
