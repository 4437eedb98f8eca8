"""How long and how safely the ledger keeps what happened."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from edge_inspector.settings import Settings


def _each_once(times: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({one for one in times if times.count(one) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is there twice; give each time once")
    return times


TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class LedgerSettings(Settings):
    """The book of triggers, results and events, and the outbox in it."""

    synchronous: Literal["full", "normal"] = Field(
        "full", description="full: a booked result survives a power cut; normal: the last second may be lost."
    )
    keep_days: int | None = Field(
        None, ge=1, le=36500, description="Results older than this are removed; their sums stay. None: kept for ever."
    )
    max_mb: int | None = Field(
        None, ge=10, description="The oldest results are removed when the book is larger than this; None: no limit."
    )
    outbox_max_mb: int = Field(
        2000,
        ge=1,
        description="Most that may wait for brokers that are away; beyond, the oldest good parts are dropped.",
    )
    shifts: Annotated[tuple[TimeOfDay, ...], AfterValidator(_each_once)] = Field(
        ("06:00", "14:00", "22:00"),
        min_length=1,
        description="When shifts begin, in the machine's local time: hh:mm, each once.",
    )
