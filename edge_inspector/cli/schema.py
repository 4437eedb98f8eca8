"""`edge-inspector schema`: the JSON Schema of the station file."""

from __future__ import annotations

import json

import typer

from edge_inspector import config
from edge_inspector.cli.failures import told_to_the_user


def schema() -> None:
    """Print the JSON Schema of the station file, installed plugins included.

    Example: `edge-inspector schema > station.schema.json`
    """
    with told_to_the_user():
        typer.echo(json.dumps(config.json_schema(), indent=2))
