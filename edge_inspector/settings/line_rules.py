"""Rules over many parts: when the line should stop, when somebody should come, when somebody should look soon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from edge_inspector.settings.base import Name, Settings


class _LineRule(Settings):
    """What every kind has."""

    name: Name = Field(description="By which the event names the rule.")
    recipes: tuple[Name, ...] = Field((), description="Only parts of these recipes; empty: of all.")
    classes: tuple[str, ...] = Field((), description="Only these classes of the recipes' models; empty: all.")


class ConsecutiveRule(_LineRule):
    """So many parts in a row with the same defect: the line should stop."""

    kind: Literal["consecutive"]
    parts: int = Field(
        ge=2,
        le=1000,
        description="How many in a row. An OK or another defect ends it; a part that could not be judged does neither.",
    )


class RejectRateRule(_LineRule):
    """Too many rejects among the last parts: an alarm."""

    kind: Literal["reject_rate"]
    above: float = Field(gt=0, lt=1, description="The share of rejects, 0..1, that is too high.")
    parts: int | None = Field(None, ge=10, le=10_000, description="Among so many parts; or give minutes.")
    minutes: float | None = Field(
        None, ge=0.1, le=1440, description="Among the parts of so many minutes; or give parts."
    )
    least: int = Field(20, ge=5, le=10_000, description="With minutes: fewer parts than this say nothing.")

    @model_validator(mode="after")
    def _one_window(self) -> RejectRateRule:
        if (self.parts is None) == (self.minutes is None):
            raise ValueError("expected exactly one of parts and minutes")
        return self


class TrendRule(_LineRule):
    """A share of rejects, or scores, that rise from block to block: a notice that somebody should look soon."""

    kind: Literal["trend"]
    of: Literal["rejects", "score"] = Field(
        "rejects", description="rejects: their share; score: the highest score of each part, whatever its verdict."
    )
    rise: float = Field(gt=0, le=1, description="How much it must have risen over all blocks to matter, 0..1.")
    block_parts: int = Field(50, ge=5, le=10_000, description="Parts of one block, of which the mean counts.")
    blocks: int = Field(20, ge=8, le=60, description="How many blocks are looked at.")
    chance: float = Field(
        0.01,
        gt=0,
        le=0.05,
        description="How seldom such a row of blocks may come by chance, if nothing rises (Mann-Kendall, one-sided).",
    )


AnyLineRule: TypeAlias = Annotated[ConsecutiveRule | RejectRateRule | TrendRule, Field(discriminator="kind")]


def _named_once(rules: tuple[AnyLineRule, ...]) -> tuple[AnyLineRule, ...]:
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} is given to two rules; events tell rules apart by it")
    return rules


LineRuleSet: TypeAlias = Annotated[tuple[AnyLineRule, ...], AfterValidator(_named_once)]


def in_words(rule: AnyLineRule) -> str:
    """What the rule asks for, as a person would say it."""
    return " ".join(_words(rule))


def _words(rule: AnyLineRule) -> Iterator[str]:
    what = " or ".join(rule.classes)
    if isinstance(rule, ConsecutiveRule):
        yield f"ask for a stop of the line after {rule.parts} parts in a row with the same defect"
        yield f"({what})" if what else "or by the same rule"
    elif isinstance(rule, RejectRateRule):
        window = f"the last {rule.parts} parts" if rule.minutes is None else f"the parts of {rule.minutes:g} minutes"
        yield f"alarm when more than {rule.above:.1%} of {window} are rejects"
        if rule.minutes is not None:
            yield f"(of {rule.least} or more)"
        if what:
            yield f"by {what}"
    else:
        of = "the share of rejects" if rule.of == "rejects" else "the highest score of the parts"
        yield f"notice when {of}"
        if what:
            yield f"({what})"
        yield f"rises by {rule.rise:g} or more over {rule.blocks} blocks of {rule.block_parts} parts"
    if rule.recipes:
        yield f"in recipe {' or '.join(rule.recipes)}"
