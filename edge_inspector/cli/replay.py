"""`edge-inspector replay`: what stored parts would have been, by another recipe, bundle, policy or threshold."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_inspector import log
from edge_inspector.cli import replay_print
from edge_inspector.cli.failures import EXIT_BALANCE, EXIT_USER, told_to_the_user
from edge_inspector.cli.files import check_free, write_whole
from edge_inspector.cli.times import typed_time
from edge_inspector.engine.truth import read_part_verdicts
from edge_inspector.errors import ConfigError
from edge_inspector.replay import replaying
from edge_inspector.replay.policies import Progress as Told
from edge_inspector.replay.records import WhatIf
from edge_inspector.replay.replaying import Asked
from edge_inspector.replay.report import report_html
from edge_inspector.replay.setups import read_station
from edge_inspector.replay.summary import facts, summarise
from edge_inspector.store.periods import between

_ALL = 1_000_000


class PolicyName(str, enum.Enum):
    """The names of `settings.adaptive.Policy`, for the command line."""

    FIXED = "fixed"
    PERCENTILE = "percentile"
    GUARDED = "guarded"
    TAIL = "tail"


def replay(
    station: Annotated[Path, typer.Argument(help="The station file (TOML); the station may be running.")],
    recipe: Annotated[str | None, typer.Option(metavar="NAME", help="Judge all parts by this recipe.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Judge by this model bundle: folder or name.")] = None,
    policy: Annotated[
        PolicyName | None, typer.Option(help="Thresholds as this policy would have made them; fixed: the recipe's own.")
    ] = None,
    threshold: Annotated[
        list[str] | None, typer.Option(metavar="CLASS=SCORE", help="Another threshold; may be given again.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only parts from this time on: 2026-11-22 or '2026-11-22 06:00', local."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only parts before this time.")] = None,
    of: Annotated[str | None, typer.Option(metavar="RECIPE", help="Only parts that this recipe judged.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many parts, the newest.")] = _ALL,
    truth: Annotated[
        Path | None,
        typer.Option(help="What parts really are: CSV with part_id or result_id, and good (yes or no)."),
    ] = None,
    as_if_released: Annotated[
        bool, typer.Option("--as-if-released", help="With --policy: as if the recipe's thresholds had been released.")
    ] = False,
    state: Annotated[Path | None, typer.Option(help="A copy of the state folder, instead of the station's.")] = None,
    images: Annotated[Path | None, typer.Option(help="The image folder, where it lies elsewhere.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report: one HTML file.")] = None,
    pictures: Annotated[int, typer.Option(min=0, max=500, help="Changed parts with pictures in the report.")] = 40,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the report.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, each part in it.")] = False,
) -> None:
    """What would last week have done? Run stored parts again, and compare with what was booked.

    Without options it proves that the station does today what it did then: losslessly stored parts must be the same in
    every number. Exit code 3: they are not, and nothing in the book says why.

    Example: `edge-inspector replay station.toml --since 2026-11-16 --threshold scratch=0.4 --report out.html`
    """
    log.configure("warning")
    with told_to_the_user():
        if report is not None:
            check_free([report], force)
        if as_if_released and policy in (None, PolicyName.FIXED):
            raise ConfigError("--as-if-released is for --policy guarded, tail or percentile; give one of them")
        what = WhatIf(recipe, bundle, None if policy is None else policy.value, _thresholds(threshold or ()))
        said = None if truth is None else read_part_verdicts(truth)
        asked = Asked(between(typed_time(since), typed_time(until)), of, limit, what, said, as_if_released)
        with _progress() as progress:
            done = replaying.replay(read_station(station, state, images), asked, progress)
        made = summarise(done)
        if report is not None:
            write_whole(report, report_html(done, made, pictures).encode())
    if as_json:
        typer.echo(json.dumps(facts(done, made), indent=2, allow_nan=False))
    else:
        replay_print.show(done, made)
        if report is not None:
            typer.echo(f"report: {report}")
    if not done.parts:
        raise typer.Exit(EXIT_USER)
    if done.broken:
        raise typer.Exit(EXIT_BALANCE)


def _thresholds(given: list[str] | tuple[()]) -> dict[str, float]:
    wanted: dict[str, float] = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not name or not 0 <= number <= 1:
            raise ConfigError(
                f"--threshold {text!r} is not CLASS=SCORE; write it as scratch=0.4, with a score of 0 to 1"
            )
        if name in wanted:
            raise ConfigError(f"--threshold {name} is given twice; give it once")
        wanted[name] = number
    return wanted


@contextmanager
def _progress() -> Iterator[Told]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("replay", total=None)
        yield lambda doing, done, total: bar.update(task, description=doing, completed=done, total=total)
