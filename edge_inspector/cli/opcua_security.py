"""`edge-inspector opcua certificates`, `trust`, `distrust` and `user`: who may use the OPC UA server."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_inspector import config
from edge_inspector.cli.failures import EXIT_USER, tell, told_to_the_user
from edge_inspector.errors import ConfigError
from edge_inspector.outputs.opcua_server.security import keeping, pki_of, users
from edge_inspector.outputs.opcua_server.security.certificates import host_names, read_certificates
from edge_inspector.outputs.opcua_server.security.files import Pki
from edge_inspector.outputs.opcua_server.security.users import Role

PIPED_COLUMNS = 240
_TYPE = "opcua_server"

StationOption = Annotated[Path, typer.Option("--station", help="The station file (TOML).")]
LinkOption = Annotated[
    str | None, typer.Option("--link", help="The link of the station file, where it has several OPC UA servers.")
]

user_app = typer.Typer(no_args_is_help=True)


def certificates(station: StationOption = Path("station.toml"), link: LinkOption = None) -> None:
    """List the certificates of the OPC UA server: its own, trusted ones, and clients that nobody has trusted yet.

    Compare thumbprints (SHA-1) with what the client shows before you trust it.

    Example: `edge-inspector opcua certificates --station station.toml`
    """
    with told_to_the_user():
        pki = _pki(station, link)
        places = (pki.own_certificate, pki.next_certificate, pki.trusted, pki.issuers, pki.rejected)
        (present, following, *others), damaged = zip(*map(keeping.kept_in, places), strict=True)
    own = [*present, *following]
    listed = [(own, "own"), *zip(others, ("trusted", "issuer", "rejected"), strict=True)]
    typer.echo(f"folder: {pki.root}")
    for one in own[:1]:
        typer.echo(f"own certificate: {one.file}, for {', '.join(host_names(one.certificate))}")
    if not own and not pki.own_certificate.exists():
        typer.echo("no own certificate yet: the server makes one at its first start, except on a loopback address")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "thumbprint", "valid until", "application URI", "subject"):
        table.add_column(title, no_wrap=True)
    for kept, what in listed:
        for one in kept:
            kind = "next" if one.file == pki.next_certificate else f"{what} CA" if one.is_ca else what
            cells = (kind, one.thumbprint, f"{one.valid[1]:%Y-%m-%d}", ", ".join(one.uris), one.subject)
            table.add_row(*map(escape, cells))
    if table.row_count:
        Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_COLUMNS).print(table)
    if any(damaged):
        for error in chain(*damaged):
            tell(error)
        raise typer.Exit(EXIT_USER)


def trust(
    what: Annotated[
        str, typer.Argument(metavar="THUMBPRINT|FILE", help="A rejected client, a certificate file or a CA's CRL.")
    ],
    station: StationOption = Path("station.toml"),
    link: LinkOption = None,
) -> None:
    """Trust a client's certificate, or a CA and so every client to which it gives one. A running station sees it.

    THUMBPRINT, or its first digits, is of a client that has tried to connect. A FILE is DER or PEM.

    Examples: `edge-inspector opcua trust 4F0E21AB`, `edge-inspector opcua trust plc_7.der --station station.toml`
    """
    with told_to_the_user():
        pki, file = _pki(station, link), Path(what)
        if not file.is_file():
            if not keeping.is_thumbprint(what):
                raise ConfigError(f"{what}: neither a file nor (the beginning of) a thumbprint; expected one of them")
            trusted = [keeping.trust_rejected(pki, what)]
        else:
            revocations = keeping.keep_revocations(pki, file)
            if revocations is not None:
                number = len(revocations)
                typer.echo(
                    f"revocation list of {revocations.issuer.rfc4514_string()}: {number} certificate(s) taken back"
                )
                return
            trusted = keeping.trust_file(pki, file)
    for one in trusted:
        typer.echo(f"trusted: {one.thumbprint} {one.subject}")
        if one.is_ca:
            typer.echo("it is a CA: give its revocation list too (`edge-inspector opcua trust FILE.crl`)")


def distrust(
    thumbprint: Annotated[str, typer.Argument(help="Of a trusted certificate, or its first digits.")],
    station: StationOption = Path("station.toml"),
    link: LinkOption = None,
) -> None:
    """Take the trust back. A running station shows the client out within two minutes.

    Example: `edge-inspector opcua distrust 4F0E21AB`
    """
    with told_to_the_user():
        gone = keeping.distrust(_pki(station, link), thumbprint)
    typer.echo(f"not trusted any more: {gone.thumbprint} {gone.subject}")


@user_app.callback()
def _users() -> None:
    """Who may log in: `reader` reads, `plc` also writes the Control tags and calls methods.

    Example: `edge-inspector opcua user add line3 --role plc`
    """


@user_app.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    role: Annotated[Role, typer.Option(help="What the user may do.")],
    station: StationOption = Path("station.toml"),
    link: LinkOption = None,
    password_file: Annotated[
        Path | None, typer.Option(help="Read the password from the first line of this file; - is standard input.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="In place of a password: the user's certificate (DER or PEM).")
    ] = None,
) -> None:
    """Add a user, or give one a new password or role. The password is asked for; a running station sees it.

    Examples: `edge-inspector opcua user add line3 --role plc`,
    `edge-inspector opcua user add scada --role reader --certificate scada.der`
    """
    if password_file is not None and certificate is not None:
        raise typer.BadParameter("give --password-file or --certificate, not both")
    with told_to_the_user():
        pki = _pki(station, link)
        known = dict(users.read_users(pki.users))
        if certificate is not None:
            account = users.with_certificate(name, role, read_certificates(certificate)[0])
        else:
            account = users.with_password(name, role, _password(password_file))
        before = known.get(name)
        known[name] = account
        users.write_users(pki.users, known)
    typer.echo(f"{'changed' if before else 'added'}: {name} ({role.value}) in {pki.users}")


@user_app.command("list")
def user_list(station: StationOption = Path("station.toml"), link: LinkOption = None) -> None:
    """List the users with their roles, and how they prove who they are.

    Example: `edge-inspector opcua user list`
    """
    with told_to_the_user():
        pki = _pki(station, link)
        known = users.read_users(pki.users)
    for one in known.values():
        typer.echo(f"{one.name}  {one.role.value}  {'certificate' if one.by_certificate else 'password'}")
    if not known:
        typer.echo(f"no users in {pki.users}: nobody can log in; add one with `edge-inspector opcua user add`")


@user_app.command("remove")
def user_remove(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    station: StationOption = Path("station.toml"),
    link: LinkOption = None,
) -> None:
    """Remove a user. A running station shows it out within two minutes.

    Example: `edge-inspector opcua user remove line3`
    """
    with told_to_the_user():
        pki = _pki(station, link)
        known = dict(users.read_users(pki.users))
        if known.pop(name, None) is None:
            raise ConfigError(f"user {name!r} is not there; the users are {', '.join(known) or 'none'}")
        users.write_users(pki.users, known)
    typer.echo(f"removed: {name}")


def _pki(station: Path, link: str | None) -> Pki:
    """The folder of the one OPC UA server of a station file, or of the one that is meant. ConfigError."""
    settings = config.load(station)
    servers = [name for name, one in settings.plc.items() if one.type == _TYPE]
    if not servers:
        raise ConfigError(f'{station}: has no OPC UA server; expected a table [plc.NAME] with type = "{_TYPE}"')
    if link is None and len(servers) > 1:
        raise ConfigError(f"{station}: has several OPC UA servers; choose one with --link: {', '.join(servers)}")
    if link is not None and link not in servers:
        raise ConfigError(f"{station}: has no OPC UA server {link!r}; expected {', '.join(servers)}")
    return pki_of(settings.station.state_dir / "plc" / (link or servers[0]))


def _password(file: Path | None) -> str:
    """Never from the command line: everybody on the machine can read those."""
    if file is None and sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    if file is None or str(file) == "-":
        text = sys.stdin.readline()
    else:
        text = file.read_text(encoding="utf-8").split("\n", 1)[0]
    return text.rstrip("\r\n")
