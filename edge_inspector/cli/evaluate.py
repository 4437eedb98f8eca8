"""`edge-inspector evaluate`: how good a model bundle is on labelled pictures."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_inspector import plugins
from edge_inspector.assembly import recipes_of
from edge_inspector.calibration.file import load_calibration
from edge_inspector.cli import evaluate_print
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.cli.files import check_free, write_whole
from edge_inspector.datatypes import Criteria, Roi, Tiling
from edge_inspector.engine import evaluate as evaluation
from edge_inspector.engine.bundle import find_bundle, load_bundle
from edge_inspector.engine.evaluate.page import report_html
from edge_inspector.engine.evaluate.plots import needed
from edge_inspector.engine.truth import Format, read_truth
from edge_inspector.engine.truth.problems import pictures_below
from edge_inspector.errors import ConfigError
from edge_inspector.settings import Recipe
from edge_inspector.stages.rule_words import rules_in_words, zones_in_words


class Chain(str, enum.Enum):
    """How pictures become the model's input."""

    FUSED = "fused"
    PLAIN = "plain"


FormatName = enum.Enum("FormatName", {name: name for name in get_args(Format)}, type=str)  # type: ignore[misc]


def evaluate(
    bundle: Annotated[
        Path | None, typer.Argument(help="Model bundle: folder or name; none with --station.", show_default=False)
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            "--coco",
            help="Labels: a COCO .json or a .csv file, a folder of VOC .xml or YOLO .txt, or one of class folders.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; without it, that of the labels.", show_default=False)
    ] = None,
    format: Annotated[
        FormatName | None, typer.Option(help="What the labels are, where it cannot be told.", show_default=False)
    ] = None,
    parts: Annotated[
        Path | None,
        typer.Option(help="CSV file that says which pictures show one part: file, part, camera.", show_default=False),
    ] = None,
    good: Annotated[
        list[Path] | None, typer.Option(help="Folder of further good pictures; may be given again.")
    ] = None,
    station: Annotated[
        Path | None, typer.Option(help="Station file: judge with --recipe of it, by its rules.", show_default=False)
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe of the station file.", show_default=False)] = None,
    threshold: Annotated[
        list[str] | None, typer.Option(metavar="CLASS=X", help="Another threshold; may be given again.")
    ] = None,
    wanted_escapes: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Find thresholds for at most this share, as 0.01.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Calibration file of the camera that took the pictures; labels are in undistorted pixels."),
    ] = None,
    roi: Annotated[
        str | None, typer.Option(metavar="X,Y,WIDTH,HEIGHT", help="Look at this part only, in undistorted pixels.")
    ] = None,
    tiling: Annotated[
        str | None,
        typer.Option(metavar="WIDTH,HEIGHT,OVERLAP", help="Look at it in overlapping tiles, in undistorted pixels."),
    ] = None,
    chain: Annotated[
        Chain, typer.Option(help="Prepare pictures as the station does, or in plain textbook steps to compare.")
    ] = Chain.FUSED,
    report: Annotated[
        list[Path] | None,
        typer.Option(help="Write the report: .json, or .html with plots and pictures; may be given again."),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, max=200, help="Pictures in the HTML report.")] = 12,
    backend: Annotated[str, typer.Option(help="Backend that runs the model.")] = "onnxruntime",
) -> None:
    """Evaluate a bundle or a recipe: what textbooks ask for, and escapes and overkill per part.

    Example: `edge-inspector evaluate pcb-demo --truth labels.json --images pictures/ --report out.html`
    """
    with told_to_the_user():
        reports = _reports(report or ())
        if truth is None:
            raise ConfigError("--truth is missing; give the labels: a COCO or CSV file, or a folder")
        looks = None if calibration is None and roi is None and tiling is None else "--calibration, --roi and --tiling"
        if station is not None or recipe is not None:
            subject = _of_recipe(bundle, station, recipe, looks)
        else:
            if bundle is None:
                raise ConfigError("nothing to evaluate; give a bundle, or --station and --recipe")
            subject = evaluation.bundle_alone(
                load_bundle(find_bundle(bundle, Path.cwd())),
                calibration=None if calibration is None else load_calibration(calibration),
                roi=None if roi is None else _roi(roi),
                tiling=None if tiling is None else _tiling(tiling),
            )
        subject = evaluation.with_thresholds(subject, dict(_threshold(text) for text in threshold or ()))
        told = None if format is None else _format(format.value)
        labels = read_truth(truth, images, format=told, parts=parts)
        extra = [path for folder in good or () for path in _good(folder)]
        runs = plugins.load("backend", backend)(plugins.config_model("backend", backend)(type=backend))
        with _bar() as progress:
            made = evaluation.evaluated(
                subject,
                runs,
                evaluation.with_good(labels, extra),
                wanted_escapes=wanted_escapes,
                chain="plain" if chain is Chain.PLAIN else "fused",
                progress=progress,
            )
        for path in reports:
            page = report_html(made, worst) if path.suffix == ".html" else made.report.to_json() + "\n"
            write_whole(path, page.encode())
    evaluate_print.printed(made.report, reports)


