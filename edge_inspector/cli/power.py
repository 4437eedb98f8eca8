"""`edge-inspector power`: what the board says of itself, and its power mode."""

from __future__ import annotations

import enum
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.cli.power_tune import tune
from edge_inspector.errors import PowerError
from edge_inspector.health.power.opening import BoardControl, Through, Way, how, open_power_control
from edge_inspector.health.power.sensors import BoardSensors, over_current_counts
from edge_inspector.interfaces import PowerMode, PowerState

power = typer.Typer(no_args_is_help=True)
power.command("tune")(tune)
ROOT = Path("/")
_STATIONS = "run/edge-inspector"
_ASK_S = 1.0
_WAYS: dict[Way, str] = {
    "helper": "through the power helper",
    "jtop": "through jtop's service",
    "root": "by nvpmodel itself: this is root",
    "none": "not from here",
}
_CLOCKS = {True: "locked at the mode's maximum", False: "follow the load", None: "not known"}


class Clocks(str, enum.Enum):
    """What is done with the clocks."""

    locked = "locked"
    free = "free"


class Ways(str, enum.Enum):
    """The names of `Through`, for the command line."""

    auto = "auto"
    helper = "helper"
    jtop = "jtop"
    root = "root"


@power.callback()
def _of_the_board() -> None:
    """Power mode, clocks and sensors of a Jetson board.

    Example: `edge-inspector power show`
    """


@power.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False) -> None:
    """Show in which power mode the board is, what holds it down, what it takes, and which modes it has.

    The JSON has `mode` (number, name), `modes` (the same and needs_reboot), `clocks_locked`, `throttled`,
    `over_current` (times since boot by guard), `gpu_load` (0..1), `total_w`, `rails_w`, `temperatures_c` and `set`
    (helper, jtop, root or none). What the machine does not say is null or empty. Keys may be added, never renamed.

    Examples: `edge-inspector power show`, `edge-inspector power show --json`
    """
    sensors = BoardSensors(ROOT)
    modes, state, counts = sensors.modes(), sensors.read(), over_current_counts(ROOT)
    if as_json:
        listed = [{**asdict(mode), "needs_reboot": sensors.needs_reboot(mode)} for mode in modes]
        facts = {**asdict(state), "modes": listed, "over_current": counts, "set": how(ROOT)}
        typer.echo(json.dumps(facts, indent=2))
    else:
        _print([f"{m.number} {m.name}" + " (needs a reboot)" * sensors.needs_reboot(m) for m in modes], state, counts)


@power.command("set")
def set_(
    mode: Annotated[str | None, typer.Argument(help="Name or number of the mode: `power show` lists them.")] = None,
    clocks: Annotated[
        Clocks | None, typer.Option(help="locked: held at the mode's maximum, for the most even times.")
    ] = None,
    through: Annotated[Ways, typer.Option(help="Which way the board is changed; auto: the first that is there.")] = (
        Ways.auto
    ),
    timeout_s: Annotated[float, typer.Option(min=1, max=600, help="So long a change may take.")] = 30.0,
    force: Annotated[bool, typer.Option("--force", help="Even while a station inspects.")] = False,
) -> None:
    """Change the board's power mode, its clocks, or both. It lasts until somebody changes it; clocks until a restart.

    A mode that needs a restart of the board is refused. A station that chooses its mode itself ([power]) changes it
    back. The exit code is 0 when the board says that it is so.

    Examples: `edge-inspector power set 15W`, `edge-inspector power set --clocks locked`
    """
    with told_to_the_user():
        if mode is None and clocks is None:
            raise PowerError("nothing to set; give a mode, --clocks locked, or --clocks free")
        running = list(_stations_that_run(ROOT))
        if running and not force:
            raise PowerError(
                f"station {', '.join(running)} is running: a change makes its parts late; give it [power] in its"
                " station file, stop it, or take --force"
            )
        asked: Through = through.value
        with closing(open_power_control(asked, ROOT, timeout_s)) as control:
            if mode is not None:
                control.set_mode(_named(control, mode))
            if clocks is not None:
                control.set_clocks(clocks is Clocks.locked)
            state = control.state()
    known = "not known" if state.mode is None else f"{state.mode.number} {state.mode.name}"
    typer.echo(f"power mode {_clean(known)}, clocks {_CLOCKS[state.clocks_locked]}")


def _named(control: BoardControl, wanted: str) -> PowerMode:
    by_name = [mode for mode in control.modes if mode.name == wanted]
    by_number = [mode for mode in control.modes if str(mode.number) == wanted]
    if not by_name and not by_number:
        known = ", ".join(f"{mode.number} {mode.name}" for mode in control.modes)
        raise PowerError(f"power mode {wanted!r} is not one of this board's: {known or 'it has none'}")
    return (by_name or by_number)[0]


def _stations_that_run(root: Path) -> Iterator[str]:
    """The names of the installed stations that answer."""
    for path in sorted((root / _STATIONS).glob("*/control.sock")):
        with socket.socket(socket.AF_UNIX) as station:
            station.settimeout(_ASK_S)
            try:
                station.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):  # what a station that was killed has left
                continue
            except OSError:
                pass  # it is too busy, or not for us: it is there
        yield path.parent.name


def _print(modes: list[str], state: PowerState, counts: dict[str, int]) -> None:
    console = Console(highlight=False)
    table = Table(show_header=False, box=None)
    current = "[dim]not known[/]" if state.mode is None else f"{state.mode.number} {escape(_clean(state.mode.name))}"
    table.add_row("power mode", current)
    table.add_row("modes", escape(_clean(", ".join(modes))) or "this machine has none")
    table.add_row("can be set", _WAYS[how(ROOT)])
    table.add_row("clocks", _CLOCKS[state.clocks_locked])
    table.add_row("held down by", f"[yellow]{escape(_clean(state.throttled))}[/]" if state.throttled else "nothing")
    if counts:
        table.add_row("since boot", ", ".join(f"{_clean(guard)} {count} times" for guard, count in counts.items()))
    table.add_row("GPU load", "not known" if state.gpu_load is None else f"{state.gpu_load:.0%}")
    table.add_row("power", "not known" if state.total_w is None else f"{state.total_w:.1f} W")
    for name, watts in state.rails_w.items():
        table.add_row(f"  {escape(_clean(name))}", f"{watts:.1f} W")
    if state.temperatures_c:
        hot = ", ".join(f"{_clean(name)} {celsius:.0f}" for name, celsius in state.temperatures_c.items())
        table.add_row("temperature", f"{escape(hot)} °C")
    console.print(table)


def _clean(words: str) -> str:
    """Without what would move a terminal's cursor: names come from files of the board."""
    return "".join(letter if letter.isprintable() else "?" for letter in words)
