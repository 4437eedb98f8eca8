"""`edge-inspector thresholds`: how far thresholds may move, who has allowed it, and where they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from edge_inspector import config, log, plugins
from edge_inspector.assembly import recipes_of
from edge_inspector.cli import thresholds_print
from edge_inspector.cli.failures import EXIT_USER, told_to_the_user
from edge_inspector.cli.files import check_free
from edge_inspector.control import ControlClient, StationAway
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.golden import golden_sum
from edge_inspector.engine.limits import Seeing, golden_scores
from edge_inspector.engine.limits_file import LimitsFile, rules_sum, write_limits
from edge_inspector.engine.store import EngineStore
from edge_inspector.errors import ConfigError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import Backend, ModelFile, Order, OrderAnswer
from edge_inspector.stages.thresholds import golden_limits
from edge_inspector.station.engines import Chosen, Engines
from edge_inspector.station.parts import LoadedRecipe

app = typer.Typer(no_args_is_help=True)
StationArgument = Annotated[Path, typer.Argument(help="The station file (TOML).")]
RecipeArgument = Annotated[
    str | None, typer.Argument(help="A recipe of it; the active one without a name.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
_STATION = Path("station.toml")


@app.callback()
def _thresholds() -> None:
    """Thresholds that follow the line: their limits from the golden set, their release, and where they are now.

    A recipe's threshold may always become stricter; looser than the recipe says only after somebody has looked at the
    limits and released them, once for each recipe and model. Who did stands in the station's audit trail.
    """


@app.command()
def limits(station: StationArgument = _STATION, recipe: RecipeArgument = None, as_json: JsonOption = False) -> None:
    """Run the bundle's golden set as the recipe sees it, and keep how far each threshold may move.

    A running station takes the limits at once, any other with its next start. They hold until model, golden set, rules,
    zones, thresholds or calibration change.

    Example: `edge-inspector thresholds limits station.toml board-a`
    """
    log.configure("warning")
    with told_to_the_user():
        settings, recipes, bundles = recipes_of(station)
        name = settings.station.recipe if recipe is None else recipe
        if name not in recipes:
            raise ConfigError(f"recipe {name!r}: {station} has none of this name; it has {', '.join(recipes)}")
        check_free([settings.station.state_dir / "thresholds" / f"{name}.json"], force=True)  # before the work
        made = _golden_run(settings, recipes[name], bundles, quiet=as_json)
        path = write_limits(settings.station.state_dir, made)
        told = _told(station, made)
    if as_json:
        typer.echo(json.dumps({"file": str(path), **json.loads(made.to_json())}))
        return
    thresholds_print.limits(recipes[name], made)
    typer.echo(f"written to {path}; {told}")


@app.command()
def release(
    station: StationArgument = _STATION,
    recipe: RecipeArgument = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Allow a recipe's thresholds to become looser than it says, up to the ceilings of its limits.

    Once for each recipe and model. It holds until `revoke`, or until the limits do not hold any more. The station must
    be running: it writes down who released.

    Example: `edge-inspector thresholds release station.toml board-a`
    """
    with told_to_the_user():
        name, found = _asked(station, recipe)
        thresholds_print.before_release(name, found)
        if (
            not yes
            and _loosens(found)
            and not typer.confirm(f"Let the thresholds of recipe {name} rise up to these ceilings?")
        ):
            raise typer.Exit(EXIT_USER)
        answer = _order(station, "thresholds_release", {"recipe": name})
    fixed = f'; with policy = "fixed" nothing moves: set recipes.{name}.adaptive.policy and restart the station'
    _say(answer, "released" + (fixed if found["policy"] == "fixed" else f", and judged by {found['policy']}"))


@app.command()
def revoke(station: StationArgument = _STATION, recipe: RecipeArgument = None) -> None:
    """Take a release back: from the next part on no threshold is looser than the recipe says.

    Example: `edge-inspector thresholds revoke station.toml board-a`
    """
    with told_to_the_user():
        name, _ = _asked(station, recipe)
        answer = _order(station, "thresholds_revoke", {"recipe": name})
    _say(answer, "revoked")


@app.command()
def freeze(
    station: StationArgument = _STATION,
    recipe: RecipeArgument = None,
    off: Annotated[bool, typer.Option("--off", help="Let them move again.")] = False,
) -> None:
    """Hold a recipe's thresholds where they are, also over restarts; meanwhile only a part that somebody finds bad
    is learnt.

    Example: `edge-inspector thresholds freeze station.toml board-a`
    """
    with told_to_the_user():
        name, _ = _asked(station, recipe)
        answer = _order(station, "thresholds_freeze", {"recipe": name, "on": not off})
    _say(answer, "moving again" if off else "frozen")


