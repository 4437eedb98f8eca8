"""One run: blocks of bare calls, single parts and parts in a row, in turn, so that a busy machine hits all alike."""

from __future__ import annotations

import importlib.util
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from edge_inspector import config, pipeline
from edge_inspector.assembly import assemble
from edge_inspector.bench.bare import Bare, bare_call
from edge_inspector.bench.link import Part, TimingLink
from edge_inspector.bench.report import BenchReport, Round, machine, spread
from edge_inspector.bench.source import FrameSource, Gray, filmed, known_format, lens
from edge_inspector.calibration.file import calibration_text
from edge_inspector.control import Control
from edge_inspector.datatypes import Calibration, Evaluation, ThresholdState
from edge_inspector.errors import ConfigError, InferenceError
from edge_inspector.interfaces import ModelFile
from edge_inspector.settings import PictureGate
from edge_inspector.station import daemon
from edge_inspector.station.engines import Chosen, Engines
from edge_inspector.station.parts import CameraPlan, Parts

WARM_UP = 10
"""Parts and calls before the first block; they are not counted."""
CAMERA = "bench"
STATION = """\
schema = 1

[station]
name = "bench"
recipe = "bench"
state_dir = "."
runtime_dir = "run"

[backend]
type = "{backend}"
{threads}

[plc.bench]                     # the bench puts a link that notes the time in its place
type = "opcua_server"

[cameras.bench]                 # only its calibration is used: the bench puts a source of frames in its place
type = "folder"
path = "."
calibration = "lens.yaml"

[recipes.bench]
number = 1
bundle = '{bundle}'
deadline_ms = 60000             # nothing may be cut off: the whole of a slow part is to be seen
views = [{{ camera = "bench" }}]
"""


@dataclass(frozen=True)
class BenchOptions:
    """`frames` of each kind, in blocks; `threads` None = the backend's own default."""

    bundle: str = "pcb-demo"
    frames: int = 300
    block: int = 30
    image_hw: tuple[int, int] = (1200, 1920)
    pixel_format: str = "Mono8"
    backend: str = "onnxruntime"
    threads: int | None = None


@dataclass(frozen=True)
class _Measured:
    """One round; `bare` in ns."""

    bare: list[int]
    serial: list[Part]
    pipelined: list[Part]


class Trusted(Engines):
    """Every model may run: time is measured here, not verdicts."""

    def __init__(self) -> None:
        pass

    def choose(self, recipe: str, model_file: ModelFile, thresholds: ThresholdState) -> Chosen:
        return Chosen(model_file)


def run_bench(options: BenchOptions, pictures: Sequence[Gray]) -> BenchReport:
    """Measure with these gray pictures of parts. ConfigError: an option that cannot be; InferenceError: no verdict."""
    pixel_format = known_format(options.pixel_format)
    calibration = lens(options.image_hw)
    source = FrameSource(CAMERA, filmed(pictures, pixel_format, calibration), pixel_format)
    with tempfile.TemporaryDirectory(prefix="edge-inspector-bench-") as folder:
        station = _station_file(Path(folder), options, calibration)
        parts, control = assemble(station)
        backend = config.load(station).backend
        recipe = parts.recipes[parts.active_recipe]
        plan = recipe.plans[CAMERA]
        if parts.backend.prepares_on_device:
            raise ConfigError(f"backend {options.backend} is measured on its device: make test-gpu")
        parts.backend.load(recipe.model_file, plan, max_batch=1).close()  # a bundle that does not fit is told here
        call = bare_call(backend, parts.backend, recipe.model_file, plan)
        batches = [pipeline.prepare(source.next_frame(), plan) for _ in pictures]
        link = TimingLink(parts.clock)
        gate = PictureGate(identical=len(pictures) > 1, min_brightness=0, max_saturated=1)  # works, and refuses none
        cameras = {CAMERA: CameraPlan(lambda: source, gate)}
        parts = replace(parts, cameras=cameras, links=[link], master=link.name, engines=Trusted())
        before = machine()
        uvloop = importlib.util.find_spec("uvloop") is not None  # as `edge-inspector run`
        rounds = anyio.run(
            _measure, parts, control, link, Bare(call, batches), options, backend_options={"use_uvloop": uvloop}
        )
    settings = {
        "bundle": options.bundle,
        "model_hash": recipe.model_hash,
        "image_hw": options.image_hw,
        "pixel_format": pixel_format,
        "undistorted": True,
        "backend": backend.model_dump(),
        "block": options.block,
    }
    return _report(settings, before, rounds)


async def _measure(
    parts: Parts, control: Control, link: TimingLink, bare: Bare, options: BenchOptions
) -> list[_Measured]:
    rounds = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_station, parts, control, tasks.cancel_scope, name="station")
        await link.serial(WARM_UP)
        await anyio.to_thread.run_sync(bare.block, WARM_UP)
        for begun in range(0, options.frames, options.block):
            size = min(options.block, options.frames - begun)
            calls = await anyio.to_thread.run_sync(bare.block, size)
            rounds.append(_Measured(calls, await link.serial(size), await link.pipelined(size)))
        control.stop()
    if sum(len(one.serial) for one in rounds) < options.frames:
        raise InferenceError("the bench was interrupted; nothing measured here counts")
    return rounds


async def _station(parts: Parts, control: Control, everything: anyio.CancelScope) -> None:
    """To its end, also by SIGINT: then nobody judges what the link waits for."""
    await daemon.run(parts, control)
    everything.cancel()


def _station_file(folder: Path, options: BenchOptions, calibration: Calibration) -> Path:
    (folder / "run").mkdir()
    bundle = Path(options.bundle)
    text = STATION.format(
        backend=options.backend,
        threads="" if options.threads is None else f"threads = {options.threads}",
        bundle=bundle.resolve() if bundle.is_dir() else bundle,
    )
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    (folder / "lens.yaml").write_text(calibration_text(calibration), encoding="utf-8")
    return path


def _report(settings: dict[str, Any], at: dict[str, Any], rounds: Sequence[_Measured]) -> BenchReport:
    for part in itertools.chain.from_iterable(one.serial + one.pipelined for one in rounds):
        if part.result is None:
            raise InferenceError(f"a part of the bench was refused ({part.refusal}); nothing measured here counts")
        if part.result.evaluation is Evaluation.UNDEFINED:
            raise InferenceError(f"a part of the bench was not judged: {part.result.reason_text}; mend that first")
    serial = [part for one in rounds for part in one.serial]
    found = [len(part.result.defects) for part in serial if part.result is not None]
    return BenchReport(
        settings=settings,
        machine=at,
        frames=len(serial),
        detections_a_part=round(sum(found) / len(found), 2),
        bare=spread([ns for one in rounds for ns in one.bare]),
        serial=spread([part.latency_ns for part in serial]),
        stages={stage: spread([part.stage_ns[stage] for part in serial]) for stage in serial[0].stage_ns},
        rounds=tuple(_round(one) for one in rounds),
    )


def _round(one: _Measured) -> Round:
    return Round(
        bare_ms=spread(one.bare).median_ms,
        serial_ms=spread([part.latency_ns for part in one.serial]).median_ms,
        bare_per_s=round(1e9 * len(one.bare) / sum(one.bare), 3),
        pipelined_per_s=round(_parts_per_s(one.pipelined), 3),
    )


def _parts_per_s(parts: Sequence[Part]) -> float:
    """From the first trigger to the last verdict: the pipeline's filling counts against us."""
    return 1e9 * len(parts) / (max(p.told_ns for p in parts) - min(p.seen_ns for p in parts))
