"""`edge-inspector evaluate`: how good a model bundle is on labelled pictures."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edge_inspector import plugins
from edge_inspector.calibration.file import load_calibration
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.datatypes import Roi, Tiling
from edge_inspector.engine import evaluate as evaluation
from edge_inspector.engine.bundle import find_bundle, load_bundle
from edge_inspector.errors import ConfigError


class Chain(str, enum.Enum):
    """How pictures become the model's input."""

    FUSED = "fused"
    PLAIN = "plain"


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Model bundle: folder or name.", show_default=False)],
    coco: Annotated[Path, typer.Option(help="Labels, COCO detection JSON.", show_default=False)],
    images: Annotated[Path, typer.Option(help="Folder of the pictures.", show_default=False)],
    good: Annotated[
        list[Path] | None, typer.Option(help="Folder of further good pictures; may be given again.")
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
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    backend: Annotated[str, typer.Option(help="Backend that runs the model.")] = "onnxruntime",
) -> None:
    """Evaluate a bundle: mAP by COCO's rules, boxes at the shipped thresholds, escapes and overkill per part.

    Example: `edge-inspector evaluate pcb-demo --coco annotations.json --images pictures/ --report out.json`
    """
    with told_to_the_user():
        loaded = load_bundle(find_bundle(bundle, Path.cwd()))
        runs = plugins.load("backend", backend)(plugins.config_model("backend", backend)(type=backend))
        extra = [p for folder in good or () for p in sorted(folder.iterdir()) if p.is_file()]
        made = evaluation.evaluate(
            loaded,
            runs,
            coco,
            images,
            extra,
            calibration=None if calibration is None else load_calibration(calibration),
            roi=None if roi is None else _roi(roi),
            tiling=None if tiling is None else _tiling(tiling),
            chain="plain" if chain is Chain.PLAIN else "fused",
        )
        if report is not None:
            report.write_text(made.to_json() + "\n")
    _print(made)


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


def _print(made: evaluation.EvaluationReport) -> None:
    console = Console()
    console.print(
        f"{made.bundle} {made.version} on {made.pictures} pictures:"
        f" mAP50 {_number(made.map50)}, mAP50-95 {_number(made.map50_95)}, {made.ms_per_picture:.1f} ms a picture"
    )
    table = Table(box=None, padding=(0, 2))
    for title in ("class", "threshold", "AP50", "recall", "precision"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for one in made.classes:
        boxes = one.boxes["0.5"]
        cells = (f"{one.threshold:.2f}", _number(one.ap50), _number(boxes.recall), _number(boxes.precision))
        table.add_row(one.name, *cells)
    boxes = made.boxes["0.5"]
    table.add_row("all", "", _number(made.map50), _number(boxes.recall), _number(boxes.precision))
    console.print(table)
    for name, share in (("escapes", made.escapes), ("overkill", made.overkill)):
        console.print(f"{name}: {share.count} of {share.total} parts, 95 % {share.low:.3f}-{share.high:.3f}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