def _reports(paths: Sequence[Path]) -> list[Path]:
    """ConfigError before the work, not after it."""
    for path in paths:
        if path.suffix not in (".json", ".html"):
            raise ConfigError(f"--report {path} is neither .json nor .html; give one of them, or both")
    check_free(paths, force=True)
    if any(path.suffix == ".html" for path in paths):
        needed("matplotlib", "jinja2")
    return list(paths)


def _of_recipe(bundle: Path | None, station: Path | None, recipe: str | None, looks: str | None) -> evaluation.Subject:
    """ConfigError: not both, another bundle too, or no such recipe. StationFileError as `recipes_of`."""
    if station is None or recipe is None:
        raise ConfigError("--station and --recipe go together; give both")
    if bundle is not None or looks is not None:
        raise ConfigError(f"with --station the recipe decides: leave out {bundle or looks}")
    _, recipes, bundles = recipes_of(station)
    if recipe not in recipes:
        raise ConfigError(f"{station} has no recipe {recipe!r}; it has {', '.join(recipes)}")
    loaded = recipes[recipe]
    return evaluation.Subject(
        bundle=bundles[recipe],
        criteria=loaded.criteria,
        thresholds=loaded.thresholds,
        plans=loaded.plans,
        recipe=recipe,
        words=tuple(_words(loaded.settings, loaded.criteria)),
    )


def _words(recipe: Recipe, criteria: Criteria) -> Iterator[str]:
    """What a reader of the report should know of the recipe."""
    for name, sentence in rules_in_words(recipe, criteria):
        yield f"{name}: {sentence}" if name else sentence
    for name, sentence in zones_in_words(recipe):
        yield f"zone {name} {sentence}"
    if recipe.adaptive.policy != "fixed":
        yield f"thresholds are the recipe's own: where {recipe.adaptive.policy} has moved them, name the station's"


def _good(folder: Path) -> list[Path]:
    """ConfigError: no picture."""
    found = pictures_below(folder)
    if not found:
        raise ConfigError(f"--good {folder} holds no picture; give a folder of pictures of good parts")
    return found


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while a person looks at it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("pictures", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _format(name: str) -> Format:
    known: dict[str, Format] = {one: one for one in get_args(Format)}
    return known[name]


def _threshold(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not name or not 0 <= value <= 1:
        raise ConfigError(f"--threshold {text!r} is not CLASS=X with X from 0 to 1; write scratch=0.4")
    return name, value


def _roi(text: str) -> Roi:
    try:
        x, y, width, height = map(int, text.split(","))
    except ValueError:
        raise ConfigError(
            f"--roi {text!r} is not X,Y,WIDTH,HEIGHT; write four whole pixels, as 160,80,640,640"
        ) from None
    return Roi(x, y, width, height)


def _tiling(text: str) -> Tiling:
    try:
        width, height, overlap = map(int, text.split(","))
    except ValueError:
        raise ConfigError(
            f"--tiling {text!r} is not WIDTH,HEIGHT,OVERLAP; write three whole pixels, as 640,640,96"
        ) from None
    if not 0 < overlap < min(width, height):
        raise ConfigError(f"--tiling {text!r} has an overlap of {overlap}, expected 1 to {min(width, height) - 1}")
    return Tiling(width, height, overlap)
