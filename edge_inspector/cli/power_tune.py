"""`edge-inspector power tune`: how long each recipe takes in each power mode, and what a part costs there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_inspector import config, log
from edge_inspector.assembly import assemble
from edge_inspector.bench.modes import Tuned, in_each_mode
from edge_inspector.bench.recipe import measure_recipe
from edge_inspector.cli.failures import EXIT_USER, told_to_the_user
from edge_inspector.config import StationConfig
from edge_inspector.control import ControlClient, StationAway
from edge_inspector.errors import ConfigError
from edge_inspector.health.power.opening import open_power_control
from edge_inspector.interfaces import PowerMode
from edge_inspector.settings.power import PowerSettings, TaktPolicy
from edge_inspector.stages.power_policy import Board, Pace, by_takt
from edge_inspector.station.parts import Parts
from edge_inspector.station.power_speeds import (
    FILE,
    Measured,
    Speeds,
    fingerprint,
    merged,
    read_table,
    runs_on,
    write_table,
)


def tune(
    station: Annotated[Path, typer.Argument(help="The station file (TOML).", show_default=False)],
    mode: Annotated[
        list[str] | None, typer.Option(help="A mode to measure; again for more. Default: all that the policy may use.")
    ] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="A recipe; again for more. Default: all.")] = None,
    parts: Annotated[int, typer.Option(min=50, max=100_000, help="Parts of each recipe in each mode.")] = 300,
    width: Annotated[int, typer.Option(min=64, max=8192, help="Picture's width where no calibration tells it.")] = 1920,
    height: Annotated[int, typer.Option(min=64, max=8192, help="The same, height.")] = 1200,
) -> None:
    """Measure each recipe in each power mode, and write the table by which the policy `takt` chooses.

    The station must be stopped. Its cameras, links and brokers are not touched; the board is in the mode of before at
    the end. A mode that needs a reboot is left out.

    Example: `edge-inspector power tune station.toml --mode 15W --mode 30W`
    """
    log.configure("error")
    with told_to_the_user():
        settings = config.load(station)
        made, _ = assemble(station)
        _must_be_stopped(settings)
        power = settings.power or PowerSettings.model_validate({})
        recipes = _chosen(recipe, list(made.recipes), "recipe")
        table = settings.station.state_dir / FILE
        done: list[Tuned] = []
        with closing(open_power_control(power.through, power.root, power.timeout_s)) as control:
            modes = _modes(control.modes, mode, power)
            measure = lambda name, load: measure_recipe(station, name, parts, (height, width), load)  # noqa: E731
            before = _before(table)
            try:
                for one in in_each_mode(control, modes, recipes, measure):
                    done.append(one)
                    _tell(one)
            finally:  # also when the board cannot be brought back, or somebody has had enough
                rows = _rows(done, made, settings)
                _write(table, before, rows)
    _print(rows, made, settings, control.modes)
    typer.echo(f"written to {table}" if rows else "nothing was measured; nothing was written")
    if len(rows) < len(done):
        raise typer.Exit(EXIT_USER)


def _before(table: Path) -> list[Measured]:
    """What is known already; a damaged table is written anew."""
    try:
        return read_table(table)
    except ConfigError as exc:
        typer.secho(f"{exc}; a new one will be written", err=True, fg=typer.colors.YELLOW)
        return []


def _runs_on(settings: StationConfig) -> str:
    power = settings.power or PowerSettings.model_validate({})
    return runs_on(settings.backend.model_dump_json(), power.root)


def _write(table: Path, before: Sequence[Measured], rows: Sequence[Measured]) -> None:
    if rows:
        table.parent.mkdir(parents=True, exist_ok=True)
        write_table(table, merged(before, rows))


def _must_be_stopped(settings: StationConfig) -> None:
    """Whoever runs would be measured, too, and its parts would be late."""
    try:
        ControlClient(settings.station.runtime / "control.sock").status()
    except StationAway:
        return
    raise ConfigError(f"station {settings.station.name} is running; stop it first, it would be slowed down")


def _modes(known: Sequence[PowerMode], wanted: list[str] | None, power: PowerSettings) -> list[PowerMode]:
    """In the board's order. ConfigError: the board has none, or not that one."""
    if not known:
        raise ConfigError("this machine has no power modes; see: edge-inspector power show")
    allowed = power.policy.modes if isinstance(power.policy, TaktPolicy) else ()
    names = _chosen(wanted or list(allowed), [mode.name for mode in known], "power mode")
    return [mode for mode in known if mode.name in names]


