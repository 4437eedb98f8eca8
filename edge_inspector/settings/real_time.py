"""What the operating system may do so that a busy machine delays no verdict; nothing of it is on by default."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edge_inspector.settings.base import Settings


class RealTimeSettings(Settings):
    """Rights for it: the drop-in real-time.conf. Figures, and when it is worth it: docs/how-to/real-time.md."""

    priority: int | None = Field(
        None,
        ge=2,
        le=49,
        description="SCHED_FIFO priority of the thread that talks to the PLC; those of cameras and model have one less."
        " 49 is below the kernel's own threads. None: as everybody else.",
    )
    cores: tuple[Annotated[int, Field(ge=0, le=1023)], ...] = Field(
        (), max_length=64, description="Processor cores that these threads stay on; none: all of them."
    )
