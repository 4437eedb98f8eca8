from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_inspector import pipeline
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.bench.bare import Bare, backend_run, session_run
from edge_inspector.bench.link import TimingLink
from edge_inspector.bench.measure import BenchOptions, run_bench
from edge_inspector.bench.report import BenchReport, Round, Spread, spread
from edge_inspector.bench.source import FrameSource, filmed, lens
from edge_inspector.datatypes import (
    Evaluation,
    InputSpec,
    InspectionResult,
    Mode,
    PreparePlan,
    Reason,
    Trigger,
)
from edge_inspector.errors import ConfigError, InferenceError
from edge_inspector.interfaces import ModelFile, StationStatus, TriggerAccepted, TriggerRefused

SIDE = 32
HW = (120, 192)
STAGES = ["acquire", "prepare", "queue", "infer", "finish", "hop", "tell"]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """A station sets these for its own process."""
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    gc.unfreeze()


def save_bundle(folder: Path, infinite_at: str = "") -> Path:
    """A bundle with one class, whose net sees one box, as sure as the picture is bright.

    Or, for `infinite_at` = "black" or "white", infinitely sure there.
    """
    folder.mkdir()
    box = np.array([16, 16, 8, 8], np.float32).reshape(1, 4, 1)
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["brightest"], axes=[2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["brightest", "axis"], ["score"]),
    ]
    if infinite_at:
        nodes[0].output[0] = "level"
        far = {"black": ["level", "zero"], "white": ["level", "one"]}[infinite_at]
        nodes.insert(1, helper.make_node("Sub", far, ["distance"]))
        nodes.insert(2, helper.make_node("Reciprocal", ["distance"], ["brightest"]))
    nodes.append(helper.make_node("Concat", ["box", "score"], ["output0"], axis=1))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, 1])],
        [
            numpy_helper.from_array(value, name)
            for name, value in {
                "box": box,
                "axis": np.array([2]),
                "zero": np.float32([0]),
                "one": np.float32([1]),
            }.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "model.toml").write_text(f"""\
schema = 1
name = "brightest"
version = "1.0.0"
task = "detect"
decoder = "yolo"
classes = ["bright"]
score_floor = 0.1
nms_iou = 0.5
licence = "Apache-2.0"
sha256 = "{hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()}"
description = "for tests"
thresholds = {{ bright = 0.5 }}

[input]
width_px = {SIDE}
height_px = {SIDE}
color = "gray"
scale = 0.00392156862745098
mean = [0.0]
std = [1.0]
pad_value = 0
""")
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return save_bundle(tmp_path / "bundle")


def pictures() -> list[np.ndarray]:
    """One bright, one dark."""
    return [np.full((60, 60), value, np.uint8) for value in (250, 20)]


def options(folder: Path, **changes: object) -> BenchOptions:
    return replace(BenchOptions(bundle=str(folder), frames=8, block=4, image_hw=HW), **changes)


# --- the source of frames


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12", "BGR8", "RGB8", "BayerRG8"])
def test_the_station_sees_the_picture_without_the_lens_again(pixel_format: str) -> None:
    rng = np.random.default_rng(3)
    picture = cv2.resize(rng.integers(0, 256, (12, 12), np.uint8), (300, 300), interpolation=cv2.INTER_CUBIC)
    calibration = lens((300, 480))
    source = FrameSource("bench", filmed([picture], pixel_format, calibration), pixel_format)
    plan = PreparePlan(InputSpec(300, 480, "gray", 1.0, (0.0,), (1.0,), 0), calibration=calibration)
    seen = pipeline.prepare(source.next_frame(), plan).pixels[0, 0]
    difference = np.abs(seen[10:-10, 100:380] - picture[10:-10, 10:290])
    assert difference.mean() < 2
    bent = filmed([picture], "Mono8", calibration)[0][10:-10, 100:380].astype(np.float32)
    assert difference.mean() < np.abs(bent - picture[10:-10, 10:290]).mean() / 5


def test_the_source_hands_out_its_frames_in_turn_and_numbers_them() -> None:
    frames = [np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)]
    source = FrameSource("bench", frames, "Mono8")
    taken = []
    for _ in range(3):
        assert source.grab(0.0) is None  # nobody has asked for one
        source.trigger()
        taken.append(source.grab(0.0))
    assert [f.frame_id for f in taken] == [1, 2, 3]
    assert [f.pixels is frames[i] for f, i in zip(taken, (0, 1, 0), strict=True)] == [True] * 3


# --- the reference


