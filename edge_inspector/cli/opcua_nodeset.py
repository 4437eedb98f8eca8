"""`edge-inspector opcua export-nodeset`: the tags for engineering tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.errors import ConfigError
from edge_inspector.outputs.opcua_server.nodeset import nodeset


def export_nodeset(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write it; standard output without one.", show_default=False)
    ] = None,
) -> None:
    """Write the NodeSet2 XML of the OPC UA tags, which TIA Portal and other engineering tools import.

    It is the same for every station: none has to run.

    Example: `edge-inspector opcua export-nodeset station.nodeset2.xml`
    """
    text = nodeset()
    if file is None:
        typer.echo(text, nl=False)
        return
    with told_to_the_user():
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"{file}: cannot be written: {exc.strerror}; choose another file") from exc
    typer.echo(f"{file}: {text.count('<UAVariable')} tags")
