"""`edge-inspector ledger`: what the book says, and whether it balances."""

from __future__ import annotations

import enum
import json
import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from edge_inspector import config
from edge_inspector.cli import ledger_print
from edge_inspector.cli.failures import EXIT_BALANCE, told_to_the_user
from edge_inspector.cli.ledger_export import Asked, Pages, pages, write_csv, write_file
from edge_inspector.cli.times import typed_time
from edge_inspector.datatypes import AuditEntry, Evaluation
from edge_inspector.errors import ConfigError
from edge_inspector.store import audit as trail
from edge_inspector.store.opening import open_book
from edge_inspector.store.periods import Period, between, shifts_in
from edge_inspector.store.reading import snapshot, utc_text
from edge_inspector.store.reconcile import LISTED, Balance, reconcile
from edge_inspector.store.settings import LedgerSettings
from edge_inspector.store.summary import summarise

ledger = typer.Typer(no_args_is_help=True)
_CLOCK_NOT_SET = "SELECT count(*) FROM triggers WHERE clock_synced = 0"
_WITHOUT_RESULT = "SELECT count(*) FROM triggers t WHERE NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = t.seq)"


class Judged(str, enum.Enum):
    """The names of `Evaluation`, for the command line."""

    OK = "OK"
    NOT_OK = "NOT_OK"
    NOT_DECIDABLE = "NOT_DECIDABLE"
    UNDEFINED = "UNDEFINED"