def test_both_references_run_the_network_of_the_bundle(bundle: Path) -> None:
    plan = PreparePlan(InputSpec(SIDE, SIDE, "gray", 1 / 255, (0.0,), (1.0,), 0))
    frame = FrameSource("bench", [np.full((SIDE, SIDE), 51, np.uint8)], "Mono8").next_frame()
    batch = pipeline.prepare(frame, plan)
    path = str(bundle / "model.onnx")
    (direct,) = session_run(path, threads=1)(batch)
    (ours,) = backend_run(OnnxRuntimeBackend(Config()), ModelFile(path, ""), plan)(batch).by_name.values()
    assert np.array_equal(direct, ours)
    assert direct[0, 4, 0] == pytest.approx(0.2)


def test_a_block_of_the_reference_times_each_run_and_takes_the_batches_in_turn() -> None:
    seen: list[object] = []
    bare = Bare(seen.append, ["a", "b"])
    assert len(bare.block(3)) == 3
    assert all(ns >= 0 for ns in bare.block(2))
    assert seen == ["a", "b", "a", "b", "a"]


# --- the link


class Ticks:
    """A clock that moves by one with each look."""

    def __init__(self) -> None:
        self.now = 0

    def monotonic_ns(self) -> int:
        self.now += 1
        return self.now

    def utc(self) -> str:
        return ""

    def synced(self) -> bool:
        return True


def status(ready: bool, busy: bool) -> StationStatus:
    return StationStatus(ready, busy, False, False, Mode.PRODUCTION, "r", 1, True, False, 0, "", True, int(busy))


def verdict(seq: int) -> InspectionResult:
    trigger = Trigger(seq, f"s.b.{seq}", seq, "", 1, Mode.PRODUCTION, "r", 1, 1, 1, 0, 10**12, "", True)
    return InspectionResult(trigger, Evaluation.OK, Reason.NONE, "", (), ("c",), 1, (), "", 3, {"infer": 2})


async def asks(link: TimingLink) -> bool:
    """Whether the link triggers a part now; if so it has."""
    receiving = asyncio.create_task(link.receive())
    for _ in range(3):
        await asyncio.sleep(0)
    if receiving.done():
        return True
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    return False


def test_single_parts_wait_until_the_part_before_is_told_and_the_station_idle() -> None:
    async def talk() -> list[bool]:
        link = TimingLink(Ticks())
        running = asyncio.create_task(link.serial(2))
        said = [await asks(link)]
        await link.tell(status(ready=True, busy=False))
        said.append(await asks(link))
        await link.tell(TriggerAccepted(1))
        await link.tell(status(ready=True, busy=True))
        said.append(await asks(link))
        await link.tell(verdict(1))
        said.append(await asks(link))
        await link.tell(status(ready=True, busy=False))
        said.append(await asks(link))
        await link.tell(verdict(2))
        assert [part.result.trigger.trigger_seq for part in await running if part.result] == [1, 2]
        return said

    assert asyncio.run(talk()) == [False, True, False, False, True]


def test_parts_in_a_row_are_triggered_as_soon_as_the_station_is_ready() -> None:
    async def talk() -> list[bool]:
        link = TimingLink(Ticks())
        running = asyncio.create_task(link.pipelined(3))
        await link.tell(status(ready=True, busy=False))
        said = [await asks(link)]
        await link.tell(status(ready=True, busy=True))  # said before the trigger reached the station
        said.append(await asks(link))
        await link.tell(TriggerAccepted(1))
        said.append(await asks(link))
        await link.tell(status(ready=True, busy=True))
        said.append(await asks(link))
        await link.tell(TriggerAccepted(2))
        await link.tell(status(ready=True, busy=True))
        said.append(await asks(link))
        await link.tell(TriggerAccepted(3))
        await link.tell(status(ready=True, busy=True))
        said.append(await asks(link))
        for seq in (1, 2, 3):
            await link.tell(verdict(seq))
        assert len(await running) == 3
        return said

    assert asyncio.run(talk()) == [True, False, False, True, True, False]


def test_a_part_is_timed_from_its_trigger_to_its_verdict() -> None:
    async def talk() -> None:
        link = TimingLink(Ticks())
        running = asyncio.create_task(link.serial(1))
        await link.tell(status(ready=True, busy=False))
        assert await asks(link)  # at 1
        link._clock.now = 8
        await link.tell(verdict(1))  # at 9, settled at 3
        (part,) = await running
        assert part.latency_ns == 8
        assert part.stage_ns == {"infer": 2, "tell": 6}

    asyncio.run(talk())


def test_a_refused_trigger_ends_its_part_and_says_why() -> None:
    async def talk() -> None:
        link = TimingLink(Ticks())
        running = asyncio.create_task(link.serial(1))
        await link.tell(status(ready=True, busy=False))
        assert await asks(link)
        await link.tell(TriggerRefused(1, Reason.OVERLOAD))
        (part,) = await running
        assert (part.result, part.refusal, part.stage_ns) == (None, "overload", {})

    asyncio.run(talk())


