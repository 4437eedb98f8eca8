"""What rules over many parts say, against the recipes and the classes of their bundles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_inspector.config.problems import Problem
from edge_inspector.config.station_file import StationConfig
from edge_inspector.engine.bundle import Bundle


def line_rule_problems(path: Path, settings: StationConfig, bundles: Mapping[str, Bundle]) -> Iterator[Problem]:
    """Recipes that do not exist, and classes that no recipe of the rule knows: such a rule would never say anything."""
    for i, rule in enumerate(settings.line_rules):
        unknown = [name for name in rule.recipes if name not in settings.recipes]
        for name in unknown:
            expected = f"is not a recipe of this file; its recipes are {', '.join(settings.recipes)}"
            yield Problem(path, f"line_rules.{i}.recipes", repr(name), expected)
        if unknown:
            continue
        known = [bundles[name].classes for name in rule.recipes or bundles]
        for name in rule.classes:
            if not any(name in classes for classes in known):
                there = sorted({one for classes in known for one in classes})
                expected = f"is a class of no recipe that the rule is for; known are {', '.join(there)}"
                yield Problem(path, f"line_rules.{i}.classes", repr(name), expected)
