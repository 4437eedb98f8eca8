"""`edge-inspector plc-sim`: a PLC for people who have none on their desk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.demo.plc_sim import SimulatedPlc


def plc_sim(
    endpoint: Annotated[str, typer.Option(help="Endpoint of the station's OPC UA server.")] = (
        "opc.tcp://127.0.0.1:4840/edge-inspector"
    ),
    parts: Annotated[int, typer.Option(min=1, help="How many parts to announce.")] = 60,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help="Parts a second, at most.")] = 5.0,
    log: Annotated[Path, typer.Option(help="The PLC's own log, JSON lines, appended.")] = Path("plc.jsonl"),
    recipe_no: Annotated[int, typer.Option(min=1, help="Number of the recipe that the line is set to.")] = 1,
    gate_ms: Annotated[float, typer.Option(min=1, help="A part without a result after this is a reject.")] = 3000.0,
) -> None:
    """Play the PLC: announce parts, read each result, acknowledge it, keep an own log.

    Example: `edge-inspector plc-sim --parts 20 --rate 2 --log plc.jsonl`
    """

    def say(line: str) -> None:
        typer.echo(line, err=True)

    with told_to_the_user():
        asyncio.run(SimulatedPlc(endpoint, parts, rate, log, recipe_no, gate_ms / 1e3, say).run())
