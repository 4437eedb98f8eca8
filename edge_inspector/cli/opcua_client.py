"""`edge-inspector opcua browse` and `opcua check`: what is in a PLC's server, and whether a mapping fits it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_inspector import config
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.cli.files import write_whole
from edge_inspector.config import StationFileError, dotted
from edge_inspector.errors import ConfigError
from edge_inspector.health.clock import SystemClock
from edge_inspector.outputs.opcua_client import map_text

if TYPE_CHECKING:  # asyncua takes a second to import: not for --help
    from edge_inspector.outputs.opcua_client.cells import Node
    from edge_inspector.outputs.opcua_client.config import Config
    from edge_inspector.outputs.opcua_client.survey import Finding
    from edge_inspector.outputs.opcua_client.tree import Proposal, Variable

EXIT_WRONG = 1
"""The server was reached, and something in it is not as it should be."""
PIPED_COLUMNS = 2000
"""A line for each node in what goes into a file or another program, however long its NodeId is."""
LinkOption = Annotated[
    str | None, typer.Option("--link", help="Which [plc.NAME] of type opcua_client; not needed when there is one.")
]


def browse(
    endpoint: Annotated[
        str | None, typer.Argument(help="opc.tcp://HOST:PORT; without it, the link of --write-mapping's file.")
    ] = None,
    under: Annotated[
        str | None, typer.Option("--under", metavar="NODEID", help="Only what lies below this node.")
    ] = None,
    write_mapping: Annotated[
        Path | None,
        typer.Option("--write-mapping", metavar="FILE", help="Add what looks like our tags to this station file."),
    ] = None,
    link: LinkOption = None,
    security: Annotated[
        str, typer.Option(help="None, Basic256Sha256, Aes128Sha256RsaOaep or Aes256Sha256RsaPss.")
    ] = "None",
    mode: Annotated[str, typer.Option(help="Sign or SignAndEncrypt.")] = "SignAndEncrypt",
    user: Annotated[str | None, typer.Option(help="Log in as this user; with --password-file.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File with the password in its first line.")] = None,
    folder: Annotated[
        Path, typer.Option(help="Where certificates are kept: pki/own, pki/trusted, pki/rejected.")
    ] = Path("opcua-client"),
    timeout: Annotated[float, typer.Option(min=0.1, max=30, help="Seconds to wait for each answer.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List the variables of an OPC UA server: path, NodeId, type, access. Writes nothing into the server.

    --write-mapping proposes a NodeId for each of our tags whose name it finds (such as DB_Vision.Control.TriggerSeq),
    and adds them to [plc.NAME.map] of the file. What is mapped there, and every comment, stays. Look it over, then
    run `edge-inspector opcua check`.

    Examples: `edge-inspector opcua browse opc.tcp://192.168.0.1`,
    `edge-inspector opcua browse --write-mapping station.toml --under 'ns=3;s="DB_Vision"'`
    """
    from edge_inspector.outputs.opcua_client import tree, visits

    with told_to_the_user():
        name = ""
        if write_mapping is not None:
            text = _read(write_mapping)
            name = link or _only_link(write_mapping, text)
            map_text.mapped_in(text, name)
        base, kept, station = Path.cwd(), folder, None
        given: dict[str, Any] = {"endpoint": endpoint, "security": security, "mode": mode, "timeout_s": timeout}
        given |= {"user": user, "password_file": None if password_file is None else str(password_file)}
        if endpoint is None:
            if write_mapping is None:
                raise typer.BadParameter("give an ENDPOINT, or --write-mapping FILE with a link that has one")
            given, base = map_text.table_of(text, name), write_mapping.resolve().parent
            kept, station = _folder_of(write_mapping, name), map_text.station_in(text)
        seen = anyio.run(visits.browsed, visits.keeper_of(given, base, kept, SystemClock(), station), under)
        proposal = tree.proposed(seen)
        if as_json:
            typer.echo(json.dumps({"variables": [*map(_as_json, seen)], "proposed": proposal.nodes}, indent=2))
        else:
            _print_variables(seen)
        if write_mapping is not None:
            _write(write_mapping, name, proposal)


