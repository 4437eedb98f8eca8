"""The `edge-inspector` command."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from edge_inspector import __version__
from edge_inspector.cli import (
    bench,
    calibrate,
    camera,
    check,
    demo,
    devices,
    doctor,
    engine,
    evaluate,
    golden,
    grab,
    ledger,
    opcua,
    plc_sim,
    power,
    reference,
    reload,
    replay,
    run,
    schema,
    status,
    thresholds,
    web,
)

app = typer.Typer(
    name="edge-inspector",
    help="The runtime of a visual-inspection station: camera, model, verdict, PLC and broker.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-inspector {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if os.environ.get("NO_COLOR"):  # https://no-color.org; rich does so by itself
        context.color = False


app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("reload")(reload.reload)
app.command("check")(check.check)
app.command("status")(status.status)
app.command("schema")(schema.schema)
app.command("devices")(devices.devices)
app.command("doctor")(doctor.doctor)
app.command("grab")(grab.grab)
app.add_typer(camera.camera, name="camera")
app.add_typer(calibrate.calibrate, name="calibrate")
app.add_typer(engine.engine, name="engine")
app.command("evaluate")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.add_typer(ledger.ledger, name="ledger")
app.add_typer(thresholds.app, name="thresholds")
app.add_typer(golden.golden, name="golden")
app.add_typer(reference.reference, name="reference")
app.command("replay")(replay.replay)
app.add_typer(web.web, name="web")
app.add_typer(opcua.opcua, name="opcua")
app.add_typer(power.power, name="power")
app.command("plc-sim")(plc_sim.plc_sim)