BookArgument = Annotated[Path, typer.Argument(help="The station file (TOML), or a ledger or a copy of one.")]
SinceOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only parts from this time on: 2026-11-22 or '2026-11-22 06:00', local."),
]
UntilOption = Annotated[str | None, typer.Option(metavar="TIME", help="Only parts before this time.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_STATION = Path("station.toml")
_A_FEW = 3
"""Parts that --shift names for each reason."""
_ALL = 100_000
"""Parts that --all names for each reason, at most."""


@ledger.callback()
def _ledger() -> None:
    """The book of parts, results and orders: sums, tables, whether it balances. The station may be running."""


@ledger.command()
def summary(
    book: BookArgument = _STATION, since: SinceOption = None, until: UntilOption = None, as_json: JsonOption = False
) -> None:
    """What the book holds: results, reasons, times, what waits for brokers.

    Example: `edge-inspector ledger summary station.toml --since 2026-11-22`
    """
    with told_to_the_user():
        path = _book(book).path
        with closing(open_book(path)) as connection:
            within = between(typed_time(since), typed_time(until))
            made = summarise(connection, within)
            _tell_left_out(connection, within, "")
    if as_json:
        _print_json({"file": str(path), **asdict(made)})
    else:
        ledger_print.summary(made)


@ledger.command("reconcile")
def reconcile_(
    book: BookArgument = _STATION,
    shift: Annotated[bool, typer.Option("--shift", help="Shift by shift, as the station file has them.")] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    trust_clock: Annotated[
        bool, typer.Option("--trust-clock", help="Take times for true although no time server had set the clock.")
    ] = False,
    name_all: Annotated[bool, typer.Option("--all", help="Name every part that is missing somewhere.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove that no part was lost: triggers, results, the PLC, the brokers and pictures against each other.

    Whatever is missing is listed with its reason. Exit code 3: something is missing and nobody knows why, or a
    broker has not got it.

    Example: `edge-inspector ledger reconcile station.toml --shift`
    """
    with told_to_the_user():
        named = _book(book)
        clock = None if trust_clock else True
        within = between(typed_time(since), typed_time(until), clock)
        now_utc = utc_text(datetime.now(timezone.utc))
        with closing(open_book(named.path)) as connection, snapshot(connection):
            periods = list(shifts_in(connection, within, named.shifts, clock=clock)) if shift else [within]
            balances = reconcile(connection, periods, now_utc, _ALL if name_all else _A_FEW if shift else LISTED)
            _tell_left_out(connection, within, "; with --trust-clock they count")
    if as_json:
        _print_json({"file": str(named.path), "now_utc": now_utc, "periods": [_facts(one) for one in balances]})
    elif shift:
        ledger_print.shifts(balances)
    else:
        ledger_print.balance(balances[0], publishes=named.publishes is not False)
    if not all(one.balanced for one in balances):
        raise typer.Exit(EXIT_BALANCE)


@ledger.command()
def export(
    book: BookArgument = _STATION,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write CSV; - is the standard output.")
    ] = None,
    parquet_file: Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="Write Parquet.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    evaluation: Annotated[Judged | None, typer.Option(help="Only results of this kind.", case_sensitive=False)] = None,
    part_id: Annotated[str | None, typer.Option(metavar="ID", help="Only results of this part.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the results as a table, a row for each, in the order of acceptance.

    In CSV a text that a spreadsheet would take for a formula gets an apostrophe before it.

    Example: `edge-inspector ledger export station.toml --csv results.csv --since 2026-11-22`
    """
    with told_to_the_user():
        file = csv_file or parquet_file
        if file is None or (csv_file is not None and parquet_file is not None):
            raise ConfigError("give one file to write: --csv FILE or --parquet FILE")
        path = _book(book).path
        kind = None if evaluation is None else Evaluation[evaluation.value]
        asked = Asked(typed_time(since), typed_time(until), kind, part_id)
        with closing(open_book(path)) as connection, snapshot(connection):
            results = pages(connection, asked)
            if csv_file == Path("-"):
                written = _to_stdout(results)
            else:
                written = write_file(file, "csv" if csv_file else "parquet", results, force=force)
            open_parts = connection.execute(_WITHOUT_RESULT).fetchone()[0]
    typer.echo(f"{written} results written", err=True)
    if open_parts:
        typer.echo(
            f"{open_parts} parts have no result and are not in it: see `edge-inspector ledger reconcile`", err=True
        )


@ledger.command()
def audit(
    book: BookArgument = _STATION,
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of hashes.")] = False,
    head: Annotated[
        str, typer.Option(metavar="ROWS:HASH", help="With --verify: a head that was published or noted before.")
    ] = "",
    last: Annotated[int, typer.Option(min=1, help="So many rows, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Who did what to the station: files and models that were changed, orders, pictures that somebody looked at.

    --verify shows whether a row was edited or deleted. That the end was cut off, or all of it written anew, only a
    head from before can show: the station publishes it daily. Exit code 3: the trail is broken.

    Example: `edge-inspector ledger audit station.toml --verify`
    """
    with told_to_the_user():
        if head and not verify:
            raise ConfigError("--head is for --verify; give both")
        path = _book(book).path
        with closing(open_book(path)) as connection, snapshot(connection):
            proof = trail.verify(connection, head) if verify else None
            entries = [] if verify else _newest(connection, last)
    if proof is not None:
        _print_json(asdict(proof)) if as_json else ledger_print.proof(proof)
        if proof.problems:
            raise typer.Exit(EXIT_BALANCE)
    elif as_json:
        _print_json([{"row": number, **asdict(entry)} for number, entry in entries])
    else:
        ledger_print.audit(entries)


def _newest(connection: sqlite3.Connection, rows: int) -> list[tuple[int, AuditEntry]]:
    """The last rows of the trail, the oldest of them first."""
    query = "SELECT id, wall_utc, clock_synced, who, what, detail FROM audit ORDER BY id DESC LIMIT ?"
    found = connection.execute(query, (rows,)).fetchall()
    return [(n, AuditEntry(utc, bool(synced), *words)) for n, utc, synced, *words in reversed(found)]


def _to_stdout(results: Pages) -> int:
    """As `write_csv`; whoever reads it may have enough before the end."""
    try:
        written = write_csv(sys.stdout, results)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left for Python to flush
        raise typer.Exit from None
    return written


@dataclass(frozen=True)
class _Book:
    """The ledger that is meant. `publishes`: whether its station has a broker, None = no station file was named."""

    path: Path
    shifts: tuple[str, ...]
    publishes: bool | None


def _tell_left_out(connection: sqlite3.Connection, within: Period, remedy: str) -> None:
    """A balance of a day must not look like one of all its parts when nobody knows which day it was."""
    count = 0 if within.is_all or not within.clock else connection.execute(_CLOCK_NOT_SET).fetchone()[0]
    if count:
        text = f"{count} parts of the book were triggered while the clock was not set: they are in no day and no shift"
        typer.echo(f"{text}{remedy}", err=True)


def _book(path: Path) -> _Book:
    if path.suffix != ".toml":
        return _Book(path, LedgerSettings.model_validate({}).shifts, None)
    settings = config.load(path)
    return _Book(settings.station.state_dir / "ledger.sqlite", settings.ledger.shifts, bool(settings.publishers))


def _facts(one: Balance) -> dict[str, object]:
    """For JSON."""
    equations = [{**asdict(equation), "balanced": equation.balanced} for equation in one.equations]
    for equation in equations:
        equation["terms"] = dict(equation["terms"])
    return {**asdict(one), "equations": equations, "balanced": one.balanced}


def _print_json(facts: object) -> None:
    typer.echo(json.dumps(facts, indent=2))
