"""`edge-inspector calibrate`: a camera and its lens from pictures of a board, and boards to print."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

from edge_inspector.calibration import live, pictures, printed
from edge_inspector.calibration.boards import EXAMPLES, board_text, parse_board
from edge_inspector.calibration.detect import Gray, find_board
from edge_inspector.calibration.file import save_calibration
from edge_inspector.calibration.plane import fit_plane
from edge_inspector.calibration.plots import needed
from edge_inspector.calibration.records import Board, BoardKind, Dropped, PlaneFit, Sighting, Solution
from edge_inspector.calibration.report import report_html
from edge_inspector.calibration.solve import solve
from edge_inspector.cli.camera import FileOption, camera_of
from edge_inspector.cli.failures import tell, told_to_the_user
from edge_inspector.cli.files import check_free, write_whole
from edge_inspector.errors import CameraError, ConfigError
from edge_inspector.health.clock import SystemClock


class Lens(str, enum.Enum):
    """Values of --model."""

    PINHOLE = "pinhole"
    RATIONAL = "rational"
    FISHEYE = "fisheye"


class BoardType(str, enum.Enum):
    """Values of --type."""

    CHARUCO = "charuco"
    CHESSBOARD = "chessboard"
    CIRCLES = "circles"


class _Group(TyperGroup):
    """Tells who forgot the quotes around a pattern what happened."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands:
            ctx.fail(
                f"{args[0]!r} is one word too many; put a pattern in quotes (--images 'dir/*.jpg'), or repeat --images"
            )
        return super().resolve_command(ctx, args)


calibrate = typer.Typer(cls=_Group, invoke_without_command=True)


