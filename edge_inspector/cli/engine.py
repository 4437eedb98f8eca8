"""`edge-inspector engine`: build, look at, prove and tidy up engines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from rich.console import Console
from rich.progress import Progress

from edge_inspector import config, log, plugins
from edge_inspector.cli import engine_print
from edge_inspector.cli.engine_import import import_model
from edge_inspector.cli.engine_quantize import quantize
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.datatypes import ThresholdState
from edge_inspector.engine import build as building
from edge_inspector.engine import files
from edge_inspector.engine.bundle import Bundle, find_bundle, load_bundle
from edge_inspector.engine.fingerprint import backend_name, fingerprint
from edge_inspector.engine.network_facts import network_facts
from edge_inspector.engine.passport import Proof
from edge_inspector.engine.store import Engine, EngineStore, Stored
from edge_inspector.engine.verify import REFERENCE, prove
from edge_inspector.errors import BundleError, ConfigError
from edge_inspector.interfaces import Backend
from edge_inspector.settings import PluginConfig
from edge_inspector.stages.thresholds import fixed

EXIT_PROOF = 4
"""An engine gives other verdicts than the ONNX file."""
FOLDER = "engines"
"""Of the engines, in the state folder."""
_DIGEST = re.compile(r"[0-9a-f]{4,64}")

engine = typer.Typer(no_args_is_help=True)
engine.command("import")(import_model)
engine.command("quantize")(quantize)

BundleArgument = Annotated[Path, typer.Argument(help="Model bundle: folder or name.", show_default=False)]
StationOption = Annotated[
    Path | None, typer.Option(help="The station file (TOML): its backend and its state folder.", show_default=False)
]
BackendOption = Annotated[
    str | None, typer.Option(help="Backend, in place of the station file's; tensorrt without one.", show_default=False)
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        help="State folder, in place of the station file's; else STATE_DIRECTORY or state.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@engine.callback()
def _engines() -> None:
    """Engines: what a backend makes of a bundle's ONNX file for one machine, with the proof that it judges alike.

    They lie in the state folder. Exit codes: 0 done; 2 a file or an argument must be changed; 4 an engine gives other
    verdicts than the ONNX file.
    """


@engine.command()
def build(
    bundle: BundleArgument,
    station: StationOption = None,
    backend: BackendOption = None,
    precision: Annotated[
        str | None,
        typer.Option(help="In place of the station file's; tensorrt: fp32, fp16 or int8.", show_default=False),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of pictures by which int8 is scaled.", show_default=False)
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(metavar="MB", help="Memory that the builder may use.", show_default=False)
    ] = None,
    state_dir: StateOption = None,
    again: Annotated[bool, typer.Option("--again", help="Build even where there is an engine.")] = False,
    progress: Annotated[
        bool, typer.Option("--progress", help="Print JSON lines, the proof in the last; end with the calling process.")
    ] = False,
) -> None:
    """Build a bundle's engine for this machine and prove it, unless it is there; takes what other programs leave.

    With --station it is proven by the thresholds of its recipes too.

    Exit code 4: it was built, and its verdicts are not those of the ONNX file; no station uses it.

    Examples: `edge-inspector engine build pcb-demo --station station.toml`,
    `edge-inspector engine build pcb-demo --backend tensorrt --precision int8 --calibration pictures/`
    """
    log.configure()
    with told_to_the_user(), _bar(progress) as tell:
        chosen = {"precision": precision, "calibration": calibration, "workspace_mb": workspace}
        runs = _backend(station, backend, {key: value for key, value in chosen.items() if value is not None})
        if runs.proof == "none":
            raise ConfigError(
                f"backend {backend_name(runs)} runs the ONNX file as it is: nothing to build, start the station"
            )
        loaded = load_bundle(find_bundle(bundle, Path.cwd()))
        judged_by = _thresholds(station, loaded)
        building.niced()
        if progress:
            building.tied_to_parent()
        made = None
        if runs.proof == "each_start":
            digest = fingerprint(loaded, runs).digest
            proof = prove(loaded, runs, loaded.model_file(), thresholds=judged_by, progress=tell)
        else:
            store = _store(station, state_dir)
            made = building.build(loaded, runs, store, tell, thresholds=judged_by, again=again)
            proof, digest = made.passport.proof, made.passport.digest
    if progress:
        typer.echo(json.dumps({"engine": digest, "outcome": proof.outcome, "proof": proof.model_dump(mode="json")}))
    elif made is not None:
        engine_print.passport(made.passport, made.folder)
    else:
        engine_print.proof(proof)
    _judged(proof)


@engine.command()
def inspect(
    thing: Annotated[
        str, typer.Argument(help="Model bundle, or the first digits of an engine (`engine list`).", show_default=False)
    ],
    station: StationOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an engine was built from and what its proof has shown, or what a bundle's network is.

    Examples: `edge-inspector engine inspect pcb-demo`, `edge-inspector engine inspect 3f9c1a --station station.toml`
    """
    with told_to_the_user():
        store = _store(station, state_dir)
        stored = _stored(store, thing)
        if stored is None:
            loaded = _bundle(thing, store)
            facts = network_facts(loaded.folder / "model.onnx")
            if as_json:
                typer.echo(
                    json.dumps({"bundle": engine_print.bundle_facts(loaded), "network": asdict(facts)}, indent=2)
                )
            else:
                engine_print.bundle(loaded, facts)
            return
        passport = files.checked(stored.folder)
    if as_json:
        typer.echo(json.dumps(passport.model_dump(mode="json", by_alias=True), indent=2))
    else:
        engine_print.passport(passport, stored.folder)