def _chosen(wanted: list[str] | None, known: list[str], what: str) -> list[str]:
    for name in wanted or ():
        if name not in known:
            raise ConfigError(f"{what} {name!r} is not known, expected one of {', '.join(known)}")
    return wanted or known


def _tell(one: Tuned) -> None:
    name = f"{one.mode.name}, recipe {one.recipe}" if one.recipe else one.mode.name
    if one.pace is None:
        typer.secho(f"{name}: {one.error}", err=True, fg=typer.colors.YELLOW)
    else:
        typer.echo(f"{name}: {one.pace.serial.p99_ms:.1f} ms", err=True)


def _rows(done: Sequence[Tuned], made: Parts, settings: StationConfig) -> list[Measured]:
    backend = _runs_on(settings)
    return [
        Measured(
            recipe=one.recipe,
            runs=fingerprint(made.recipes[one.recipe], backend),
            mode=one.mode.name,
            parts=one.pace.parts,
            p50_ms=one.pace.serial.median_ms,
            p99_ms=one.pace.serial.p99_ms,
            parts_per_s=one.pace.parts_per_s,
            power_w=one.power_w,
            measured_utc=made.clock.utc(),
        )
        for one in done
        if one.pace is not None
    ]


def _print(rows: Sequence[Measured], made: Parts, settings: StationConfig, modes: Sequence[PowerMode]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2))
    for title in ("recipe", "mode", "p50 ms", "p99 ms", "parts/s", "W", "parts/J"):
        table.add_column(title, justify="left" if title in ("recipe", "mode") else "right")
    for row in rows:
        cost = row.parts_per_joule
        table.add_row(
            escape(row.recipe),
            escape(row.mode),
            f"{row.p50_ms:.1f}",
            f"{row.p99_ms:.1f}",
            f"{row.parts_per_s:.1f}",
            "?" if row.power_w is None else f"{row.power_w:.1f}",
            "?" if cost is None else f"{cost:.2f}",
        )
    console.print(table)
    speeds = Speeds(rows, _runs_on(settings))
    for name in dict.fromkeys(row.recipe for row in rows):
        console.print(escape(_chosen_by_takt(name, made, speeds, settings, modes)))


def _chosen_by_takt(
    recipe: str, made: Parts, speeds: Speeds, settings: StationConfig, modes: Sequence[PowerMode]
) -> str:
    """What the policy would do with these figures, at the recipe's first part."""
    policy = None if settings.power is None else settings.power.policy
    takt = policy if isinstance(policy, TaktPolicy) else TaktPolicy.model_validate({"kind": "takt"})
    own = made.recipes[recipe]
    budget_ms = own.settings.deadline_ms - own.settings.output_margin_ms
    strongest = modes[-1]
    pace = Pace(budget_ms, speeds.p99_ms(own), fresh=True)
    choice = by_takt(takt, Board(modes, strongest), pace)
    if choice.warning:
        return f"recipe {recipe}: {choice.warning}"
    used = strongest if choice.mode is None else choice.mode
    who = "the policy takt uses" if policy is takt else "the policy takt would use"
    return f"recipe {recipe}: {who} {used.name}; its deadline leaves {budget_ms:.0f} ms, with margin {takt.margin:g}"
