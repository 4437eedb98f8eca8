"""How the thresholds of a recipe follow the line."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_inspector.settings.base import Settings

Policy = Literal["fixed", "percentile", "guarded", "tail"]


class AdaptiveSettings(Settings):
    """Which policy decides, and which one is only watched."""

    policy: Policy = Field(
        "fixed",
        description="Which policy judges: fixed, guarded, tail, or percentile (the plain rolling rule, unsafe).",
    )
    shadow: Policy = Field(
        "guarded", description="Which policy runs beside it and only proposes: shown on the page, by MQTT and CLI."
    )
