"""`edge-inspector reload`: a running station takes its station file anew."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_inspector import config
from edge_inspector.cli.failures import EXIT_USER, told_to_the_user
from edge_inspector.config import StationFileError
from edge_inspector.control import ControlClient, StationAway
from edge_inspector.interfaces import Order, OrderAnswer

EXIT_RESTART = 7
"""What was changed needs a restart of the station."""
ANSWER_S = 95.0
"""A little longer than the station itself tries to answer."""


def reload(
    station: Annotated[Path, typer.Argument(help="The station file (TOML).")] = Path("station.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Have the running station read its station file again, without a stop of the line.

    Recipes, line rules, what is kept for how long and the log's level are taken over; parts in work keep what they
    began with. Everything else needs a restart: then nothing is taken over, and the keys are named (exit code 7). A
    file with mistakes is refused as a whole (exit code 2), and the station goes on as before.

    Example: `edge-inspector reload station.toml`
    """
    with told_to_the_user():
        answer = _ordered(station)
    if as_json:
        print(json.dumps({"done": answer.done, "text": answer.text, **answer.facts}))
    else:
        _print(answer)
    if not answer.done:
        raise typer.Exit(EXIT_RESTART if "restart" in answer.facts else EXIT_USER)


def _ordered(station: Path) -> OrderAnswer:
    """What the station says; a file with mistakes of its own is not even shown to it: it may name another socket."""
    try:
        settings = config.load(station)
    except StationFileError as exc:
        problems = tuple(map(str, exc.problems))
        return OrderAnswer(done=False, text="the station file has mistakes", facts={"problems": problems})
    client = ControlClient(settings.station.runtime / "control.sock", ANSWER_S)
    try:
        return client.order(Order("reload", _user()))
    except StationAway as exc:
        return OrderAnswer(done=False, text=str(exc))


def _print(answer: OrderAnswer) -> None:
    """What happened on the first line, then a line for each key or mistake."""
    facts: dict[str, Any] = dict(answer.facts)
    if answer.done:
        keys: Sequence[str] = facts.get("changed", ())
        typer.echo(f"{len(keys)} key{'s'[: len(keys) != 1]} taken over" if keys else _clean(answer.text))
        for key in keys:
            typer.echo(f"  {_clean(key)}")
        return
    lines = facts.get("problems") or facts.get("restart")
    if not lines:
        typer.secho(_clean(answer.text), err=True, fg=typer.colors.RED)
        return
    why = "these keys need a restart of the station" if "restart" in facts else "the file has mistakes"
    typer.secho(f"nothing was taken over, the station goes on as before: {why}", err=True, fg=typer.colors.RED)
    for line in lines:
        typer.secho(f"  {_clean(line)}", err=True)


def _clean(text: str) -> str:
    """For a terminal: without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _user() -> str:
    """Who calls; the station adds the number that the kernel knows."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""