# --- the whole


def test_a_bench_measures_every_kind_equally_often_and_names_the_stages_in_order(bundle: Path) -> None:
    made = run_bench(options(bundle, frames=6), pictures())
    assert made.frames == 6
    assert len(made.rounds) == 2  # 4 and 2
    assert all(one.bare_per_s > 0 and one.pipelined_per_s > 0 for one in made.rounds)
    assert list(made.stages) == STAGES
    assert made.detections_a_part == 0.5  # every second picture is bright
    assert sum(stage.median_ms for stage in made.stages.values()) > 0


def test_the_stages_are_parts_of_the_latency(bundle: Path) -> None:
    made = run_bench(options(bundle, frames=1, block=1), pictures())
    assert 0 < sum(stage.median_ms for stage in made.stages.values()) <= made.serial.median_ms + 1e-3  # rounding
    assert all(stage.median_ms >= 0 for stage in made.stages.values())


def test_a_bench_says_on_what_it_ran(bundle: Path) -> None:
    made = json.loads(run_bench(options(bundle, pixel_format="BGR8", threads=2), pictures()).to_json())
    assert made["settings"]["backend"]["threads"] == 2
    assert made["settings"]["image_hw"] == list(HW)
    assert made["settings"]["pixel_format"] == "BGR8"
    assert made["machine"]["versions"]["opencv"] == cv2.__version__
    assert made["targets"] == {"added_latency_percent": 20.0, "lost_throughput_percent": 10.0}
    assert {"cpu", "cores", "load_average_1min", "opencv_threads"} <= set(made["machine"])


def test_a_part_without_a_verdict_makes_the_bench_fail(tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle", infinite_at="white")
    with pytest.raises(InferenceError, match=r"was not judged: .* NaN or infinity"):
        run_bench(options(bundle), [np.full((60, 60), 255, np.uint8)])


def test_a_network_that_cannot_be_loaded_is_told_to_the_user(tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle", infinite_at="black")
    with pytest.raises(ConfigError, match="the first inference failed"):
        run_bench(options(bundle), pictures())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pixel_format": "YUV"}, "'YUV' is not known; expected one of Mono8"),
        ({"backend": "abacus"}, "abacus"),
        ({"threads": 0}, "backend.threads = 0"),
        ({"bundle": "nowhere"}, "nowhere is not there"),
    ],
)
def test_an_option_that_cannot_be_is_told_to_the_user(bundle: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_bench(options(bundle, **changes), pictures())


# --- the report


def report(bare_ms: float, serial_ms: float, *rounds: Round) -> BenchReport:
    bare, serial = (Spread(ms, 2 * ms, 3 * ms) for ms in (bare_ms, serial_ms))
    return BenchReport({}, {}, 1, 0.0, bare, serial, {}, rounds)


def test_added_latency_is_the_serial_median_over_the_bare_one() -> None:
    made = report(20.0, 23.0, Round(20.0, 22.0, 1, 1), Round(60.0, 66.0, 1, 1), Round(20.0, 40.0, 1, 1))
    assert made.added_latency_percent == 15.0
    assert made.added_latency_percent_by_round == 10.0


def test_lost_throughput_compares_the_medians_of_the_rounds() -> None:
    made = report(1.0, 1.0, Round(1, 1, 50.0, 48.0), Round(1, 1, 25.0, 20.0), Round(1, 1, 40.0, 30.0))
    assert (made.bare_per_s, made.pipelined_per_s) == (40.0, 30.0)
    assert made.lost_throughput_percent == 25.0
    assert made.lost_throughput_percent_by_round == 20.0


def test_a_spread_is_in_milliseconds() -> None:
    assert spread([1_000_000, 2_000_000, 9_000_000]) == Spread(2.0, 8.86, 9.0)


@pytest.mark.system
def test_the_command_prints_the_figures_and_writes_them(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    sizes = ["--frames", "2", "--width", "192", "--height", "120"]
    command = [sys.executable, "-m", "edge_inspector", "bench", "--bundle", str(bundle), *sizes, "--report", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    made = json.loads(out.read_text())
    assert f"added latency {made['added_latency_percent']:.1f} %" in run.stdout
    assert f"lost throughput {made['lost_throughput_percent']:.1f} %" in run.stdout
    assert all(stage in run.stdout for stage in STAGES)


@pytest.mark.system
def test_the_command_names_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_inspector", "bench", "--bundle", "nowhere", "--width", "192"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "nowhere is not there" in run.stderr
    assert "Traceback" not in run.stderr
