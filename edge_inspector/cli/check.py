"""`edge-inspector check`: everything that is wrong with a station file, at once; what it means, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from edge_inspector import assembly, config
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.config import StationConfig
from edge_inspector.config.adaptive import in_words as adaptive_words
from edge_inspector.settings.line_rules import in_words as line_rule_words
from edge_inspector.stages.rule_words import plain, rules_in_words, zones_in_words
from edge_inspector.station.golden_words import golden_words, health_words
from edge_inspector.station.parts import LoadedRecipe
from edge_inspector.web.checked import check_file


def check(station: Annotated[Path, typer.Argument(help="The station file (TOML).", show_default=False)]) -> None:
    """Check a station file, its bundles and calibrations. Needs no camera, no GPU and no network.

    Every problem is printed as `file: key = value: what was expected`; the exit code is then 2. If there is none, what
    each recipe judges by is printed in words.

    Example: `edge-inspector check station.toml`
    """
    with told_to_the_user():
        parts, _ = assembly.assemble(station)
        settings = config.load(station)
        check_file(settings)
    typer.echo(
        f"{station}: right. Station {settings.station.name!r}: {len(settings.cameras)} camera(s),"
        f" {len(settings.recipes)} recipe(s), {len(settings.plc)} PLC link(s), {len(settings.publishers)} publisher(s)."
    )
    for line in in_words(settings, parts.recipes):
        typer.echo(line)


def in_words(settings: StationConfig, recipes: Mapping[str, LoadedRecipe]) -> Iterator[str]:
    """What the station judges by, recipe by recipe, and its rules over many parts."""
    for recipe in recipes.values():
        own = recipe.settings
        views = ", ".join(recipe.cameras)
        yield ""
        yield f"Recipe {recipe.name} (number {own.number}): bundle {plain(str(own.bundle))}, looks at {views}."
        if not recipe.criteria.limits:
            yield f"  thresholds: {_thresholds(recipe)}"
        for name, sentence in zones_in_words(own):
            yield f"  zone {name} {sentence}"
        yield from _rules(recipe)
        yield f"  adaptive: {adaptive_words(own.adaptive)}"
        yield f"  golden: {'none' if own.golden is None else plain(golden_words(own.golden))}"
        yield f"  health: {'none' if own.health is None else health_words(own.health)}"
    if settings.line_rules:
        yield ""
        yield "Line rules:"
    for rule in settings.line_rules:
        yield f"  {rule.name}: {plain(line_rule_words(rule))}"


def _rules(recipe: LoadedRecipe) -> Iterator[str]:
    """What holds where no rule of the recipe speaks comes last."""
    told = list(rules_in_words(recipe.settings, recipe.criteria))
    if not recipe.settings.rules:
        yield f"  rules: none; {'; '.join(sentence for _, sentence in told)}"
        return
    yield "  rules:"
    for name, sentence in told:
        yield f"    {name or 'otherwise'}: {sentence}"


def _thresholds(recipe: LoadedRecipe) -> str:
    """Each class's, and which are the recipe's own."""
    told = []
    for i, (name, threshold) in enumerate(zip(recipe.criteria.classes, recipe.thresholds.by_class, strict=True)):
        own = " (this recipe's)" if name in recipe.settings.thresholds else ""
        good = " (good)" if i in recipe.criteria.good else ""
        told.append(f"{plain(name)} {threshold:g}{good}{own}")
    return ", ".join(told)
