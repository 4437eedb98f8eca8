"""What a recipe's golden-sample check says against the rest of the recipe and against its bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_inspector.config.problems import Problem, shown_value
from edge_inspector.engine.bundle import Bundle
from edge_inspector.settings import Recipe
from edge_inspector.settings.golden import GoldenSettings

FOLDERS = ("good", "bad")
"""Of stored pictures, in the folder that golden.pictures names."""


def golden_problems(path: Path, key: str, recipe: Recipe, bundle: Bundle) -> Iterator[Problem]:
    """`key` is the recipe's."""
    golden = recipe.golden
    if golden is None:
        return
    if golden.parts and golden.told_by == "part_id" and recipe.trigger in ("line", "timer"):
        expected = f"expected 'order': trigger = {recipe.trigger!r} brings no part id"
        yield Problem(path, f"{key}.golden.told_by", repr(golden.told_by), expected)
    good = {bundle.classes[i] for i in bundle.criteria.good}
    for i, part in enumerate(golden.parts):
        for name in part.defects:
            if name not in bundle.classes or name in good:
                known = ", ".join(one for one in bundle.classes if one not in good)
                expected = f"is no class of defects of the bundle; those are {known}"
                yield Problem(path, f"{key}.golden.parts.{i}.defects", shown_value(name), expected)
    yield from _picture_problems(path, f"{key}.golden.pictures", golden, bundle)


def _picture_problems(path: Path, key: str, golden: GoldenSettings, bundle: Bundle) -> Iterator[Problem]:
    if golden.pictures is None:
        if not golden.parts and bundle.golden is None:
            expected = "is missing: the check has neither master parts nor pictures, and the bundle has no golden set"
            yield Problem(path, key, "", expected)
        return
    absent = [name for name in FOLDERS if not (golden.pictures / name).is_dir()]
    if absent:
        expected = f"expected a folder with the folders good and bad in it; there is no {' and no '.join(absent)}"
        yield Problem(path, key, repr(str(golden.pictures)), expected)