def check(
    file: Annotated[Path, typer.Option("--station", help="The station file (TOML).")] = Path("station.toml"),
    link: LinkOption = None,
    write_test: Annotated[
        bool,
        typer.Option(
            "--write-test",
            help="Write each value that was read back into its node, with and without a time stamp. Only while the"
            " line stands: between reading and writing, the station or the PLC may have written a newer one.",
        ),
    ] = False,
) -> None:
    """Look at every node that a station file maps: does it exist, is its type right, may we read or write it?

    Reads only, in a session of its own, unless --write-test is given. The exit code is 1 when something is wrong.

    Example: `edge-inspector opcua check --station station.toml`
    """
    from edge_inspector.outputs.opcua_client import visits

    with told_to_the_user():
        text = _read(file)
        name = link or _only_link(file, text)
        settings, kept = _link_settings(file, name), _folder_of(file, name)
        found, tested = anyio.run(visits.checked, settings, kept, SystemClock(), map_text.station_in(text), write_test)
    _print_findings(found, tested)
    if any(one.problems for one in found) or any(word not in visits.TAKEN for word in tested.values()):
        raise typer.Exit(EXIT_WRONG)


def _write(file: Path, name: str, proposal: Proposal) -> None:
    text = _read(file)
    known = map_text.mapped_in(text, name)
    changed = map_text.with_map(text, name, proposal.nodes)
    if changed != text:
        write_whole(file, changed.encode())
    new = [tag for tag in proposal.nodes if tag not in known]
    typer.echo(f"{file}: {len(new)} tag(s) added to [plc.{name}.map], {len(known)} were there", err=True)
    for line in proposal.left_out:
        typer.echo(f"left out: {line}", err=True)


def _link_settings(file: Path, name: str) -> Config:
    from edge_inspector.outputs.opcua_client.config import Config

    draft = config.draft(file)
    settings = draft.plc.get(name)
    if isinstance(settings, Config):
        return settings
    key = dotted(["plc", name])
    problems = [one for one in draft.problems if one.key == key or one.key.startswith(f"{key}.")]
    if problems:
        raise StationFileError(problems)
    map_text.mapped_in(_read(file), name)  # tells what is missing
    raise ConfigError(f"{file}: {key} is not right; run `edge-inspector check {file}`")


def _only_link(file: Path, text: str) -> str:
    links = map_text.links_in(text)
    if len(links) != 1:
        told = ", ".join(links) or "none"
        raise ConfigError(f"{file}: has these links of type opcua_client: {told}; name one with --link")
    return links[0]


def _folder_of(file: Path, name: str) -> Path:
    """Where the station keeps the link's certificates."""
    written = map_text.state_dir_in(_read(file)) or os.environ.get("STATE_DIRECTORY", "state")
    return file.resolve().parent / Path(written).expanduser() / "plc" / name


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file}: is not UTF-8 text (byte {exc.start}); expected a TOML file") from exc


def _as_json(one: Variable) -> dict[str, object]:
    node = one.node
    kind = None if node.type is None else node.type.name
    return {"path": one.path, "node": node.name, "type": kind, "length": node.length, "access": _access(node)}


def _access(node: Node) -> str:
    return ("r" if node.readable else "") + ("w" if node.writable else "")


def _type(node: Node) -> str:
    name = "?" if node.type is None else node.type.name
    return f"{name}[{node.length or ''}]" if node.rank >= 0 else name


def _print_variables(seen: Sequence[Variable]) -> None:
    if not seen:
        typer.echo("no variables there that this user may see")
        return
    table = _table("path", "NodeId", "type", "access")
    for one in seen:
        table.add_row(*map(escape, (".".join(one.path), one.node.name, _type(one.node), _access(one.node))))
    _console().print(table)


def _print_findings(found: Sequence[Finding], tested: dict[str, str]) -> None:
    table = _table("tag", "NodeId", "type", "access", "time stamps", "result")
    for one in found:
        facts = ("-", "-") if one.cell is None else (_type(one.cell.node), _access(one.cell.node))
        result = "; ".join(one.problems) or "right"
        colour = "red" if one.problems else "green"
        stamps = tested.get(one.tag, "not tried")
        table.add_row(*map(escape, (one.tag, one.text, *facts, stamps)), f"[{colour}]{escape(result)}[/]")
    _console().print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in columns:
        table.add_column(title, overflow="fold")
    return table


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_COLUMNS)
