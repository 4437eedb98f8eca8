"""`edge-inspector golden`: known parts, and whether they are judged rightly."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from edge_inspector import __version__, assembly, config, plugins
from edge_inspector.cli import ledger_print
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.cli.files import check_free
from edge_inspector.config import StationConfig
from edge_inspector.control import ControlClient, StationAway
from edge_inspector.datatypes import AuditEntry
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.store import EngineStore
from edge_inspector.errors import ConfigError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import Order
from edge_inspector.station import golden_book
from edge_inspector.station.by_hand import book_by_hand
from edge_inspector.station.engines import Engines, Refused
from edge_inspector.station.golden_pictures import Answer, answers, faults, in_the_record, stored_parts
from edge_inspector.station.golden_words import golden_words
from edge_inspector.station.parts import LoadedRecipe
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.opening import open_book
from edge_inspector.store.records import BookAudit, BookKept, LedgerRecord

EXIT_GOLDEN = 5
"""A known part was judged wrongly."""
WHAT = ("golden_mode", "golden_passed", "golden_failed", "golden_left")
"""The lines of the audit trail that are the record."""

golden = typer.Typer(no_args_is_help=True)
StationArgument = Annotated[Path, typer.Argument(help="The station file (TOML).")]
RecipeOption = Annotated[
    str | None, typer.Option(help="Of this recipe; without it the one that is active after a start.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
_STATION = Path("station.toml")


@golden.callback()
def _known_parts() -> None:
    """Known parts: are they judged as they must be?

    Example: `edge-inspector golden run station.toml`
    """


@golden.command()
def run(
    station: StationArgument = _STATION,
    recipe: RecipeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge stored pictures of good and bad parts, and write the outcome into the station's audit trail.

    They prove the software alone: model, rules and thresholds; camera and light take physical master parts, in golden
    mode. The station may run meanwhile; after a failure it is not READY with the recipe. Exit code 5: a part was
    judged wrongly.

    Example: `edge-inspector golden run station.toml --recipe board-a`
    """
    with told_to_the_user():
        settings, recipes, bundles = assembly.recipes_of(station)
        loaded = _chosen(settings, recipes, recipe)
        if not _running(settings):  # before the work, not after it
            check_free([settings.station.state_dir / "ledger.sqlite"], force=True)
        found = _judged(settings, loaded, bundles[loaded.name], quiet=as_json)
        wrong, record = faults(found), in_the_record(loaded, found)
        told = _booked(station, settings, loaded, wrong, record)
    if as_json:
        rows = [
            {"part": one.part.name, "good": one.part.good, "evaluation": one.evaluation.name, "right": one.right}
            for one in found
        ]
        print(json.dumps({"recipe": loaded.name, "right": not wrong, "parts": rows, "record": record, "booked": told}))
    else:
        _print(found, record, told)
    if wrong:
        raise typer.Exit(EXIT_GOLDEN)


@golden.command()
def begin(station: StationArgument = _STATION) -> None:
    """Begin golden mode, where no PLC is the master: the parts that come are master parts, from the first on.

    Example: `edge-inspector golden begin station.toml`
    """
    _mode(station, on=True)


@golden.command()
def end(station: StationArgument = _STATION) -> None:
    """End golden mode: parts are production again, if every master part was judged rightly.

    Example: `edge-inspector golden end station.toml`
    """
    _mode(station, on=False)


@golden.command()
def status(station: StationArgument = _STATION, as_json: JsonOption = False) -> None:
    """When each recipe's check was passed last, and what is due. The station may run or not.

    Example: `edge-inspector golden status station.toml`
    """
    with told_to_the_user():
        settings, recipes, _ = assembly.recipes_of(station)
        book = golden_book.read_book(_kept(settings))
        now = _running(settings)
    rows = []
    for loaded in recipes.values():
        golden_settings, standing = loaded.settings.golden, book.of(loaded.name)
        if golden_settings is None:
            rows.append({"recipe": loaded.name, "check": "", "passed_utc": standing.passed_utc, "parts": 0, "due": ""})
            continue
        why = golden_book.why_blocked(standing, golden_book.proof_of(loaded, __version__))
        rows.append(
            {
                "recipe": loaded.name,
                "check": golden_words(golden_settings),
                "passed_utc": standing.passed_utc,
                "parts": standing.parts,
                "due": why or golden_book.why_due(golden_settings, standing, new_shift=False),
            }
        )
    if as_json:
        print(json.dumps({"recipes": rows, "running": now}))
        return
    out = Console(highlight=False, soft_wrap=True, markup=False)
    for row in rows:
        out.print(f"{row['recipe']}: {row['check'] or 'no golden-sample check'}")
        if row["check"]:
            out.print(
                f"  passed {row['passed_utc'] or 'never'}, {row['parts']} parts since; {row['due'] or 'nothing due'}"
            )
    out.print(now or "the station does not run; whether a shift has begun since is seen when it starts")


