"""What validation of single keys cannot see: values that no key can mean, and keys that contradict each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_inspector.config.problems import CONTROL, DEEPEST, INTEGERS, Problem, dotted, shown_value, value_problem
from edge_inspector.config.rules import crossed_rules
from edge_inspector.settings import PluginConfig, Recipe

_ONE_EACH: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "cameras": (("serial",), ("user_name",), ("ip",), ("source",)),
    "plc": (("host", "port"),),
    "publishers": (("host", "port", "client_id"),),
}
"""What two tables of the same type may not have in common: it names the same device, port or session."""


def leaves(raw: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value with its key; without recursion, and no deeper than what is deep enough to be refused."""
    open_: list[tuple[tuple[str, ...], Any]] = [((), raw)]
    while open_:
        key, value = open_.pop()
        children: Any = ()
        if isinstance(value, dict):
            children = value.items()
        elif isinstance(value, list):
            children = enumerate(value)
        if len(key) > DEEPEST or not isinstance(value, dict | list):
            yield key, value
        else:
            open_ += reversed([((*key, str(name)), child) for name, child in children])


def unusable(key: tuple[str, ...], value: object) -> str:
    """Why a value cannot even be handed to validation, empty = it can."""
    if len(key) > DEEPEST:
        return f"is nested too deeply; expected at most {DEEPEST} tables and arrays in each other"
    if isinstance(value, int) and value not in INTEGERS:
        return "expected an integer of 64 bits"
    if isinstance(value, str) and value.startswith("~"):
        try:
            Path(value).expanduser()
        except RuntimeError:
            return "begins with the home folder of a user whom this machine does not have"
    return ""


def strange_values(path: Path, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """What TOML allows and no key of a station file can mean."""
    for key, value in leaves(raw):
        if isinstance(value, float) and not math.isfinite(value):
            yield value_problem(path, key, value, "expected a finite number")
        elif isinstance(value, str) and CONTROL.search(value):
            yield value_problem(path, key, value, "expected text without control characters")


def crossed(path: Path, raw: Mapping[str, Any], recipes: Mapping[str, Recipe]) -> Iterator[Problem]:
    """What one key says against another."""
    cameras, links, station, tables = (raw.get(name) for name in ("cameras", "plc", "station", "recipes"))
    known = _names(cameras)
    wanted = station.get("recipe") if isinstance(station, dict) else None
    if isinstance(wanted, str) and wanted not in (tables if isinstance(tables, dict) else ()):
        yield Problem(path, "station.recipe", shown_value(wanted), f"expected the name of a recipe: {_names(tables)}")
    numbers: dict[int, str] = {}
    for name, recipe in recipes.items():
        key = dotted(["recipes", name])
        if recipe.number in numbers:
            other = numbers[recipe.number]
            yield Problem(path, f"{key}.number", str(recipe.number), f"is already the number of recipe {other!r}")
        numbers.setdefault(recipe.number, name)
        seen: set[str] = set()
        for i, view in enumerate(recipe.views):
            if view.camera not in (cameras if isinstance(cameras, dict) else ()):
                expected = f"expected one of the cameras: {known}"
                yield Problem(path, f"{key}.views.{i}.camera", repr(view.camera), expected)
            if view.camera in seen:
                yield Problem(path, f"{key}.views.{i}.camera", repr(view.camera), "a camera gives one view of a part")
            seen.add(view.camera)
        if recipe.trigger in ("plc", "announced") and not links:
            expected = "needs a PLC that triggers: add a table [plc.NAME], or trigger by 'line' or 'timer'"
            yield Problem(path, f"{key}.trigger", repr(recipe.trigger), expected)
        yield from _windows(path, key, recipe)
        yield from crossed_rules(path, key, recipe)
        if recipe.trigger == "timer" and recipe.period_s is None:
            yield Problem(path, f"{key}.period_s", "", "is missing: trigger = 'timer' needs the seconds between parts")
        if recipe.trigger != "timer" and recipe.period_s is not None:
            yield Problem(path, f"{key}.period_s", str(recipe.period_s), "only trigger = 'timer' has a period")
        if recipe.output_margin_ms >= recipe.deadline_ms:
            expected = f"expected less than deadline_ms ({recipe.deadline_ms:g}): otherwise no part can be OK"
            yield Problem(path, f"{key}.output_margin_ms", f"{recipe.output_margin_ms:g}", expected)


def _windows(path: Path, key: str, recipe: Recipe) -> Iterator[Problem]:
    """trigger = announced needs to know when each camera's picture may come; no other trigger does."""
    own = [(f"{key}.views.{i}.window_ms", view.window_ms) for i, view in enumerate(recipe.views)]
    given = [(where, window) for where, window in [(f"{key}.window_ms", recipe.window_ms), *own] if window is not None]
    if recipe.trigger != "announced":
        for where, window in given:
            yield Problem(path, where, str(list(window)), "only trigger = 'announced' has a window")
    elif recipe.window_ms is None and not all(window for _, window in own):
        expected = "is missing: trigger = 'announced' needs [earliest, latest] arrival of a picture, in ms"
        yield Problem(path, f"{key}.window_ms", "", expected)


def _names(tables: object) -> str:
    return ", ".join(dotted([name]) for name in sorted(tables)) if isinstance(tables, dict) and tables else "none"


def twice(path: Path, tables: Mapping[str, Mapping[str, PluginConfig]]) -> Iterator[Problem]:
    """Devices, ports and sessions that two tables lay claim to."""
    for kind, rules in _ONE_EACH.items():
        taken: dict[object, str] = {}
        for name, config in tables[kind].items():
            for keys in rules:
                values = [getattr(config, key, None) for key in keys]
                if not any(value is not None for value in values):
                    continue
                other = taken.setdefault((config.type, keys, *values), name)
                if other != name:
                    shown = ", ".join("its default" if value is None else shown_value(value) for value in values)
                    expected = (
                        f"is the same {' and '.join(keys)} as in {dotted([kind, other])}; one of them must differ"
                    )
                    yield Problem(path, dotted([kind, name, keys[-1]]), shown, expected)
