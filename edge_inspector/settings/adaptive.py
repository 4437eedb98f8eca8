"""How the thresholds of a recipe follow the line."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_inspector.settings.base import Settings

Policy = Literal["fixed", "percentile", "guarded", "tail"]


class AdaptiveSettings(Settings):
    """Which policy decides, and which one is only watched; the numbers are those of `guarded` and `tail`."""

    policy: Policy = Field(
        "fixed",
        description="Which policy judges: fixed, guarded, tail, or percentile (the plain rolling rule, unsafe).",
    )
    shadow: Policy = Field(
        "guarded", description="Which policy runs beside it and only proposes: shown on the page, by MQTT and CLI."
    )
    target_per_thousand: float = Field(
        5.0,
        gt=0,
        le=100,
        description="How many of 1000 good parts may be rejected by their scores; shared out evenly among the classes.",
    )
    window: int = Field(300, ge=100, le=2000, description="How many of the last good parts are learnt from.")
    least: int = Field(60, ge=20, le=1000, description="With fewer good parts than this nothing moves.")
    loosen_per_100: float = Field(
        0.5, gt=0, le=1, description="By how much a threshold may rise over 100 parts, as a confidence."
    )
    tighten_per_100: float = Field(
        0.1, gt=0, le=1, description="By how much a threshold may fall over 100 parts, as a confidence."
    )
    lean_parts: int = Field(
        100,
        ge=1,
        le=10_000,
        description="After so many parts that ask for more than its limit a threshold is frozen, with an alarm, "
        "until as many parts have asked for less.",
    )
    reserve: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="What a ceiling leaves free of the way from the recipe's threshold up to the lowest golden defect.",
    )
