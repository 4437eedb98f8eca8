"""Side by side in one run: the bare engine, our whole path for a part, and the loop that everybody writes first.

The plain loop is the textbook's: cv2.undistort, letterbox by resize and copyMakeBorder, colour, transpose, / 255, the
engine, decode and NMS in numpy, on the same session. "plain, maps kept" is the same with cv2.remap and maps made once.
All take turns in blocks, so that a busy machine hits all alike. Every figure is the median of what the rounds say.

python benchmarks/backends.py --json backends.json
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread
import cv2
import numpy as np
from plain_loop import PlainLoop

from edge_inspector import config, log, pipeline
from edge_inspector.assembly import assemble
from edge_inspector.bench.bare import Bare, Call, bare_call
from edge_inspector.bench.link import Part, TimingLink
from edge_inspector.bench.measure import CAMERA, STATION, Trusted
from edge_inspector.bench.report import machine
from edge_inspector.bench.source import FrameSource, filmed, lens
from edge_inspector.calibration.file import calibration_text
from edge_inspector.control import Control
from edge_inspector.datatypes import Batch, Calibration, Evaluation, Frame, Letterbox, Roi
from edge_inspector.demo.boards import draw_board
from edge_inspector.engine.bundle import find_bundle
from edge_inspector.settings import PictureGate
from edge_inspector.station import daemon
from edge_inspector.station.parts import CameraPlan, Parts

HW = (1200, 1920)
PICTURES = 12
WARM_UP = 20
ADDED_LATENCY_PERCENT, LOST_THROUGHPUT_PERCENT, TIMES_LESS = 20.0, 10.0, 3.0
"""What is aimed at; docs/reference/performance."""


@dataclass(frozen=True)
class Round:
    """Medians of one block of each, ms, and runs or parts a second."""

    bare_ms: float
    ours_ms: float
    ours_outside_ms: float
    plain_outside_ms: float
    kept_maps_outside_ms: float
    bare_per_s: float
    ours_per_s: float
    plain_per_s: float


@dataclass(frozen=True)
class Row:
    """One backend with one pixel format; `outside` is what a part takes but for its own run of the engine, ms."""

    backend: str
    pixel_format: str
    engine_ms: float
    ours_ms: float
    added_latency_percent: float
    lost_throughput_percent: float
    ours_outside_ms: float
    plain_outside_ms: float
    kept_maps_outside_ms: float
    plain_lost_throughput_percent: float
    times_less: float
    times_less_than_kept_maps: float
    defects_a_part: float
    plain_boxes_a_part: float
    stages_ms: dict[str, float]
    plain_stages_ms: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", action="append", choices=("onnxruntime", "openvino"), help="default: both")
    parser.add_argument("--format", action="append", choices=("Mono8", "BGR8"), help="default: both")
    parser.add_argument("--bundle", default="pcb-demo", help="folder or name of a detector; about 20 ms is meant")
    parser.add_argument("--threads", type=int, default=1, help="of one inference")
    parser.add_argument("--opencv-threads", type=int, help="in ours and in the plain loop; default: OpenCV's own")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--block", type=int, default=20, help="runs or parts of each kind in a round")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    log.configure("warning")
    if arguments.opencv_threads is not None:
        cv2.setNumThreads(arguments.opencv_threads)
    rng = np.random.default_rng(1)
    pictures = [draw_board(rng).picture for _ in range(PICTURES)]
    host = machine()
    host["versions"]["openvino"] = importlib.metadata.version("openvino")
    print(f"{host['cpu']}, {host['cores']} cores, load {host['load_average_1min']}; {host['versions']}")
    print(f"{arguments.bundle}, {arguments.threads} thread(s) a run, {cv2.getNumThreads()} of OpenCV's", end="; ")
    print(f"{HW[1]}x{HW[0]}, undistorted")
    rows = []
    for backend in arguments.backend or ("onnxruntime", "openvino"):
        for pixel_format in arguments.format or ("Mono8", "BGR8"):
            rows.append(measured(backend, pixel_format, pictures, arguments))
            show(rows[-1])
    if arguments.json is not None:
        settings = {key: value for key, value in vars(arguments).items() if key != "json"}
        document = {"machine": host, "settings": settings, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


def measured(backend: str, pixel_format: str, pictures: Sequence[np.ndarray], arguments: argparse.Namespace) -> Row:
    calibration = lens(HW)
    frames = filmed(pictures, pixel_format, calibration)
    with tempfile.TemporaryDirectory(prefix="edge-inspector-bench-") as folder:
        path = station_file(Path(folder), backend, arguments, calibration)
        parts, control = assemble(path)
        recipe = parts.recipes[parts.active_recipe]
        plan = recipe.plans[CAMERA]
        call = bare_call(config.load(path).backend, parts.backend, recipe.model_file, plan)
        source = FrameSource(CAMERA, frames, pixel_format)
        batches = [pipeline.prepare(Frame(CAMERA, 0, 0, 0, pixels, pixel_format), plan) for pixels in frames]
        loops = [PlainLoop(infer_by(call), plan.input, calibration, keep_maps=keep) for keep in (False, True)]
        link = TimingLink(parts.clock)
        gate = PictureGate(identical=True, min_brightness=0, max_saturated=1)  # works, and refuses none
        cameras = {CAMERA: CameraPlan(lambda: source, gate)}
        parts = replace(parts, cameras=cameras, links=[link], master=link.name, engines=Trusted())
        uvloop = importlib.util.find_spec("uvloop") is not None  # as `edge-inspector run`
        turns = Turns(parts, control, link, Bare(call, batches), loops, frames)
        anyio.run(turns.run, arguments.rounds, arguments.block, backend_options={"use_uvloop": uvloop})
    if len(turns.rounds) < arguments.rounds:
        raise SystemExit("the station was stopped; nothing measured here counts")
    return row(backend, pixel_format, turns)


class Turns:
    """One station with its rounds; the station idles while another has its turn."""

    def __init__(
        self,
        parts: Parts,
        control: Control,
        link: TimingLink,
        bare: Bare,
        loops: Sequence[PlainLoop],
        frames: Sequence[np.ndarray],
    ) -> None:
        self._parts, self._control, self._link, self._bare = parts, control, link, bare
        self._frames = frames
        self._shown = 0
        self._done = False
        self.loops = loops
        self.rounds: list[Round] = []
        self.serial: list[Part] = []
        self.boxes: list[int] = []

    async def run(self, rounds: int, block: int) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._station, tasks.cancel_scope, name="station")
            await self._round(WARM_UP)
            self.rounds.clear()
            self.serial.clear()
            for _ in range(rounds):
                await self._round(block)
            self._done = True
            self._control.stop()

    async def _station(self, everything: anyio.CancelScope) -> None:
        await daemon.run(self._parts, self._control)
        if not self._done:
            everything.cancel()  # SIGINT: nobody will judge what the link waits for

    async def _round(self, block: int) -> None:
        bare = await anyio.to_thread.run_sync(self._bare.block, block)
        serial = judged(await self._link.serial(block))
        plain, kept = [await anyio.to_thread.run_sync(self._plain, loop, block) for loop in self.loops]
        pipelined = judged(await self._link.pipelined(block))
        self.serial += serial
        told = max(part.told_ns for part in pipelined) - min(part.seen_ns for part in pipelined)
        self.rounds.append(
            Round(
                bare_ms=median_ms(bare),
                ours_ms=median_ms([part.latency_ns for part in serial]),
                ours_outside_ms=median_ms([part.latency_ns - part.stage_ns["infer"] for part in serial]),
                plain_outside_ms=median_ms(np.subtract(plain, self.loops[0].steps["infer"][-block:])),
                kept_maps_outside_ms=median_ms(np.subtract(kept, self.loops[1].steps["infer"][-block:])),
                bare_per_s=1e9 * block / sum(bare),
                ours_per_s=1e9 * block / told,
                plain_per_s=1e9 * block / sum(plain),
            )
        )

    def _plain(self, loop: PlainLoop, block: int) -> list[int]:
        spent = []
        for _ in range(block):
            self._shown += 1
            begun = time.monotonic_ns()
            self.boxes.append(len(loop.part(self._frames[self._shown % len(self._frames)])))
            spent.append(time.monotonic_ns() - begun)
        return spent


def station_file(folder: Path, backend: str, arguments: argparse.Namespace, calibration: Calibration) -> Path:
    (folder / "run").mkdir()
    (folder / "lens.yaml").write_text(calibration_text(calibration), encoding="utf-8")
    bundle = find_bundle(Path(arguments.bundle), Path.cwd())
    path = folder / "station.toml"
    threads = f"threads = {arguments.threads}"
    path.write_text(STATION.format(backend=backend, threads=threads, bundle=bundle), encoding="utf-8")
    return path


def infer_by(call: Call) -> Callable[[np.ndarray], np.ndarray]:
    """The bare call for a loop that knows no batches; it has one output."""
    nowhere = Roi(0, 0, 1, 1)
    return lambda blob: call(Batch(blob, (Letterbox(1, 0, 0),), nowhere, (nowhere,)))[0]


def judged(parts: list[Part]) -> list[Part]:
    for part in parts:
        if part.result is None or part.result.evaluation is Evaluation.UNDEFINED:
            why = part.refusal if part.result is None else part.result.reason_text
            raise SystemExit(f"a part of the benchmark was not judged ({why}); nothing measured here counts")
    return parts


def row(backend: str, pixel_format: str, turns: Turns) -> Row:
    def by_round(figure: Callable[[Round], float]) -> float:
        return round(float(np.median([figure(one) for one in turns.rounds])), 3)

    ours, plain, kept = (
        by_round(lambda r: r.ours_outside_ms),
        by_round(lambda r: r.plain_outside_ms),
        by_round(lambda r: r.kept_maps_outside_ms),
    )
    return Row(
        backend=backend,
        pixel_format=pixel_format,
        engine_ms=by_round(lambda r: r.bare_ms),
        ours_ms=by_round(lambda r: r.ours_ms),
        added_latency_percent=by_round(lambda r: 100 * (r.ours_ms / r.bare_ms - 1)),
        lost_throughput_percent=by_round(lambda r: 100 * (1 - r.ours_per_s / r.bare_per_s)),
        ours_outside_ms=ours,
        plain_outside_ms=plain,
        kept_maps_outside_ms=kept,
        plain_lost_throughput_percent=by_round(lambda r: 100 * (1 - r.plain_per_s / r.bare_per_s)),
        times_less=round(plain / ours, 2),
        times_less_than_kept_maps=round(kept / ours, 2),
        defects_a_part=round(sum(len(p.result.defects) for p in turns.serial) / len(turns.serial), 2),
        plain_boxes_a_part=round(sum(turns.boxes) / len(turns.boxes), 2),
        stages_ms={name: median_ms([p.stage_ns[name] for p in turns.serial]) for name in turns.serial[0].stage_ns},
        plain_stages_ms={name: median_ms(step) for name, step in turns.loops[0].steps.items()},
    )


def median_ms(durations_ns: Sequence[int]) -> float:
    return round(float(np.median(durations_ns)) / 1e6, 4)


def show(one: Row) -> None:
    def aim(reached: bool) -> str:
        return "" if reached else "  MISSED"

    added, lost, less = one.added_latency_percent, one.lost_throughput_percent, one.times_less
    print(f"\n{one.backend}, {one.pixel_format}: engine alone {one.engine_ms:.2f} ms")
    print(f"  a part, trigger to verdict   {one.ours_ms:8.2f} ms")
    print(
        f"  added latency                {added:8.1f} %   aim <= {ADDED_LATENCY_PERCENT:g}"
        f"{aim(added <= ADDED_LATENCY_PERCENT)}"
    )
    print(
        f"  lost throughput, in a row    {lost:8.1f} %   aim <= {LOST_THROUGHPUT_PERCENT:g}"
        f"{aim(lost <= LOST_THROUGHPUT_PERCENT)}; plain loop {one.plain_lost_throughput_percent:.1f} %"
    )
    print(f"  outside the engine: ours     {one.ours_outside_ms:8.2f} ms")
    print(
        f"    plain loop                 {one.plain_outside_ms:8.2f} ms, {less:.1f} times ours   aim >= {TIMES_LESS:g}"
        f"{aim(less >= TIMES_LESS)}"
    )
    print(
        f"    plain loop, maps kept      {one.kept_maps_outside_ms:8.2f} ms, {one.times_less_than_kept_maps:.1f} times"
    )
    print(
        f"  seen in a part: {one.defects_a_part:g} defects by ours, {one.plain_boxes_a_part:g} boxes by the plain loop"
    )
    print("  ours, by stage:  " + ", ".join(f"{name} {ms:.2f}" for name, ms in one.stages_ms.items()) + " ms")
    print("  plain, by step:  " + ", ".join(f"{name} {ms:.2f}" for name, ms in one.plain_stages_ms.items()) + " ms")


if __name__ == "__main__":
    main()
