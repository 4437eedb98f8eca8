"""`edge-inspector plc-sim`: a PLC for people who have none on their desk."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.errors import ConfigError

if TYPE_CHECKING:
    from edge_inspector.plc_sim.plc import Glance
    from edge_inspector.plc_sim.wire import Wire

EXIT_DISAGREEMENT = 1
"""PLC and ledger tell different stories, or a bad part has passed."""


def plc_sim(
    endpoint: Annotated[str, typer.Option(help="Endpoint of the station's OPC UA server.")] = (
        "opc.tcp://127.0.0.1:4840/edge-inspector"
    ),
    modbus: Annotated[
        str, typer.Option(help="HOST:PORT of the station's Modbus TCP server, in place of OPC UA; high word first.")
    ] = "",
    parts: Annotated[int, typer.Option(min=1, help="How many parts to announce.")] = 60,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help="Parts a second, at most.")] = 5.0,
    log: Annotated[Path, typer.Option(help="The PLC's own log, JSON lines, appended.")] = Path("plc.jsonl"),
    recipe_no: Annotated[int, typer.Option(min=1, max=65535, help="Number of the recipe that the line orders.")] = 1,
    gate_ms: Annotated[float, typer.Option(min=1, help="Gate timer: without a result after this it is a reject.")] = (
        3000.0
    ),
    cycle_ms: Annotated[float, typer.Option(min=1, max=10_000, help="Scan cycle: read, decide, write.")] = 10.0,
    positions: Annotated[
        int, typer.Option(min=1, max=1000, help="Steps of the belt from the cameras to the gate.")
    ] = 4,
    keep_moving: Annotated[
        bool, typer.Option("--keep-moving", help="The belt waits for nothing: no result at the gate = reject.")
    ] = False,
    through: Annotated[Literal["slot", "ring"], typer.Option(help="Where results are read.")] = "slot",
    fault: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=SHARE of the parts (0..1), again for more; `--fault list` names them."),
    ] = None,
    wait_s: Annotated[float, typer.Option(min=0, help="Without a station for so long it gives up.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 1,
    ledger: Annotated[Path | None, typer.Option(help="Compare with the station's ledger at the end.")] = None,
    truth: Annotated[
        Path | None, typer.Option(help='With --ledger: which pictures are good, JSON {"good": [true, ...]}.')
    ] = None,
    policy: Annotated[
        Literal["None", "Basic256Sha256", "Aes256Sha256RsaPss"], typer.Option(help="Security policy, sign and encrypt.")
    ] = "None",
    certificate: Annotated[Path | None, typer.Option(help="This client's certificate, PEM or DER.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Its private key, PEM or DER.")] = None,
    user: Annotated[str, typer.Option(help="User name.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="File with the password in its first line.")] = None,
) -> None:
    """Play the PLC: announce parts, apply the rule at the gate, keep an own log.

    Ends with 1 when a bad part has passed or the ledger tells something else (with --ledger).

    Examples: `edge-inspector plc-sim --parts 20 --rate 2 --log plc.jsonl`,
    `edge-inspector plc-sim --parts 500 --fault all=0.02 --ledger state/ledger.sqlite`
    """
    from rich.console import Console

    from edge_inspector.plc.function_block import FunctionBlock
    from edge_inspector.plc_sim import faults, proof, report
    from edge_inspector.plc_sim.journal import Journal
    from edge_inspector.plc_sim.log import PlcLog, read_plc_log
    from edge_inspector.plc_sim.modbus_wire import ModbusWire
    from edge_inspector.plc_sim.plc import Line, SimulatedPlc, new_boot_id, new_count

    if fault == ["list"]:
        for name, meaning in faults.ALL.items():
            typer.echo(f"{name:<18} {meaning}")
        return
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)  # it tells of every attempt that fails; so do we, once
    console = Console(stderr=True)
    with told_to_the_user():
        shares = faults.shares(fault or ())
        if truth is not None and ledger is None:
            raise ConfigError("--truth needs --ledger: only the ledger knows which picture was whose")
        known = None if truth is None else proof.read_truth(truth)
        block = FunctionBlock(
            new_boot_id(),
            recipe_no,
            int(gate_ms * 1e6),
            through=through,
            one_read="torn-scans" not in shares,
            seq=new_count(),
        )
        wire: Wire = (
            ModbusWire(modbus) if modbus else _opcua(endpoint, policy, certificate, private_key, user, password_file)
        )
        book_file = PlcLog(log)
        with console.status("linking") as status:

            def show(glance: Glance) -> None:
                status.update(
                    f"{glance.fed} of {parts} parts, {glance.passed} passed, {glance.rejected} rejected;"
                    f" station {glance.text}; at the gate: {glance.last}"
                )

            plc = SimulatedPlc(
                wire,
                Line(parts, 1.0 / rate, positions, cycle_ms / 1e3, keep_moving, wait_s),
                block,
                faults.Faults(shares, seed),
                Journal(book_file),
                lambda line: typer.echo(line, err=True),
                show,
            )
            try:
                asyncio.run(plc.run())
            finally:
                book_file.close()
        book = read_plc_log(log, book_file.begin)
        compared = None if ledger is None else proof.compare(book, proof.settled_verdicts(ledger, book), known)
    for line in report.report(book, compared, plc.seconds):
        typer.echo(line)
    if compared is not None and not compared.good:
        raise typer.Exit(EXIT_DISAGREEMENT)


def _opcua(
    endpoint: str,
    policy: Literal["None", "Basic256Sha256", "Aes256Sha256RsaPss"],
    certificate: Path | None,
    private_key: Path | None,
    user: str,
    password_file: Path | None,
) -> Wire:
    from edge_inspector.plc_sim.opcua_wire import Access, OpcUaWire

    lines = [] if password_file is None else password_file.read_text(encoding="utf-8").splitlines()
    return OpcUaWire(endpoint, Access(policy, certificate, private_key, user, lines[0] if lines else ""))
