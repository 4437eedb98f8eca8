"""`edge-inspector camera show`: what a camera can be set to; and how a command finds its camera."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_inspector import config, plugins
from edge_inspector.cameras.basler import Feature
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.config import StationFileError, dotted
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Camera

PIPED_COLUMNS = 200
"""Width of what goes into a file or another program."""
NO_LIMIT = 2**63 - 1
"""What a camera says of a number that it does not limit: the largest of its type."""

camera = typer.Typer(no_args_is_help=True)

FileOption = Annotated[Path, typer.Option("--config", help="The station file (TOML).")]
SerialOption = Annotated[
    str | None, typer.Option(help="In place of NAME: the Basler camera of this serial number; reads no station file.")
]
UserNameOption = Annotated[
    str | None, typer.Option(help="In place of NAME: the Basler camera of this user name; reads no station file.")
]


@runtime_checkable
class HasFeatures(Protocol):
    """A camera that tells its features while it is open."""

    def features(self) -> list[Feature]: ...


@camera.callback()
def _look() -> None:
    """Look at one camera.

    Example: `edge-inspector camera show top exposure`
    """


@camera.command()
def show(
    name: Annotated[str | None, typer.Argument(help="A camera of the station file.", show_default=False)] = None,
    text: Annotated[
        str | None, typer.Argument(help="Only features that have this text in their name.", show_default=False)
    ] = None,
    file: FileOption = Path("station.toml"),
    serial: SerialOption = None,
    user_name: UserNameOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show the features of a camera: value, range, unit, what may be chosen. The camera is opened for it.

    The names are those of `[cameras.NAME.features]` in the station file. `*` marks what cannot be written now.
    With --serial or --user-name the first word is TEXT.

    Examples: `edge-inspector camera show top`, `edge-inspector camera show top exposure --json`,
    `edge-inspector camera show --serial 40012345 gain`
    """
    if serial is not None or user_name is not None:
        if text is not None:
            raise typer.BadParameter("give NAME, --serial or --user-name, and then one TEXT at most")
        name, text = None, name
    with told_to_the_user(), camera_of(name, file, serial, user_name) as opened:
        if not isinstance(opened, HasFeatures):
            raise ConfigError(
                f"camera {name or serial or user_name}: its type has no features; expected a Basler camera"
            )
        found = [one for one in opened.features() if text is None or text.casefold() in one.name.casefold()]
        device = opened.serial
    if as_json:
        typer.echo(json.dumps({"serial": device, "features": [dataclasses.asdict(one) for one in found]}, indent=2))
    else:
        _print(found, text)


def camera_of(name: str | None, file: Path, serial: str | None, user_name: str | None) -> Camera:
    """The camera that exactly one of NAME, serial number and user name means, not opened.

    ConfigError: no such camera in the station file, or its table is wrong. What is wrong elsewhere in the file does
    not matter here.
    """
    if sum(one is not None for one in (name, serial, user_name)) != 1:
        raise typer.BadParameter("give one of: NAME of a camera of the station file, --serial, --user-name")
    if name is None:
        called = serial or user_name or ""
        table = plugins.config_model("camera", "basler").model_validate(
            {"type": "basler", "serial": serial, "user_name": user_name}
        )
        made: Camera = plugins.load("camera", "basler")(called, table)
        return made
    draft = config.draft(file)
    if name not in draft.cameras:
        key = dotted(["cameras", name])
        problems = [one for one in draft.problems if one.key == key or one.key.startswith(f"{key}.")]
        if problems:
            raise StationFileError(problems)
        known = ", ".join(sorted(draft.cameras)) or "none that is right; run `edge-inspector check`"
        raise ConfigError(f"{file}: there is no camera {name!r}; its cameras are: {known}")
    settings = draft.cameras[name]
    named: Camera = plugins.load("camera", settings.type)(name, settings)
    return named


def _print(features: list[Feature], text: str | None) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_COLUMNS)
    if not features:
        console.print("no features" if text is None else f"no feature has {text!r} in its name", markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("feature", "value", "unit"):
        table.add_column(title, no_wrap=True, overflow="fold")
    table.add_column("allowed", overflow="fold")
    for one in features:
        cells = (one.name + ("" if one.writable else " *"), _shown(one.value), one.unit, _allowed(one))
        table.add_row(*map(escape, cells))
    console.print(table)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _allowed(feature: Feature) -> str:
    if feature.choices:
        return ", ".join(feature.choices)
    if feature.minimum is None or feature.maximum is None or feature.maximum >= NO_LIMIT:
        return ""
    step = f", step {_shown(feature.increment)}" if feature.increment not in (None, 1) else ""
    return f"{_shown(feature.minimum)} .. {_shown(feature.maximum)}{step}"
