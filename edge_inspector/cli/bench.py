"""`edge-inspector bench`: what the station adds to the bare model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edge_inspector import log
from edge_inspector.bench.measure import BenchOptions, run_bench
from edge_inspector.bench.report import LATENCY_TARGET_PERCENT, THROUGHPUT_TARGET_PERCENT, BenchReport
from edge_inspector.cli.failures import told_to_the_user

PICTURES = 12
"""Different boards; they are shown in turn."""


def bench(
    bundle: Annotated[str, typer.Option(help="Model bundle: folder or name.")] = "pcb-demo",
    frames: Annotated[int, typer.Option(min=1, help="Bare calls, single parts and parts in a row, of each.")] = 300,
    width: Annotated[int, typer.Option(min=64, max=8192, help="Width of the camera's picture.")] = 1920,
    height: Annotated[int, typer.Option(min=64, max=8192, help="Height of the camera's picture.")] = 1200,
    pixel_format: Annotated[str, typer.Option(help="What the camera delivers: Mono8, BGR8, BayerRG8, ...")] = "Mono8",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for one inference; default: the backend's.", show_default=False)
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    backend: Annotated[str, typer.Option(help="Backend that runs the model.")] = "onnxruntime",
) -> None:
    """Measure the station against the bare model, in turn: added latency of one part, lost throughput of many.

    The camera is memory, the PLC a clock; all between them is the station that `edge-inspector run` runs.

    Example: `edge-inspector bench --frames 300 --threads 2 --report out.json`
    """
    import numpy as np

    from edge_inspector.demo.boards import draw_board

    log.configure("warning")
    options = BenchOptions(
        bundle=bundle,
        frames=frames,
        image_hw=(height, width),
        pixel_format=pixel_format,
        backend=backend,
        threads=threads,
    )
    rng = np.random.default_rng(1)
    with told_to_the_user():
        made = run_bench(options, [draw_board(rng).picture for _ in range(PICTURES)])
    if report is not None:
        report.write_text(made.to_json() + "\n")
    _print(made)


def _print(made: BenchReport) -> None:
    console = Console(highlight=False, soft_wrap=True)
    machine, settings = made.machine, made.settings
    height, width = settings["image_hw"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    console.print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average_1min']}; {versions}")
    backend = ", ".join(f"{key} {value}" for key, value in settings["backend"].items())
    console.print(f"{settings['bundle']}, backend {backend}, OpenCV threads {machine['opencv_threads']}")
    console.print(
        f"{width}x{height} {settings['pixel_format']}, undistorted; {made.frames} of each,"
        f" {made.detections_a_part:g} defects a part"
    )
    table = Table(box=None, padding=(0, 2))
    for title in ("ms", "median", "p99", "max"):
        table.add_column(title, justify="left" if title == "ms" else "right")
    rows = {"bare model": made.bare, "one part, trigger to verdict": made.serial}
    for name, one in {**rows, **{f"  {stage}": ms for stage, ms in made.stages.items()}}.items():
        table.add_row(name, f"{one.median_ms:.3f}", f"{one.p99_ms:.3f}", f"{one.max_ms:.3f}")
    console.print(table)
    console.print(f"bare {made.bare_per_s:.2f} runs/s, parts in a row {made.pipelined_per_s:.2f} parts/s")
    for name, value, by_round, target in (
        ("added latency", made.added_latency_percent, made.added_latency_percent_by_round, LATENCY_TARGET_PERCENT),
        (
            "lost throughput",
            made.lost_throughput_percent,
            made.lost_throughput_percent_by_round,
            THROUGHPUT_TARGET_PERCENT,
        ),
    ):
        word = "met" if value <= target else "MISSED"
        console.print(f"{name} {value:.1f} % (round by round {by_round:.1f} %); target: at most {target:g} %, {word}")
