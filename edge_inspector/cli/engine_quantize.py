"""`edge-inspector engine quantize`: a bundle in 8 bits, scaled by pictures of the station."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.engine.bundle import Bundle, find_bundle, load_bundle
from edge_inspector.engine.quantized_bundle import write_quantized


class Method(str, enum.Enum):
    """How the range of a number is found that 8 bits must cover."""

    MINMAX = "minmax"
    ENTROPY = "entropy"


def quantize(
    bundle: Annotated[Path, typer.Argument(help="Model bundle: folder or name.", show_default=False)],
    calibration: Annotated[
        Path,
        typer.Option(
            help="Folder of PNG or JPEG pictures that the station has taken, good parts and defects; 100 or more.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the bundle in 8 bits.", show_default=False)],
    method: Annotated[
        Method, typer.Option(help="minmax covers all that the pictures show; entropy cuts off what is rare.")
    ] = Method.MINMAX,
) -> None:
    """Write a bundle whose network computes in 8 bits, for every backend.

    Example: `edge-inspector engine quantize pcb-demo --calibration pictures/ --out pcb-demo-int8`
    """
    aside = Console(stderr=True)
    with told_to_the_user(), Progress(console=aside, transient=True, disable=not aside.is_terminal) as bar:
        loaded = load_bundle(find_bundle(bundle, Path.cwd()))
        task = bar.add_task("reading pictures", total=1.0)
        report = write_quantized(
            loaded,
            out,
            calibration,
            "minmax" if method is Method.MINMAX else "entropy",
            lambda done, text: bar.update(task, completed=done, description=text),
        )
    _print(Console(highlight=False, soft_wrap=True), loaded, out, report)


def _print(console: Console, bundle: Bundle, out: Path, report: Mapping[str, Any]) -> None:
    for warning in report["warnings"]:
        console.print(warning, style="yellow", markup=False)
    console.print(
        f"{bundle.name} {bundle.version} in 8 bits: {len(report['int8'])} nodes, scaled by {report['pictures']} "
        f"pictures ({report['method']}); left in float:",
        markup=False,
    )
    reasons = Counter(report["float"].values())
    for reason, count in reasons.items():
        names = [name for name, why in report["float"].items() if why == reason]
        console.print(f"  {count} {'node' if count == 1 else 'nodes'}, {reason}: {', '.join(names)}", markup=False)
    console.print(
        f"Written to {out}\nHow good it is: edge-inspector evaluate {out} --coco LABELS --images DIR\n"
        f"Whether a verdict changed: edge-inspector engine verify {out} --backend onnxruntime --against "
        f"{bundle.folder} --images DIR",
        markup=False,
    )
