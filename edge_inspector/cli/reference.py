"""`edge-inspector reference`: the pictures by which a station sees that a camera has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from edge_inspector import assembly
from edge_inspector.cli.camera import camera_of
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.cli.files import check_free
from edge_inspector.config import StationConfig
from edge_inspector.control import ControlClient, StationAway
from edge_inspector.datatypes import AuditEntry
from edge_inspector.errors import CameraError, ConfigError, FrameError, StorageError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import Camera, Order
from edge_inspector.stages.camera_findings import unseen
from edge_inspector.stages.camera_reference import FEWEST, MOST, Gray, gray8
from edge_inspector.station.by_hand import book_by_hand
from edge_inspector.station.parts import LoadedRecipe
from edge_inspector.station.reference_files import read_reference
from edge_inspector.station.reference_taking import in_the_record, keep_references
from edge_inspector.store.records import BookAudit

reference = typer.Typer(no_args_is_help=True)
StationArgument = Annotated[Path, typer.Argument(help="The station file (TOML).")]
_STATION = Path("station.toml")
_POLL_S = 0.5


@reference.callback()
def _pictures() -> None:
    """Reference pictures: how a camera saw when its recipe was right.

    Example: `edge-inspector reference take station.toml`
    """


@reference.command()
def take(
    station: StationArgument = _STATION,
    recipe: Annotated[
        str | None, typer.Option(help="The recipe; a running station takes that of its active one.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=FEWEST, max=MOST, help="So many of each camera, of as many parts.")] = 20,
    every: Annotated[
        float, typer.Option(min=0.0, max=600.0, help="Seconds between pictures of a station that does not run.")
    ] = 2.0,
    wait: Annotated[float, typer.Option(min=1.0, help="Seconds to wait for them at the most.")] = 3600.0,
) -> None:
    """Take the reference pictures of a recipe, when camera, focus and light are as they should be.

    A running station takes those of the next parts that it judges OK; otherwise the cameras are opened here, and one
    good part after the other belongs in front of them. What the parts change from picture to picture is learnt, and
    told if it hides anything. Files and their sha256 go into the state folder and the audit trail.

    Examples: `edge-inspector reference take station.toml`,
    `edge-inspector reference take station.toml --recipe board-a --pictures 30 --every 5`
    """
    with told_to_the_user():
        settings, recipes, _ = assembly.recipes_of(station)
        client = ControlClient(settings.station.runtime / "control.sock")
        try:
            said = client.status()
        except StationAway:
            loaded = _looked_after(recipes, settings.station.recipe if recipe is None else recipe)
            check_free([settings.station.state_dir / "ledger.sqlite"], force=True)  # before the work, not after it
            _take_here(station, settings, loaded, pictures, every)
        else:
            active = said["recipe"] if said else settings.station.recipe
            if recipe not in (None, active):
                raise ConfigError(f"--recipe {recipe!r}: the running station's is {active!r}; select it there first")
            loaded = _looked_after(recipes, active)
            _take_there(client, loaded, pictures, wait)
        _print(settings, loaded)


@reference.command()
def show(station: StationArgument = _STATION) -> None:
    """Which reference pictures there are, of when, and what they do not let anybody see.

    Example: `edge-inspector reference show station.toml`
    """
    with told_to_the_user():
        settings, recipes, _ = assembly.recipes_of(station)
        looked_after = [one for one in recipes.values() if one.settings.health is not None]
        if not looked_after:
            typer.echo("no recipe looks after its cameras: a table [recipes.NAME.health] makes it")
        for loaded in looked_after:
            _print(settings, loaded)


def _looked_after(recipes: dict[str, LoadedRecipe], name: str) -> LoadedRecipe:
    if name not in recipes:
        raise ConfigError(f"--recipe {name!r}: expected one of {', '.join(recipes)}")
    if recipes[name].settings.health is None:
        raise ConfigError(f"recipe {name} does not look after its cameras: give it a table [recipes.{name}.health]")
    return recipes[name]


def _take_there(client: ControlClient, recipe: LoadedRecipe, pictures: int, wait_s: float) -> None:
    """By the running station, of the next good parts."""
    answer = client.order(Order("reference", "", {"pictures": pictures}))
    if not answer.done:
        raise ConfigError(f"the station does not take them: {answer.text}")
    end = time.monotonic() + wait_s
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks = {camera: bar.add_task(camera, total=pictures) for camera in recipe.cameras}
        while (told := client.order(Order("reference_progress", ""))).done and told.facts.get("taking"):
            for camera, count in dict(told.facts["taken"]).items():
                bar.update(tasks[camera], completed=count)
            if time.monotonic() > end:
                raise ConfigError(
                    f"not enough good parts within {wait_s:g} s; the station goes on: `edge-inspector reference show`"
                    " tells when they are there"
                )
            time.sleep(_POLL_S)
    if not told.done:
        raise ConfigError(told.text)


def _take_here(station: Path, settings: StationConfig, recipe: LoadedRecipe, pictures: int, every_s: float) -> None:
    """By the cameras themselves: the station does not run."""
    clock, taken = SystemClock(), dict[str, list[Gray]]()
    with ExitStack() as opened:
        cameras = {}
        for name in recipe.cameras:
            cameras[name] = opened.enter_context(camera_of(name, station, None, None))
            cameras[name].apply(recipe.features(name))
            taken[name] = []
        typer.echo(f"recipe {recipe.name}: {pictures} pictures, one good part after the other", err=True)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("taking", total=pictures)
            for number in range(pictures):
                if number:
                    time.sleep(every_s)
                for name, camera in cameras.items():
                    taken[name].append(_picture(name, camera, settings.station.grab_timeout_s + every_s))
                bar.advance(task)
    who, utc = f"uid {os.getuid()}", clock.utc()
    sums = keep_references(settings.station.state_dir, recipe, taken, who, utc)
    entry = AuditEntry(utc, clock.synced(), who, "reference_taken", in_the_record(recipe.name, sums))
    book_by_hand(assembly.assemble(station)[0], lambda _: [BookAudit(entry)])


def _picture(name: str, camera: Camera, timeout_s: float) -> Gray:
    if camera.trigger_mode == "software":
        camera.trigger()
    frame = camera.grab(timeout_s)
    if frame is None:
        raise CameraError(f"camera {name}: no picture within {timeout_s:g} s; look at its trigger and ExposureTime")
    try:
        gray: Gray = gray8(frame.pixels, frame.pixel_format).copy()
    except FrameError as exc:
        raise CameraError(f"camera {name}: {exc}") from exc
    else:
        return gray
    finally:
        frame.release()


def _print(settings: StationConfig, recipe: LoadedRecipe) -> None:
    out = Console(highlight=False, soft_wrap=True, markup=False)
    for line in _lines(settings, recipe):
        out.print(line)


def _lines(settings: StationConfig, recipe: LoadedRecipe) -> Iterator[str]:
    health = recipe.settings.health
    if health is None:
        return
    for camera in recipe.cameras:
        where = f"recipe {recipe.name}, camera {camera}"
        try:
            kept = read_reference(settings.station.state_dir, recipe.name, camera)
        except StorageError as exc:
            yield f"{where}: {exc}"
            continue
        if kept is None:
            yield f"{where}: no reference picture"
            continue
        found, facts = kept
        height, width = found.median.shape
        made = f"{facts.taken_utc} by {facts.who}, sha256 {facts.sha256[:16]}"
        yield f"{where}: {facts.pictures} pictures of {width}x{height}, {made}"
        for one in unseen(health, found):
            yield f"  cannot see {one}"
