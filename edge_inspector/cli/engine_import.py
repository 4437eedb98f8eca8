"""`edge-inspector engine import`: a trained ONNX file becomes a model bundle."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.engine.importer import import_model as import_file


def import_model(
    model: Annotated[Path, typer.Argument(help="ONNX file.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="New folder for the bundle; the file's name without .onnx if not given.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the bundle; the folder's if not given.")] = None,
    decoder: Annotated[str | None, typer.Option(help="Which family the network's outputs are.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Class names in the order of the outputs, with commas between them.")
    ] = None,
    good: Annotated[str | None, typer.Option(help="Classes that are no defect, with commas between them.")] = None,
    background: Annotated[
        str | None, typer.Option(help="Segmentation: number of the channel that is background and no class, or none.")
    ] = None,
    limits: Annotated[
        str | None, typer.Option(help="Limits of measured values, such as 'width=1.5..2.5 mm, depth=-4..4'.")
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(help="Confidence from which a class counts; 0.25 for boxes and 0.5 else.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Input of a network that takes any size, such as 640x480.")] = None,
    color: Annotated[str | None, typer.Option(help="Colour order of the training: gray, rgb or bgr.")] = None,
    scaling: Annotated[
        str | None, typer.Option(help="Values of the training's pictures: 0-1, 0-255 or imagenet.")
    ] = None,
    pad: Annotated[str | None, typer.Option(help="Gray value around a fitted picture, 0 to 255; else 114.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights, such as proprietary.")] = None,
) -> None:
    """Write a bundle from an ONNX file: what Ultralytics, YOLOv5 and anomalib say in it is read, the rest is asked.

    Without a terminal nothing is asked: what is missing is named, and the exit code is 2.

    Example: `edge-inspector engine import best.onnx --out models/board-7`
    """
    given = {
        "name": name,
        "decoder": decoder,
        "classes": classes,
        "good": good,
        "background": background,
        "limits": limits,
        "threshold": threshold,
        "size": size,
        "color": color,
        "scaling": scaling,
        "pad": pad,
        "licence": licence,
    }
    wishes = {option: text for option, text in given.items() if text is not None}
    with told_to_the_user():
        made = import_file(model, out or model.with_suffix(""), wishes, _ask if sys.stdin.isatty() else None)
    typer.echo(f"{made.folder}: a bundle from {made.exporter}")
    for line in made.sources:
        typer.echo(f"  {line}")
    for note in made.notes:
        typer.secho(f"Note: {note}", fg=typer.colors.YELLOW)


def _ask(option: str, question: str, choices: Sequence[str], problem: str) -> str:
    if problem:
        typer.secho(problem, fg=typer.colors.RED)
    answer: str = typer.prompt(f"{question} [{', '.join(choices)}]" if choices else question)
    return answer.strip()
