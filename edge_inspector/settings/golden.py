"""Master parts and reference pictures by which a station shows that it still sees."""

from __future__ import annotations

from pydantic import Field

from edge_inspector.settings.base import Settings


class GoldenSettings(Settings):
    """When known parts must be judged rightly before production goes on."""

    every_parts: int | None = Field(None, ge=1, description="After so many production parts; None: not by number.")


class HealthSettings(Settings):
    """How far a camera's pictures may be from the reference picture."""
