"""`edge-inspector check`: everything that is wrong with a station file, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_inspector import assembly
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.web.checked import check_file


def check(station: Annotated[Path, typer.Argument(help="The station file (TOML).", show_default=False)]) -> None:
    """Check a station file, its bundles and calibrations. Needs no camera, no GPU and no network.

    Every problem is printed as `file: key = value: what was expected`; the exit code is then 2.

    Example: `edge-inspector check station.toml`
    """
    with told_to_the_user():
        settings = assembly.check(station)
        check_file(settings)
    typer.echo(
        f"{station}: right. Station {settings.station.name!r}: {len(settings.cameras)} camera(s),"
        f" {len(settings.recipes)} recipe(s), {len(settings.plc)} PLC link(s), {len(settings.publishers)} publisher(s)."
    )
