"""`edge-inspector web`: REST, events and the operators' page, and the tokens for them."""

from __future__ import annotations

import importlib
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from edge_inspector import config, log
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.control import ControlClient, StationAway
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Order
from edge_inspector.web.checked import check_start
from edge_inspector.web.tokens import TokenFile, token_file


class _ServesByDefault(TyperGroup):
    """`web station.toml` means `web serve station.toml`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["serve", *args])


web = typer.Typer(cls=_ServesByDefault, no_args_is_help=True)
token = typer.Typer(no_args_is_help=True)
web.add_typer(token, name="token")
Station = Annotated[Path, typer.Option(help="The station file (TOML).")]
Name = Annotated[str, typer.Argument(help="Whose it is, a panel or a person: it stands in the audit trail.")]
Role = Literal["reader", "operator", "engineer"]


@web.callback()
def _web() -> None:
    """REST, events and the operators' page of a station, and the tokens for them.

    Examples: `edge-inspector web station.toml`, `edge-inspector web token add panel-3 --role operator`
    """


@web.command("serve")
def serve(station: Annotated[Path, typer.Argument(help="The station file (TOML).", show_default=False)]) -> None:
    """Serve until SIGTERM or Ctrl-C; the table [web] of the station file says where. `serve` may be left out.

    Example: `edge-inspector web station.toml`
    """
    with told_to_the_user():
        server = _server()
        settings = config.load(station)
        check_start(settings, station)
        log.configure(settings.log.level, settings.log.json_lines)
        server.serve(settings)


@token.callback()
def _token() -> None:
    """Who may use the web service: `reader` sees, `operator` also acknowledges and inspects, `engineer` sets up.

    Example: `edge-inspector web token add panel-3 --role reader`
    """


@token.command("add")
def token_add(
    name: Name,
    role: Annotated[Role, typer.Option(help="What it may do; each may do what those before it may.")],
    days: Annotated[int, typer.Option(min=0, max=36500, help="Valid for so many days; 0: until it is removed.")] = 365,
    station: Station = Path("station.toml"),
) -> None:
    """Make a token and print it, this once: only its hash is kept. A running web service knows it at once.

    Example: `edge-inspector web token add panel-3 --role operator --days 0`
    """
    with told_to_the_user():
        settings = config.load(station)
        made, secret = token_file(settings.station.state_dir).add(name, role, days, _now())
        told = _audited(settings, "token_added", f"{made.name}, {made.role}, until {made.expires_utc or 'removed'}")
    typer.echo(
        f"{role} {name!r}, valid {'until ' + made.expires_utc if made.expires_utc else 'until it is removed'};"
        f" {told}. The token, which is not shown again:",
        err=True,
    )
    typer.echo(secret)


@token.command("list")
def token_list(station: Station = Path("station.toml")) -> None:
    """List the tokens with their roles and ends.

    Example: `edge-inspector web token list`
    """
    with told_to_the_user():
        tokens = _tokens(station).tokens()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("name", "role", "made", "ends"):
        table.add_column(title)
    for one in tokens:
        end = one.expires_utc or "never"
        table.add_row(one.name, one.role, one.created_utc, f"{end} (over)" if one.expired(_now()) else end)
    if tokens:
        Console(soft_wrap=True).print(table)
    else:
        typer.echo("no tokens: only programs on this machine may read; add one with `edge-inspector web token add`")


@token.command("remove")
def token_remove(name: Name, station: Station = Path("station.toml")) -> None:
    """Remove a token. A running web service refuses it at once, and hangs up who listens with it.

    Example: `edge-inspector web token remove panel-3`
    """
    with told_to_the_user():
        settings = config.load(station)
        gone = token_file(settings.station.state_dir).remove(name)
        told = _audited(settings, "token_removed", f"{gone.name}, {gone.role}")
    typer.echo(f"{gone.role} {gone.name!r} is removed; {told}")


def _tokens(station: Path) -> TokenFile:
    return token_file(config.load(station).station.state_dir)


def _audited(settings: config.StationConfig, what: str, detail: str) -> str:
    """Book it in the station's audit trail, which only the running station writes."""
    order = Order("audit", "", {"what": what, "detail": detail})
    try:
        answer = ControlClient(settings.station.runtime / "control.sock").order(order)
    except StationAway:
        return "the station does not run, so it is not in the audit trail"
    return "it is in the audit trail" if answer.done else f"it is not in the audit trail: {answer.text}"


def _server() -> Any:
    try:
        return importlib.import_module("edge_inspector.web.server")
    except ImportError as exc:
        raise ConfigError(
            f"the web service needs more packages ({exc}): `{sys.executable} -m pip install 'edge-inspector[web]'`"
        ) from exc


def _now() -> datetime:
    return datetime.now(timezone.utc)