@golden.command()
def record(
    station: StationArgument = _STATION,
    last: Annotated[int, typer.Option(min=1, help="So many lines, the newest.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Which known parts were judged when, by whose order, and how: from the hash-chained audit trail.

    Example: `edge-inspector golden record station.toml --last 5`
    """
    with told_to_the_user():
        path = config.load(station).station.state_dir / "ledger.sqlite"
        marks = ",".join("?" * len(WHAT))
        columns = "id, wall_utc, clock_synced, who, what, detail"
        query = f"SELECT {columns} FROM audit WHERE what IN ({marks}) ORDER BY id DESC LIMIT ?"
        with closing(open_book(path)) as connection:
            rows = connection.execute(query, (*WHAT, last)).fetchall()
    entries = [(int(row[0]), AuditEntry(row[1], bool(row[2]), row[3], row[4], row[5])) for row in reversed(rows)]
    if as_json:
        print(json.dumps([{"row": number, **asdict(entry)} for number, entry in entries]))
    elif entries:
        ledger_print.audit(entries)
    else:
        typer.echo("no golden-sample check stands in the audit trail yet")


def _mode(station: Path, *, on: bool) -> None:
    with told_to_the_user():
        settings = config.load(station)
        client = ControlClient(settings.station.runtime / "control.sock")
        answer = client.order(Order("golden", "", {"on": on}))
        if not answer.done:
            raise ConfigError(answer.text)
        typer.echo(answer.text or f"golden mode is {'on' if on else 'off'}")
        if not on:
            typer.echo(_running(settings))


def _chosen(settings: StationConfig, recipes: dict[str, LoadedRecipe], name: str | None) -> LoadedRecipe:
    wanted = settings.station.recipe if name is None else name
    if wanted not in recipes:
        raise ConfigError(f"--recipe {wanted!r}: expected one of {', '.join(recipes)}")
    return recipes[wanted]


def _judged(settings: StationConfig, recipe: LoadedRecipe, bundle: Bundle, *, quiet: bool) -> list[Answer]:
    parts, way = stored_parts(recipe, bundle)
    backend = plugins.load("backend", settings.backend.type)(settings.backend)
    model_file = recipe.model_file
    if backend.proof == "kept":
        store = EngineStore(settings.station.state_dir / "engines")
        accepted = frozenset(settings.station.accept_unverified)
        choice = Engines(backend, store, {recipe.name: bundle}, accepted).choose(
            recipe.name, model_file, recipe.thresholds
        )
        if isinstance(choice, Refused):
            raise ConfigError(choice.text)
        chosen = getattr(choice, "model_file", None)
        if chosen is None:
            raise ConfigError(f"bundle {bundle.name} has no engine here yet: run `edge-inspector engine build` first")
        model_file = chosen
    found = answers(backend, model_file, recipe, way, parts)
    return list(track(found, "judging", total=len(parts), console=Console(stderr=True, quiet=quiet), transient=True))


def _booked(station: Path, settings: StationConfig, recipe: LoadedRecipe, wrong: str, record: str) -> str:
    """Where it stands now. A running station writes it itself, and heeds it at once."""
    said = {"recipe": recipe.name, "faults": wrong[:1000], "detail": record[:2000]}
    order = Order("golden_pictures", "", {**said, "proof": golden_book.proof_of(recipe, __version__)})
    try:
        answer = ControlClient(settings.station.runtime / "control.sock").order(order)
    except StationAway:
        return _by_hand(station, recipe, wrong, record)
    if not answer.done:
        raise ConfigError(f"the running station does not take it: {answer.text}")
    return "in the audit trail of the running station"


def _by_hand(station: Path, recipe: LoadedRecipe, wrong: str, record: str) -> str:
    parts, _ = assembly.assemble(station)
    clock = SystemClock()
    utc, synced = clock.utc(), clock.synced()

    def records(book: Ledger) -> list[LedgerRecord]:
        kept = golden_book.read_book(book.kept(golden_book.NAME))
        now = golden_book.pictures_judged(kept, recipe, wrong, parts.identity.software_version, utc, synced)
        what = "golden_failed" if wrong else "golden_passed"
        entry = AuditEntry(utc, synced, f"uid {os.getuid()}", what, record)
        return [BookKept(golden_book.NAME, now.to_json(), utc), BookAudit(entry)]

    book_by_hand(parts, records)
    return "in the audit trail; the station does not run"


def _kept(settings: StationConfig) -> str | None:
    path = settings.station.state_dir / "ledger.sqlite"
    if not path.is_file():
        return None
    with closing(open_book(path)) as connection:
        row = connection.execute("SELECT value FROM kept WHERE name = ?", (golden_book.NAME,)).fetchone()
    return None if row is None else str(row[0])


def _running(settings: StationConfig) -> str:
    """What the running station says of itself; empty = none runs."""
    try:
        said = ControlClient(settings.station.runtime / "control.sock").status()
    except StationAway:
        return ""
    if said is None:
        return "the station is just starting"
    due = "a check is due" if said["golden_due"] else "no check is due"
    why = said["error_text"]
    ready = "READY" if said["ready"] else f"not READY ({why})" if why else "busy"
    return f"running with recipe {said['recipe']}, {ready}, {due}"


def _print(found: list[Answer], record: str, told: str) -> None:
    out = Console(highlight=False, soft_wrap=True, markup=False)
    for one in found:
        if not one.right:
            expected = "OK" if one.part.good else "a reject"
            out.print(f"WRONG {one.part.name!r}: {one.evaluation.name}, expected {expected}; {one.text}")
    out.print(f"{sum(one.right for one in found)} of {len(found)} parts judged rightly: {record}")
    out.print(told)