@app.command()
def show(station: StationArgument = _STATION, recipe: RecipeArgument = None, as_json: JsonOption = False) -> None:
    """Where the thresholds of a running station are, where each policy would put them, and within which limits.

    Example: `edge-inspector thresholds show station.toml`
    """
    with told_to_the_user():
        name, found = _asked(station, recipe)
    if as_json:
        typer.echo(json.dumps({"recipe": name, **found}))
    else:
        thresholds_print.now(name, found)


@app.command()
def feedback(
    result_id: Annotated[str, typer.Argument(help="Of the part, as MQTT, REST and the page show it.")],
    good: Annotated[bool, typer.Option("--good/--bad", help="What the part was.", show_default=False)],
    station: Annotated[Path, typer.Option(help="The station file (TOML).")] = _STATION,
) -> None:
    """Say what a part was that somebody has looked at again. A good reject teaches the thresholds, a bad OK caps them.

    Example: `edge-inspector thresholds feedback line-3.1f2e3d4c.815 --good`
    """
    with told_to_the_user():
        answer = _order(station, "feedback", {"result_id": result_id, "good": good})
    _say(answer, "taken")


def _golden_run(
    settings: config.StationConfig, loaded: LoadedRecipe, bundles: Mapping[str, Bundle], quiet: bool
) -> LimitsFile:
    bundle = bundles[loaded.name]
    golden = golden_sum(bundle)  # before it is looked at: what somebody edits meanwhile is not what was seen
    backend = plugins.load("backend", settings.backend.type)(settings.backend)
    model_file = _model_file(settings, backend, loaded, bundles)
    seeing = Seeing(bundle, loaded.criteria, loaded.plans, loaded.thresholds, model_file, backend)
    with Progress(console=Console(stderr=True), disable=quiet, transient=True) as bar:
        task = bar.add_task("golden set", total=1.0)
        scores = golden_scores(seeing, lambda share, text: bar.update(task, completed=share, description=text))
    base = loaded.thresholds.by_class
    found = golden_limits(base, scores.goods, scores.defects, loaded.settings.adaptive.reserve)
    return LimitsFile(
        schema=1,
        recipe=loaded.name,
        model=loaded.model_hash,
        golden=golden,
        rules=rules_sum(loaded.settings, loaded.plans, loaded.thresholds),
        utc=SystemClock().utc(),
        good=len(scores.goods),
        by_class=tuple(LimitsFile.rows(found)),
    )


def _model_file(
    settings: config.StationConfig, backend: Backend, loaded: LoadedRecipe, bundles: Mapping[str, Bundle]
) -> ModelFile:
    """What the station itself would run: another precision sees other scores."""
    store = EngineStore(settings.station.state_dir / "engines")
    engines = Engines(backend, store, bundles, frozenset(settings.station.accept_unverified))
    chosen = engines.choose(loaded.name, loaded.model_file, loaded.thresholds)
    if not isinstance(chosen, Chosen):
        raise ConfigError(
            f"recipe {loaded.name} has no engine that the station could run: start the station, or run `edge-inspector "
            "engine build --station`, and then this again"
        )
    return chosen.model_file


def _told(station: Path, made: LimitsFile) -> str:
    try:
        answer = _order(station, "thresholds_limits", made.model_dump(mode="json", by_alias=True))
    except (StationAway, ValueError):
        return "the station takes it with its next start"
    return "the running station has taken it" if answer.done else f"the running station has not taken it: {answer.text}"


def _asked(station: Path, recipe: str | None) -> tuple[str, Mapping[str, Any]]:
    """The recipe and what the running station says of its thresholds."""
    name = recipe
    if name is None:
        status = _client(station).status()
        name = config.load(station).station.recipe if status is None else str(status["recipe"])
    answer = _order(station, "thresholds", {"recipe": name})
    if not answer.done:
        raise ConfigError(answer.text)
    found: Mapping[str, Any] = answer.facts["recipes"][name]
    return name, found


def _loosens(found: Mapping[str, Any]) -> bool:
    """Whether there is anything to release; if not, the station says why."""
    rows = () if found["limits"] is None else found["limits"]["by_class"]
    return any(row[1] > base for row, base in zip(rows, found["fixed"], strict=False))


def _order(station: Path, name: str, arguments: Mapping[str, Any]) -> OrderAnswer:
    return _client(station).order(Order(name, "", arguments))


def _client(station: Path) -> ControlClient:
    return ControlClient(config.load(station).station.runtime / "control.sock")


def _say(answer: OrderAnswer, done: str) -> None:
    if not answer.done:
        typer.secho(thresholds_print.plain(answer.text), err=True, fg=typer.colors.RED)
        raise typer.Exit(EXIT_USER)
    typer.echo(thresholds_print.plain(answer.text) or done)
