"""How a recipe's thresholds follow the line: what stands against it, and what it means in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_inspector.config.problems import Problem
from edge_inspector.engine.bundle import Bundle
from edge_inspector.errors import ConfigError
from edge_inspector.settings import Recipe
from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.stages.thresholds import needed


def adaptive_problems(path: Path, key: str, recipe: Recipe, bundle: Bundle) -> Iterator[Problem]:
    """`key` is the recipe's."""
    adaptive = recipe.adaptive
    for name, policy in (("policy", adaptive.policy), ("shadow", adaptive.shadow)):
        try:
            needed(policy)
        except ConfigError as exc:
            yield Problem(path, f"{key}.adaptive.{name}", repr(policy), str(exc))
    if bundle.criteria.limits and adaptive.policy != "fixed":
        expected = "expected 'fixed': this bundle measures values, and limits of values do not move"
        yield Problem(path, f"{key}.adaptive.policy", repr(adaptive.policy), expected)
    if adaptive.least > adaptive.window:
        expected = f"expected at most window ({adaptive.window}): more good parts than that are never known"
        yield Problem(path, f"{key}.adaptive.least", str(adaptive.least), expected)


def in_words(adaptive: AdaptiveSettings) -> str:
    """One line for `edge-inspector check`."""
    shadow = "" if adaptive.shadow in ("fixed", adaptive.policy) else f"; {adaptive.shadow} only proposes beside it"
    if adaptive.policy == "fixed":
        return f"thresholds stay where they are{shadow}"
    limits = "never looser than here before `edge-inspector thresholds release`, nor above its ceilings after"
    if adaptive.policy == "percentile":
        return (
            f"thresholds follow the last parts by the plain rolling rule, which learns from escapes: {limits}{shadow}"
        )
    return (
        f"thresholds follow the last {adaptive.window} good parts ({adaptive.policy}) so that "
        f"{adaptive.target_per_thousand:g} of 1000 good parts are rejected, at most {adaptive.loosen_per_100:g} up and "
        f"{adaptive.tighten_per_100:g} down over 100 parts: {limits}{shadow}"
    )
