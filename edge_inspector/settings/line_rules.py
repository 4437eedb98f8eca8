"""Rules over many parts: when the line should stop, when somebody should come, when somebody should look soon."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from edge_inspector.settings.base import Name, Settings


class ConsecutiveRule(Settings):
    """So many parts in a row with the same defect."""

    kind: Literal["consecutive"]
    name: Name = Field(description="By which the event names the rule.")
    parts: int = Field(ge=2, le=1000, description="How many in a row.")


AnyLineRule: TypeAlias = Annotated[ConsecutiveRule, Field(discriminator="kind")]
