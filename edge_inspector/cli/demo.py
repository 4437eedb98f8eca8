"""`edge-inspector demo`: a whole station on this machine, for a look and for a proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge_inspector.cli.failures import EXIT_BALANCE, told_to_the_user


def demo(
    parts: Annotated[int, typer.Option(min=1, help="How many parts to inspect.")] = 60,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help="Parts a second, at most.")] = 5.0,
    report: Annotated[Path | None, typer.Option(help="Write the books as JSON.")] = None,
    keep_running: Annotated[bool, typer.Option("--keep-running", help="Leave the station up until Ctrl-C.")] = False,
    pictures: Annotated[list[Path] | None, typer.Option(help="Folder of pictures to film; may be given again.")] = None,
    truth: Annotated[Path | None, typer.Option(help="COCO file of --pictures; unknown ones are good parts.")] = None,
    bundle: Annotated[str, typer.Option(help="Model bundle: folder or name.")] = "pcb-demo",
    cameras: Annotated[int, typer.Option(min=1, max=8, help="Emulated cameras, one view of each part.")] = 1,
    deadline_ms: Annotated[float, typer.Option(min=1, help="From the trigger to the end of the PLC write.")] = 2000.0,
    kill_after: Annotated[
        list[int] | None,
        typer.Option(min=1, help="SIGKILL the station after so many results, start it again; may be given again."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the generated pictures.")] = 1,
    folder: Annotated[Path | None, typer.Option(help="Keep all files in this empty folder.")] = None,
) -> None:
    """Run a whole station: emulated Basler camera, model, simulated PLC, MQTT broker, ledger.

    Ends with 0 when the books balance, with 3 when they do not.

    Examples: `edge-inspector demo`, `edge-inspector demo --parts 200 --rate 10 --report out.json`,
    `edge-inspector demo --kill-after 30`
    """
    from edge_inspector.demo.live import print_summary
    from edge_inspector.demo.run import DemoOptions, run_demo

    console = Console()
    options = DemoOptions(
        parts=parts,
        rate_hz=rate,
        cameras=cameras,
        seed=seed,
        bundle=str(Path(bundle).resolve()) if Path(bundle).is_dir() else bundle,
        deadline_ms=deadline_ms,
        pictures=tuple(pictures or ()),
        truth=truth,
        kill_after=tuple(kill_after or ()),
        keep_running=keep_running,
        folder=folder,
    )
    with told_to_the_user():
        made = run_demo(options, console)
        if report is not None:
            report.write_text(json.dumps(made.to_dict(), indent=2) + "\n")
    print_summary(made, console)
    if not made.balanced:
        raise typer.Exit(EXIT_BALANCE)
