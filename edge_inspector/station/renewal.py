"""What differs between two sets of recipes, and what the station has to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_inspector.station.parts import LoadedRecipe, RecipeSet


@dataclass(frozen=True)
class Differences:
    """`recipes` is the new set, in which a recipe that is as it was is still the same object.

    One that is another but for pictures and model has the same plans: by them its pictures are known.

    `changed` are the names of recipes that were there before and are others now; `outdated` those, new and gone ones
    too, for which model and cameras must be made ready anew.
    """

    recipes: Mapping[str, LoadedRecipe]
    changed: frozenset[str]
    outdated: frozenset[str]


def differences(before: RecipeSet, after: RecipeSet, *, proven: bool) -> Differences:
    """`before` as the station has it; `proven`: its engines are proven by each recipe's thresholds and golden set."""
    both = before.recipes.keys() & after.recipes.keys()
    changed = frozenset(name for name in both if _other(name, before, after))
    recipes = {name: before.recipes[name] if name in both - changed else one for name, one in after.recipes.items()}
    outdated = (before.recipes.keys() ^ recipes.keys()) | {
        name
        for name in changed
        if _other_pictures(name, before, after) or (proven and _other_proof(name, before, after))
    }
    for name in changed - outdated:
        recipes[name] = replace(recipes[name], plans=before.recipes[name].plans)
    return Differences(recipes, changed, frozenset(outdated))


def _other(name: str, before: RecipeSet, after: RecipeSet) -> bool:
    old, new = before.recipes[name], after.recipes[name]
    return (
        old.settings != new.settings
        or old.model_hash != new.model_hash
        or _golden(name, before) != _golden(name, after)
    )


def _other_pictures(name: str, before: RecipeSet, after: RecipeSet) -> bool:
    """Another model, other views or features, another way for pictures to come."""
    old, new = before.recipes[name], after.recipes[name]
    one, other = old.settings, new.settings
    return old.model_hash != new.model_hash or (one.trigger, one.window_ms, one.views) != (
        other.trigger,
        other.window_ms,
        other.views,
    )


def _other_proof(name: str, before: RecipeSet, after: RecipeSet) -> bool:
    old, new = before.recipes[name], after.recipes[name]
    return old.thresholds.by_class != new.thresholds.by_class or _golden(name, before) != _golden(name, after)


def _golden(name: str, one: RecipeSet) -> str | None:
    """The golden set of its bundle, in the words of the configuration."""
    return one.configuration.values.get(f"recipes.{name}.golden")