@engine.command()
def verify(
    bundle: BundleArgument,
    station: StationOption = None,
    backend: BackendOption = None,
    images: Annotated[
        Path | None, typer.Option(help="Pictures in place of the bundle's golden set.", show_default=False)
    ] = None,
    against: Annotated[
        str, typer.Option(help="What the engine is compared with: onnxruntime, or another bundle of the same classes.")
    ] = REFERENCE,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the verdicts of an engine, which must have been built, with those of the bundle's ONNX file.

    Without --images and --against the result becomes the engine's proof. Exit code 4: verdicts differ.

    Examples: `edge-inspector engine verify pcb-demo --station station.toml`,
    `edge-inspector engine verify pcb-demo-int8 --backend onnxruntime --against pcb-demo --images pictures/`
    """
    log.configure()
    with told_to_the_user(), _bar(as_json=False) as tell:
        runs = _backend(station, backend, {})
        loaded = load_bundle(find_bundle(bundle, Path.cwd()))
        judged_by = _thresholds(station, loaded)
        original = None if against == REFERENCE else load_bundle(find_bundle(Path(against), Path.cwd()))
        store = _store(station, state_dir)
        built = _built(loaded, runs, store) if runs.proof == "kept" else None
        if built is not None and images is None and original is None:
            proof = building.prove_again(loaded, runs, store, built, tell, judged_by).passport.proof
        else:
            model_file = replace(loaded.model_file(), engine_dir="" if built is None else built.engine_dir)
            proof = prove(
                loaded, runs, model_file, images=images, against=original, thresholds=judged_by, progress=tell
            )
    if as_json:
        typer.echo(proof.model_dump_json(indent=2))
    else:
        engine_print.proof(proof)
    _judged(proof)


@engine.command("list")
def list_engines(station: StationOption = None, state_dir: StateOption = None, as_json: JsonOption = False) -> None:
    """List the engines in the state folder, newest first.

    Example: `edge-inspector engine list --station station.toml`
    """
    with told_to_the_user():
        store = _store(station, state_dir)
        stored = store.list()
    if as_json:
        typer.echo(json.dumps([engine_print.stored_facts(one) for one in stored], indent=2))
    elif stored:
        engine_print.stored(stored)
    else:
        typer.echo(f"no engines in {store.folder}")


@engine.command()
def prune(
    station: Annotated[Path, typer.Option(help="The station file (TOML).", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove the engines that no recipe of the station file needs, and what is damaged.

    Example: `edge-inspector engine prune --station station.toml`
    """
    with told_to_the_user():
        store = _store(station, None)
        needed = _needed(station, store)
        going = [one for one in store.list() if one.folder.name not in needed]
        if not going:
            typer.echo(f"{store.folder}: nothing to remove, {len(store.list())} engine(s) are needed.")
            return
        if not yes:
            engine_print.stored(going)
            typer.confirm(f"Remove {len(going)} engine(s) from {store.folder}?", abort=True)
        freed = store.prune(needed)
    typer.echo(f"{store.folder}: {len(going)} engine(s) removed, {engine_print.size(freed)} freed.")


def _store(station: Path | None, state_dir: Path | None) -> EngineStore:
    if state_dir is None and station is not None:
        state_dir = config.load(station).station.state_dir
    return EngineStore((state_dir or Path(os.environ.get("STATE_DIRECTORY", "state"))) / FOLDER)


def _backend(station: Path | None, name: str | None, chosen: dict[str, Any]) -> Backend:
    """The station file's, or that of `name` with its defaults; `chosen` replaces keys of its table."""
    settings: PluginConfig | None = None if station is None else config.load(station).backend
    if settings is None or name not in (None, settings.type):
        settings = _settings(plugins.config_model("backend", name or "tensorrt"), {"type": name or "tensorrt"})
    strange = sorted(chosen.keys() - type(settings).model_fields.keys())
    if strange:
        options = ", ".join(f"--{key.removesuffix('_mb')}" for key in strange)
        raise ConfigError(f"backend {settings.type} has nothing that {options} could choose; leave the option out")
    made: Backend = plugins.load("backend", settings.type)(
        _settings(type(settings), {**settings.model_dump(), **chosen}) if chosen else settings
    )
    return made


def _thresholds(station: Path | None, bundle: Bundle) -> list[ThresholdState]:
    """By which the station file's recipes judge with this bundle, where they do not keep its own thresholds."""
    if station is None:
        return []
    recipes, beside = config.load(station).recipes.values(), station.resolve().parent
    of_bundle = [one for one in recipes if load_bundle(find_bundle(one.bundle, beside)).model_hash == bundle.model_hash]
    return [fixed(bundle.classes, bundle.default_thresholds, one.thresholds) for one in of_bundle if one.thresholds]


def _settings(model: type[PluginConfig], table: dict[str, Any]) -> PluginConfig:
    try:
        return model.model_validate(table)
    except ValidationError as exc:
        problems = [
            f"backend {table['type']}: {_value_of(found)}: {found['msg']}; correct it"
            for found in exc.errors(include_url=False)
        ]
        raise ConfigError("\n".join(problems)) from exc


def _value_of(found: ErrorDetails) -> str:
    key = ".".join(map(str, found["loc"]))
    return key if found["type"] == "missing" or not key else f"{key} = {found['input']!r}"


def _built(bundle: Bundle, backend: Backend, store: EngineStore) -> Engine:
    found = store.find(fingerprint(bundle, backend))
    if found is None:
        raise ConfigError(
            f"{store.folder} has no engine of {bundle.name} {bundle.version} for {backend_name(backend)} on this "
            "machine; build it with edge-inspector engine build"
        )
    return found


def _stored(store: EngineStore, digits: str) -> Stored | None:
    """The engine that the digits mean, None = they are no digits of one."""
    if not _DIGEST.fullmatch(digits):
        return None
    found = [one for one in store.list() if one.folder.name.startswith(digits) and _DIGEST.fullmatch(one.folder.name)]
    if len(found) > 1:
        raise ConfigError(f"{digits} begins {len(found)} engines in {store.folder}; give more digits")
    return found[0] if found else None


def _bundle(thing: str, store: EngineStore) -> Bundle:
    """The bundle that `thing` names. ConfigError: it names none, nor an engine."""
    if Path(thing).is_file():
        raise ConfigError(
            f"{thing} is a file, expected a bundle's folder; make one of an ONNX file with edge-inspector engine import"
        )
    try:
        return load_bundle(find_bundle(Path(thing), Path.cwd()))
    except BundleError as exc:
        if _DIGEST.fullmatch(thing):
            raise ConfigError(f"no engine in {store.folder} begins with {thing}, and {exc}") from exc
        raise


def _needed(station: Path, store: EngineStore) -> set[str]:
    """Digests of what the station would run after a start: its recipes' engines, or those that serve in their place."""
    settings = config.load(station)
    runs = _backend(station, None, {})
    needed = set()
    for recipe in settings.recipes.values():
        wanted = fingerprint(load_bundle(find_bundle(recipe.bundle, station.resolve().parent)), runs)
        needed.add(wanted.digest)
        serving = store.find(wanted)
        if serving is None or serving.passport.proof.outcome != "passed":
            older = store.last_good(wanted)
            needed |= set() if older is None else {older.passport.digest}
    return needed


@contextmanager
def _bar(as_json: bool) -> Iterator[Callable[[float, str], None]]:
    """How far the work is: on the terminal's last line, or in JSON lines on stdout."""
    if as_json:
        yield lambda share, text: print(json.dumps({"progress": round(share, 4), "text": text}), flush=True)
        return
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, text: bar.update(task, completed=share, description=text)


def _judged(proof: Proof) -> None:
    if proof.outcome == "failed":
        raise typer.Exit(EXIT_PROOF)
