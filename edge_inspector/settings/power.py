"""In which power mode a board runs, and who decides it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, StringConstraints, model_validator

from edge_inspector.settings.base import LocalPath, Settings

ModeName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = len(DAYS) * DAY_MINUTES


class _Policy(Settings):
    """`kind` is narrowed to its own name by each."""

    kind: str
    pause_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="A change that can wait is made when no part came for so long: it costs a second or two without"
        " READY. 0: between any two parts.",
    )


class FixedPolicy(_Policy):
    """One mode for everything."""

    kind: Literal["fixed"]
    mode: ModeName = Field(description="A mode of the board by its name: `edge-inspector power show` lists them.")


class TaktPolicy(_Policy):
    """The mode with the least power that keeps each recipe's deadline; `edge-inspector power tune` measures them."""

    kind: Literal["takt"]
    modes: tuple[ModeName, ...] = Field((), max_length=32, description="Modes that may be used; empty: all of them.")
    margin: float = Field(
        0.2, ge=0, lt=1, description="Share of a part's time that must be left over by the slowest of 100 parts."
    )
    calm_s: float = Field(
        600.0,
        ge=1,
        le=86_400,
        description="So long without a missed deadline before one step down; a mode that has missed one is left alone"
        " for as long, and twice as long each time.",
    )


def minute_of(time: str) -> int:
    """Minutes since midnight of hh:mm."""
    return int(time[:2]) * 60 + int(time[3:])


class PowerShift(Settings):
    """A time of the week with a mode of its own."""

    days: tuple[Day, ...] = Field(DAYS, min_length=1, max_length=7, description="The days on which it begins.")
    begin: TimeOfDay = Field(description="The machine's local time: hh:mm.")
    end: TimeOfDay = Field(description="The same; not later than begin: on the next day.")
    mode: ModeName = Field(description="A mode of the board by its name.")

    def spans(self) -> list[tuple[int, int]]:
        """Begin and end in minutes of the week; an end beyond it lies in the next one."""
        begin, end = minute_of(self.begin), minute_of(self.end)
        length = (end - begin - 1) % DAY_MINUTES + 1
        return [(start, start + length) for day in self.days for start in (DAYS.index(day) * DAY_MINUTES + begin,)]


class SchedulePolicy(_Policy):
    """A mode for each shift. While nobody knows what time it is, the one of them with the most power."""

    kind: Literal["schedule"]
    shifts: tuple[PowerShift, ...] = Field(min_length=1, max_length=32, description="Each with its mode.")
    otherwise: ModeName = Field(description="The mode between the shifts.")

    @model_validator(mode="after")
    def _one_at_a_time(self) -> SchedulePolicy:
        spans = sorted(
            ((begin, end, shift) for shift in self.shifts for begin, end in shift.spans()), key=lambda one: one[:2]
        )
        following = [*spans[1:], (spans[0][0] + WEEK_MINUTES, 0, spans[0][2])]
        for (_, end, shift), (begin, _, other) in zip(spans, following, strict=True):
            if begin < end:
                raise ValueError(
                    f"the shift {shift.begin}-{shift.end} ({', '.join(shift.days)}) is not over when the shift "
                    f"{other.begin}-{other.end} ({', '.join(other.days)}) begins; expected one shift at a time"
                )
        return self


PowerPolicy: TypeAlias = Annotated[FixedPolicy | TaktPolicy | SchedulePolicy, Field(discriminator="kind")]


def _root() -> Any:
    """Text, as in the file: the default is checked like what is written there."""
    return "/"


class PowerSettings(Settings):
    """The board's power modes. Without this table the station only reads them."""

    through: Literal["auto", "jtop", "helper", "root", "none"] = Field(
        "auto",
        description="Who changes the mode: jtop's service, edge-inspector's own root helper, this process as root, or"
        " nobody; auto: the first that is there.",
    )
    root: LocalPath = Field(
        default_factory=_root,
        description="Where the board's /sys, /etc and /run are; a container may have them elsewhere. Default: /.",
    )
    timeout_s: float = Field(30.0, ge=1, le=300, description="How long the board may take for a change.")
    lock_clocks: bool = Field(
        False, description="Hold the clocks at the mode's highest (jetson_clocks) at the start and after each change."
    )
    policy: PowerPolicy | None = Field(None, description="Who decides the mode; None: it stays as it is.")
