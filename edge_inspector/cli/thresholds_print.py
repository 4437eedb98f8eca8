"""Thresholds and their limits as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_inspector.engine.limits_file import LimitsFile
from edge_inspector.stages.thresholds import LEAST_DEFECTS, ClassLimits
from edge_inspector.station.parts import LoadedRecipe


def plain(text: str) -> str:
    """Without what a terminal would take for an order."""
    return "".join(one if one.isprintable() else "?" for one in text)


def limits(recipe: LoadedRecipe, made: LimitsFile) -> None:
    """What a golden run has shown."""
    names, base = recipe.criteria.classes, recipe.thresholds.by_class
    _console().print(_limits_table(names, base, made.limits))
    _console().print(
        f"{made.good} good golden parts. Missed: not found at the ceilings, by any class, in the worst of four "
        "pictures (as it is, darker, brighter, defocused); at most: the upper 95 % bound of that share."
    )
    if not any(one.ceiling > threshold for one, threshold in zip(made.limits, base, strict=True)):
        _console().print(
            f"[yellow]No threshold may become looser: a class needs {LEAST_DEFECTS} golden defects that are found with "
            "room to spare.[/]"
        )


def before_release(name: str, found: Mapping[str, Any]) -> None:
    """What somebody is about to allow."""
    if found["limits"] is not None:
        rows = [ClassLimits(*row) for row in found["limits"]["by_class"]]
        _console().print(f"recipe {escape(name)}, limits of {escape(str(found['limits']['utc']))}")
        _console().print(_limits_table(found["classes"], found["fixed"], rows))


def now(name: str, found: Mapping[str, Any]) -> None:
    """Where the thresholds of a running station are."""
    console = _console()
    console.print(f"recipe {escape(name)}: judged by [bold]{found['policy']}[/], {_state(found)}")
    if found["frozen_by"]:
        console.print(f"[yellow]frozen by {escape(plain(found['frozen_by']))}: nothing is learnt, nothing moves[/]")
    for policy in found["policies"]:
        what = "judges" if policy["judges"] else "only proposes"
        console.print(f"\n[bold]{policy['policy']}[/] ({what})")
        console.print(_policy_table(found, policy))
        for text in (policy["frozen"], policy["alarm"]):
            if text:
                console.print(f"[yellow]{escape(plain(text))}[/]")
    if not found["policies"]:
        console.print("neither a policy nor a shadow learns here")


def _state(found: Mapping[str, Any]) -> str:
    if found["lapsed"]:
        return f"[yellow]{escape(plain(found['lapsed']))}[/]"
    if found["released"]:
        return escape(plain(f"released by {found['release']['who']} at {found['release']['utc']}"))
    return "not released: never looser than the recipe" + ("" if found["limits"] else "; no limits yet")


def _limits_table(names: Any, base: Any, rows: Any) -> Table:
    table = _table("class", "recipe", "floor", "ceiling", "golden defects", "missed", "at most")
    for name, threshold, one in zip(names, base, rows, strict=True):
        share = f"{one.missed_upper:.1%}" if one.defects else "-"
        looser = "green" if one.ceiling > threshold else ""
        ceiling = f"[{looser}]{one.ceiling:.3f}[/]" if looser else f"{one.ceiling:.3f}"
        counts = (str(one.defects), str(one.missed) if one.defects else "-")
        table.add_row(escape(plain(name)), f"{threshold:.3f}", f"{one.floor:.3f}", ceiling, *counts, share)
    return table


def _policy_table(found: Mapping[str, Any], policy: Mapping[str, Any]) -> Table:
    table = _table("class", "recipe", "judges", "proposed", "wanted", "95 %", "floor", "ceiling", "parts")
    for i, one in enumerate(policy["classes"]):
        estimate = one["estimate"]
        wanted, interval = "-", "-"
        if estimate is not None:
            wanted, interval = f"{estimate['wanted']:.3f}", f"{estimate['low']:.2f}..{estimate['high']:.2f}"
        table.add_row(
            escape(plain(one["class_name"])),
            f"{found['fixed'][i]:.3f}",
            f"{found['now'][i]:.3f}",
            f"{one['now']:.3f}",
            wanted,
            interval,
            f"{one['floor']:.3f}",
            f"{one['ceiling']:.3f}",
            str(one["learnt"]),
        )
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, no_wrap=True)
    return table


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)
