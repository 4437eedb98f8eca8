"""`edge-inspector status`: whether a running station is ready, and if not, why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edge_inspector import config
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.health.ready import wait_until_ready


def status(
    station: Annotated[Path, typer.Argument(help="The station file (TOML).", show_default=False)],
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="S", min=0.0, max=3600.0, help="Wait for READY for so many seconds.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the station tells of itself as JSON.")] = False,
) -> None:
    """Ask a running station whether it is ready: whether it would inspect a part now.

    Run it as the station's user or as root. Exit code: 0 it is READY, 4 it answers and is not READY, 5 nothing answers.

    Examples: `edge-inspector status station.toml`, `edge-inspector status station.toml --wait 120`
    """
    with told_to_the_user():
        settings = config.load(station)
    answer = wait_until_ready(settings.station.runtime / "control.sock", wait_s)
    if as_json:
        typer.echo(json.dumps({"alive": answer.alive, "ready": answer.ready, "why": answer.why, **answer.told}))
    else:
        typer.echo(f"{settings.station.name}: {answer.why}")
    if answer.exit_code:
        raise typer.Exit(answer.exit_code)