@calibrate.callback()
def _calibrate(
    context: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Option(help="Pictures of the board: a quoted pattern, a folder or a file; may be given again."),
    ] = None,
    camera: Annotated[str | None, typer.Option(help="Take the pictures with this camera of the station file.")] = None,
    config: FileOption = Path("station.toml"),
    board: Annotated[
        str,
        typer.Option(
            help="chessboard:9x6:25mm (inner corners), charuco:5x7:30mm:22mm:DICT_6X6_250 or circles:4x11:20mm."
        ),
    ] = "",
    model: Annotated[Lens, typer.Option(help="Lens model; rational for wide angles, fisheye beyond 120 degrees.")] = (
        Lens.PINHOLE
    ),
    out: Annotated[
        Path | None, typer.Option(help="The calibration file; default calibration/SERIAL.yaml.", show_default=False)
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a report with plots (one HTML file).")] = None,
    plane: Annotated[
        Path | None, typer.Option(help="A picture of the board lying on the inspection plane: sizes in mm.")
    ] = None,
    serial: Annotated[str, typer.Option(help="The camera's serial number; --camera reads it itself.")] = "",
    views: Annotated[int, typer.Option(min=5, max=200, help="With --camera: how many views to take.")] = 20,
    keep: Annotated[Path | None, typer.Option(help="With --camera: keep the views in this folder, as PNG.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Calibrate a camera and its lens from pictures of a board.

    Pictures that do not help are dropped and named. With --camera a view is taken when the board has moved and is
    sharp, until all of the picture is covered; Ctrl-C solves with the views so far. The station must not run then.

    Examples: `edge-inspector calibrate --images 'views/*.png' --board charuco:5x7:30mm:22mm:DICT_6X6_250
    --serial 40123456 --report report.html`, `edge-inspector calibrate --camera top --config station.toml
    --board chessboard:9x6:25mm --plane plane.png`, `edge-inspector calibrate board --type charuco --pdf board.pdf`
    """
    if context.invoked_subcommand is not None:
        return
    if (camera is None) == (not images):
        raise typer.BadParameter("give either --images or --camera")
    if not board:
        raise typer.BadParameter("give the board, as it is printed on it: --board charuco:5x7:30mm:22mm:DICT_6X6_250")
    console = Console(highlight=False, soft_wrap=True)
    with told_to_the_user():
        parsed = parse_board(board)
        if report is not None:
            needed("matplotlib", "jinja2")
        target = None if out is None and camera else _target(out, serial)
        check_free([path for path in (target, report) if path is not None], force)
        on_plane = None if plane is None else _on_plane(plane, parsed)  # now: nobody wants to hear it after the views
        if target is not None and images:
            seen = _from_files(images, parsed, serial, target)
        else:
            seen = _from_camera(str(camera), config, parsed, views, keep, serial, target, force, console)
        with _progress() as progress:
            found = solve(seen.sightings, parsed, model.value, seen.serial, progress, SystemClock().utc())
        solution = replace(found, dropped=(*seen.dropped, *found.dropped))
        fitted = None if on_plane is None else fit_plane(on_plane, parsed, solution.calibration)
        page = None if report is None else report_html(solution, fitted, seen.picture_of)
        if report is not None and page is not None:
            write_whole(report, page.encode())
        save_calibration(seen.target, solution, fitted)
    _print(solution, fitted, console)
    console.print(f"wrote {seen.target}" + (f" and {report}" if report else ""), markup=False)


@calibrate.command("board")
def _board(
    kind: Annotated[BoardType, typer.Option("--type", help="What to print.")] = BoardType.CHARUCO,
    size: Annotated[
        str | None,
        typer.Option(
            help="Columns x rows: squares (charuco), inner corners (chessboard) or circles; default 5x7, 9x6, 4x11."
        ),
    ] = None,
    pitch: Annotated[
        str | None, typer.Option(help="Side of a square, or from row to row of circles; default 30mm, 25mm, 20mm.")
    ] = None,
    marker: Annotated[
        str | None, typer.Option(help="charuco: side of a marker; default 22mm, or three quarters of --pitch.")
    ] = None,
    dictionary: Annotated[
        str | None, typer.Option(help="charuco: OpenCV's name of the dictionary of markers; default DICT_6X6_250.")
    ] = None,
    paper: Annotated[str, typer.Option(help=f"{', '.join(printed.PAPERS_MM)}.")] = "A4",
    pdf: Annotated[Path, typer.Option(help="The file to write.")] = Path("board.pdf"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a calibration board as a PDF at true scale, with a ruler to check the printer.

    Example: `edge-inspector calibrate board --type charuco --size 5x7 --pitch 30mm --marker 22mm --pdf board.pdf`
    """
    with told_to_the_user():
        parsed = _asked_for(kind.value, size, pitch, marker, dictionary)
        check_free([pdf], force)
        placed = printed.place(parsed, paper)
        write_whole(pdf, printed.board_pdf(parsed, paper))
    width, height = placed.sheet_mm
    typer.echo(f"{pdf}: {width:g} x {height:g} mm; print it at 100 % and check its ruler")
    typer.echo(f"for calibrate: --board {board_text(parsed)}")


def _asked_for(
    kind: BoardKind, size: str | None, pitch: str | None, marker: str | None, dictionary: str | None
) -> Board:
    """What is not given is as in the example of the board's kind."""
    if kind != "charuco" and (marker or dictionary):
        raise ConfigError(f"--marker and --dictionary are for --type charuco, not for {kind}")
    usual = parse_board(EXAMPLES[kind])
    parts = [kind, size or f"{usual.columns}x{usual.rows}", pitch or f"{usual.pitch_mm:g}mm"]
    if kind == "charuco":
        side_mm = usual.marker_mm if pitch is None else 0.75 * parse_board(f"chessboard:9x6:{pitch}").pitch_mm
        parts += [marker or f"{side_mm:g}mm", dictionary or usual.dictionary]
    return parse_board(":".join(parts))


@dataclass(frozen=True)
class _Seen:
    """Where the board was seen, by which camera, where its calibration goes, and the gray pictures by name."""

    sightings: list[Sighting]
    dropped: list[Dropped]
    serial: str
    target: Path
    picture_of: Callable[[str], Gray]


def _from_files(images: list[str], board: Board, serial: str, target: Path) -> _Seen:
    files = pictures.picture_files(images)
    with _progress() as progress:
        sightings, dropped = pictures.seen_in(files, board, progress)
    paths = pictures.named(files)
    return _Seen(sightings, dropped, serial, target, lambda name: pictures.read_gray(paths[name]))


def _from_camera(
    name: str,
    config: Path,
    board: Board,
    views: int,
    keep: Path | None,
    serial: str,
    target: Path | None,
    force: bool,
    console: Console,
) -> _Seen:
    """Views from an open camera, until there are enough or Ctrl-C; a lost camera ends it like Ctrl-C."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        check_free(sorted(keep.glob("view-*.png"))[:1], force)
    selection = live.Selection(board, views)
    grays: dict[str, Gray] = {}

    def kept(view: str, gray: Gray) -> None:
        grays[view] = gray
        if keep is not None:
            (keep / view).write_bytes(cv2.imencode(".png", gray)[1].tobytes())

    def say(text: str) -> None:
        console.print(text, markup=False)

    with camera_of(name, config, None, None) as camera:
        found = camera.serial
        if serial and found and serial != found:
            raise ConfigError(f"--serial {serial}: camera {name} has the serial number {found}; leave --serial out")
        if target is None:
            target = _target(None, found or serial)
            check_free([target], force)
        say(f"camera {name} {found or '(no serial number)'}: move and tilt the board; Ctrl-C ends and solves")
        try:
            live.watch(camera, selection, board, kept, say)
        except KeyboardInterrupt:
            say(f"stopped; solving with {len(selection.kept)} views")
        except CameraError as exc:
            tell(exc)
            say(f"solving with {len(selection.kept)} views")
    return _Seen(selection.kept, [], found or serial, target, grays.__getitem__)


def _on_plane(plane: Path, board: Board) -> Sighting:
    sighting = find_board(pictures.read_gray(plane), board, plane.name)
    if sighting is None:
        raise ConfigError(f"--plane {plane}: no {board_text(board)} found in it; expected the board lying on the plane")
    return sighting


def _target(out: Path | None, serial: str) -> Path:
    if out is None and not serial:
        raise ConfigError("where to write? give --out FILE, or --serial for calibration/SERIAL.yaml")
    return out or Path("calibration") / f"{serial.replace(os.sep, '_')}.yaml"


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each kind of work, on stderr and gone when it is done."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield progress


def _print(solution: Solution, plane: PlaneFit | None, console: Console) -> None:
    calibration, deviations = solution.calibration, solution.deviations
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_row("views", f"{len(solution.views)} used, {len(solution.dropped)} dropped")
    table.add_row("RMS", f"{solution.rms_px:.3f} px")
    held_out = f"{solution.held_out_px:.3f} px" if solution.held_out_px == solution.held_out_px else "too few views"
    table.add_row("held out", held_out)
    for name, value in zip(("fx", "fy", "cx", "cy"), calibration.matrix, strict=True):
        table.add_row(name, f"{value:.2f} ± {deviations[name]:.2f} px")
    table.add_row("coverage", f"{solution.coverage.share * 100:.0f} % of the picture")
    if plane is not None:
        table.add_row("plane", f"{plane.mm_per_px:.4f} mm per px, RMS {plane.rms_mm:.3f} mm")
    console.print(table)
    for one in solution.dropped:
        console.print(f"[yellow]dropped {escape(one.name)}: {escape(one.reason)}[/]")
    for text in solution.coverage.advice:
        console.print(f"[yellow]warning: {escape(text)}[/]")
