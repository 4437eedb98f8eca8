"""A station of faulty cameras in its own process, with PLC, broker and everybody who can testify about them."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from asyncua import Client, ua
from fault_record import FaultBook, balance, longest_without_verdict_s, read_by_plc, shown
from fault_record import Sight as Shown
from onnx import TensorProto, helper, numpy_helper

from edge_inspector.calibration.file import calibration_text
from edge_inspector.datatypes import Calibration, Evaluation, Reason
from edge_inspector.demo.broker import wait_until_listening
from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.plc_sim.log import PlcBook, read_plc_log
from edge_inspector.plc_sim.opcua_wire import NAMESPACE
from edge_inspector.store.books import Books, read_books, verdicts

MOSQUITTO = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
PLUGIN = Path(__file__).parent
HW = (240, 320)
DEADLINE_MS = 1500.0
MARGIN_MS = 500.0
"""Between the moment at which a part is given up and its deadline: a busy machine needs some of it."""
GATE_MS = 2500.0
WINDOW_MS = 600.0
ENOUGH = 100_000  # parts that no test comes to the end of
WAIT_S = 90.0  # a busy machine may need long; nothing waits for the whole of it
SPOILED = frozenset({"frozen", "repeat", "reordered", "black", "saturated", "defocus", "empty", "shape", "late"})
"""Pictures that show nothing of their part, or come when its time is up."""
BRIGHT = 127
SIDE = 32

STATION = """\
schema = 1
[station]
name = "soak"
recipe = "all"
grab_timeout_s = {grab_timeout_s:g}
[log]
json_lines = true
[backend]
type = "onnxruntime"
threads = 1
warm_up_runs = 1
{cameras}{recipes}
[plc.line]
type = "opcua_server"
port = {opcua_port}
[publishers.broker]
type = "mqtt"
host = "127.0.0.1"
port = {mqtt_port}
protocol = "3.1.1"
"""
CAMERA = """\
[cameras.{name}]
type = "faulty"
serial = "{serial}"
emulate_folder = "frames/{name}"
calibration = "{name}.yaml"
features = {{ PixelFormat = "Mono8" }}
faults = "faults"
gate = {{ min_sharpness = 50.0 }}
line_input = {line_input}
"""
RECIPE = """\
[recipes.{name}]
number = {number}
trigger = "{trigger}"
bundle = "tiny"
deadline_ms = {deadline_ms:g}
output_margin_ms = {margin_ms:g}
{window}views = [{views}]
"""
MODEL = """\
schema = 1
name = "tiny"
version = "1"
task = "detect"
decoder = "yolo"
classes = ["bright"]
score_floor = 0.25
nms_iou = 0.5
licence = "Apache-2.0"
sha256 = "{sha256}"
description = "its one box is as sure as the picture is bright"
thresholds = {{ bright = 0.5 }}
[input]
width_px = 32
height_px = 32
color = "gray"
scale = 0.00392156862745098
mean = [0.0]
std = [1.0]
pad_value = 0
"""


@dataclass(frozen=True)
class Part:
    """One accepted part as the ledger has it; times are CLOCK_MONOTONIC ns."""

    seq: int
    trigger_seq: int
    part_id: str
    recipe: str
    accepted_ns: int
    settled_ns: int
    cycle_ms: float
    evaluation: Evaluation
    reason: Reason
    text: str
    frames: Mapping[str, int]


@dataclass(frozen=True)
class Deed:
    """What a faulty camera did; `facts` are those of its log."""

    camera: str
    did: str
    ns: int
    facts: Mapping[str, Any]

    @property
    def fault(self) -> str:
        return str(self.facts.get("fault", ""))


@dataclass(frozen=True)
class Sight:
    """What the panel showed from `ns` on."""

    ns: int
    ready: bool
    error_code: int
    error_text: str
    recipe_no: int


class Panel:
    """An OPC UA client of its own that writes down each change of the station's state; it comes back by itself."""

    _TAGS = ("TriggerReady", "ErrorCode", "ErrorText", "ActiveRecipeNo")
    _LOST = (OSError, asyncio.TimeoutError, ConnectionError, ua.UaError)

    def __init__(self, port: int) -> None:
        self.seen: list[Sight] = []
        self._endpoint = f"opc.tcp://127.0.0.1:{port}/edge-inspector"
        self._recipe_no = 0
        self._ordered = self._orders = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()), name="panel")

    def __enter__(self) -> Panel:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def now(self) -> Sight:
        return self.seen[-1]

    def order(self, recipe_no: int) -> None:
        """Order a recipe, as the line does when it changes product."""
        self._recipe_no = recipe_no
        self._orders += 1

    def between(self, start_ns: int, end_ns: int) -> list[Sight]:
        """Everything that was shown at some moment between the two."""
        ends = [sight.ns for sight in self.seen[1:]] + [end_ns + 1]
        return [sight for sight, end in zip(self.seen, ends, strict=True) if end > start_ns and sight.ns <= end_ns]

    async def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                async with Client(self._endpoint, timeout=2) as client:
                    await self._look(client)
            except self._LOST:
                await asyncio.sleep(0.1)

    async def _look(self, client: Any) -> None:
        index = await client.get_namespace_index(NAMESPACE)
        nodes = [client.get_node(ua.NodeId(f"Station.Status.{tag}", index)) for tag in self._TAGS]
        while not self._stopping.is_set():
            if (order := self._orders) != self._ordered:
                await self._write(client, index, "RecipeReqNo", self._recipe_no, ua.VariantType.UInt16)
                await self._write(client, index, "RecipeReqSeq", order, ua.VariantType.UInt32)
                self._ordered = order
            sight = Sight(time.monotonic_ns(), *await client.read_values(nodes))
            if not self.seen or replace(sight, ns=self.now.ns) != self.now:
                self.seen.append(sight)
            await asyncio.sleep(0.01)

    async def _write(self, client: Any, index: int, tag: str, value: int, kind: ua.VariantType) -> None:
        await client.get_node(ua.NodeId(f"Station.Control.{tag}", index)).write_value(ua.Variant(value, kind))


class Plant:
    """Station, PLC and broker in their own processes; `panel` and `witness` testify."""

    def __init__(
        self,
        folder: Path,
        cameras: int = 2,
        recipes: Sequence[Sequence[int]] = (),
        grab_timeout_s: float = 2.0,
        rate_hz: float = 4.0,
        line_input: bool = False,
        pictures: Sequence[Sequence[str]] = (("dark", "dark", "bright"), ("dark", "dark")),
    ) -> None:
        """`recipes` are the cameras of each recipe by index, the first one active; () = one with all cameras.

        `pictures` are "dark" (good), "bright" (a defect) or "small" (of another size), by camera, over and over.
        """
        self.folder = folder
        self.cameras = [f"cam{i + 1}" for i in range(cameras)]
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.opcua_port, self.mqtt_port = _free_port(), _free_port()
        self.panel = Panel(self.opcua_port)
        self.witness = Subscriber(self.mqtt_port)
        self.rate_hz = rate_hz
        self.belt: dict[str, tuple[float, int]] = {}
        """For the next part that is announced: how late a camera's input sees it, s, and how often; else (0, 1)."""
        self._line_input = line_input
        self._edges: list[tuple[float, str, str]] = []
        self._moved = 0
        (folder / "faults").mkdir()
        (folder / "tiny").mkdir()
        model = _network()
        (folder / "tiny" / "model.onnx").write_bytes(model)
        (folder / "tiny" / "model.toml").write_text(MODEL.format(sha256=hashlib.sha256(model).hexdigest()))
        for i, name in enumerate(self.cameras):
            write_pictures(folder / "frames" / name, pictures[i % len(pictures)], seed=i)
            lens = Calibration(HW, (300.0, 300.0, 159.5, 119.5), (-0.02, 0.0, 0.0, 0.0), serial=_serial(i))
            (folder / f"{name}.yaml").write_text(calibration_text(lens))
        text = STATION.format(
            grab_timeout_s=grab_timeout_s,
            cameras="".join(
                CAMERA.format(name=name, serial=_serial(i), line_input=str(line_input).lower())
                for i, name in enumerate(self.cameras)
            ),
            recipes="".join(
                self._recipe(number, chosen, line_input)
                for number, chosen in enumerate(recipes or [range(cameras)], start=1)
            ),
            opcua_port=self.opcua_port,
            mqtt_port=self.mqtt_port,
        )
        (folder / "station.toml").write_text(text)
        (folder / "mosquitto.conf").write_text(
            f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
            f"user {getpass.getuser()}\n"
        )

    def _recipe(self, number: int, chosen: Sequence[int], announced: bool) -> str:
        """The second recipe and those after it set the cameras differently, and look at a part of the picture."""
        other = f", roi = {{ x = 40, y = 30, width = 160, height = 120 }}, features = {{ Gain = {number}.0 }}"
        more = "" if number == 1 else other
        return RECIPE.format(
            name="all" if number == 1 else f"some{number}",
            number=number,
            trigger="announced" if announced else "plc",
            window=f"window_ms = [0.0, {WINDOW_MS}]\n" if announced else "",
            deadline_ms=DEADLINE_MS,
            margin_ms=MARGIN_MS,
            views=", ".join(f'{{ camera = "{self.cameras[i]}"{more} }}' for i in chosen),
        )

    def start(self, name: str, parts: int = ENOUGH) -> None:
        commands = {
            "broker": [str(MOSQUITTO), "-c", str(self.folder / "mosquitto.conf")],
            "station": [sys.executable, "-m", "edge_inspector", "run", str(self.folder / "station.toml")],
            "plc": [
                *(sys.executable, "-m", "edge_inspector", "plc-sim", "--log", str(self.folder / "plc.jsonl")),
                *("--endpoint", f"opc.tcp://127.0.0.1:{self.opcua_port}/edge-inspector"),
                *("--parts", str(parts), "--rate", str(self.rate_hz), "--gate-ms", str(GATE_MS)),
            ],
        }
        path = os.pathsep.join(filter(None, (str(PLUGIN), os.environ.get("PYTHONPATH", ""))))
        env = {**os.environ, "PYTHONPATH": path, "PYLON_CAMEMU": str(len(self.cameras) + 1)}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(commands[name], stdout=log, stderr=log, env=env)
        if name == "broker":
            wait_until_listening(self.mqtt_port, 10)

    def fault(self, camera: str, fault: str, **facts: object) -> int:
        """Order it; CLOCK_MONOTONIC ns before it can happen."""
        before = time.monotonic_ns()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as order:
            order.sendto(json.dumps({"fault": fault, **facts}).encode(), str(self.folder / "faults" / f"{camera}.sock"))
        return before

    def lasting(self, camera: str, state: str, seconds: float) -> None:
        """From now on the camera is `away`, `held` or `swapped`, as soon as it is opened."""
        (self.folder / "faults" / f"{camera}.{state}").write_text(str(time.monotonic() + seconds))

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            station = self.running["station"]
            assert station.poll() is None, f"the station ended with {station.returncode}:\n{self.said('station')}"
            assert time.monotonic() < end, f"not within {timeout_s} s: {what}\n{self.said('station')}"
            if self._line_input:
                self._move()
            time.sleep(0.02)

    def _move(self) -> None:
        """The belt: each announced part passes the cameras' inputs."""
        plc, now = self.plc, time.monotonic()
        for seq in plc.accepted[self._moved :]:
            for camera in self.cameras:
                late_s, often = self.belt.get(camera, (0.0, 1))
                self._edges += [(now + late_s, camera, plc.part_ids[seq])] * often
            self.belt.clear()
        self._moved = len(plc.accepted)
        for edge in [edge for edge in self._edges if edge[0] <= now]:
            self._edges.remove(edge)
            self.fault(edge[1], "edge", part=edge[2])

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def log(self, event: str, camera: str = "") -> list[dict[str, Any]]:
        """The station's log lines of one event, of one camera if named."""
        lines = (self.folder / "station.log").read_text(errors="replace").splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [r for r in records if r.get("event") == event and camera in ("", r.get("camera"))]

    def deeds(self, did: str = "", camera: str = "", since_ns: int = 0) -> list[Deed]:
        """What the cameras have written down, in order of time."""
        found = []
        for path in (self.folder / "faults").glob("*.jsonl"):
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    facts = json.loads(line)
                    found.append(Deed(path.stem, facts["did"], facts["ns"], facts))
        chosen = [d for d in found if did in ("", d.did) and camera in ("", d.camera) and d.ns >= since_ns]
        return sorted(chosen, key=lambda deed: deed.ns)

    @property
    def plc(self) -> PlcBook:
        return read_plc_log(self.folder / "plc.jsonl")

    @property
    def books(self) -> Books:
        return read_books(self.folder / "state" / "ledger.sqlite")

    @property
    def parts(self) -> list[Part]:
        """Every settled part in order of acceptance."""
        query = (
            "SELECT seq, trigger_seq, part_id, recipe, accepted_ns, settled_ns, cycle_ms, evaluation, reason, "
            "reason_text, views, frame_ids FROM triggers JOIN results USING (seq) ORDER BY seq"
        )
        with contextlib.closing(self._ledger()) as connection:
            rows = connection.execute(query).fetchall()
        return [
            Part(
                *row[:7],
                Evaluation(row[7]),
                Reason(row[8]),
                row[9],
                _frames(json.loads(row[10]), json.loads(row[11])),
            )
            for row in rows
        ]

    def part_at(self, ns: int) -> Part:
        """The part that was the newest one then, settled."""

        def booked() -> bool:
            counted = self.counters()
            return counted["open_inspections"] == counted["ledger_waiting"] == 0

        self.wait("the part of a fault is settled and booked", booked)
        return [part for part in self.parts if part.accepted_ns <= ns][-1]

    def _ledger(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.folder / 'state' / 'ledger.sqlite'}?mode=ro", uri=True)

    def spoil(self, camera: str, fault: str, **facts: object) -> Part:
        """Order a fault of the next picture; the part that it hits, settled."""
        since = self.fault(camera, fault, **facts)
        self.wait(f"{fault} has happened", lambda: any(d.fault == fault for d in self.deeds("trigger", camera, since)))
        hit = next(d for d in self.deeds("trigger", camera, since) if d.fault == fault)
        return self.part_at(hit.ns)

    def counters(self) -> dict[str, float]:
        """Of the control socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(self.folder / "state" / "run" / "control.sock"))
            client.sendall(b'{"command": "counters"}\n')
            with client.makefile("rb") as answer:
                counted: dict[str, float] = json.loads(answer.readline())["counters"]
        return counted

    def count(self, camera: str, what: str) -> int:
        return int(self.counters()[f"camera_{camera}_{what}"])

    def judged(self, count: int = 2, timeout_s: float = WAIT_S) -> None:
        """Wait for so many more parts with a verdict, OK or NOT_OK, that the PLC has read."""
        wanted = self._verdicts() + count
        self.wait(f"{count} more verdicts at the PLC", lambda: self._verdicts() >= wanted, timeout_s)

    def idle(self) -> None:
        """No further parts: the PLC goes, and comes again with `start`."""
        plc = self.running["plc"]
        plc.kill()
        plc.wait()
        self.wait("every part is settled", lambda: self.books.accepted == self.books.results)

    def _verdicts(self) -> int:
        return sum(told.evaluation in (Evaluation.OK, Evaluation.NOT_OK) for told in self.plc.results)

    def finish(self) -> None:
        """No further parts; the station settles its last ones, hands all messages to the broker and ends in order."""
        self.idle()
        self.wait("the outbox is empty", lambda: self.books.outbox_pending == 0)
        self.running["station"].terminate()
        assert self.running["station"].wait(30) == 0, self.said("station")
        wanted = set(verdicts(self.folder / "state" / "ledger.sqlite"))
        assert self.witness.wait(lambda: wanted <= set(self.witness.results), 20)

    def testify(self, fault: FaultBook, row: int, injected: str) -> None:
        """Tell the table of a fault, after `finish`; READY counts only while the panel shows why it is low."""
        ledger, plc_log = self.folder / "state" / "ledger.sqlite", self.folder / "plc.jsonl"
        sights = [Shown(s.ns, True, s.ready or not s.error_code, s.error_code, s.error_text) for s in self.panel.seen]
        panel = shown(sights, sights[0].ns, sights[-1].ns)
        recovery_s = longest_without_verdict_s(ledger)
        books = balance(ledger, plc_log)
        fault.tell(
            row,
            injected=injected,
            saw=f"{read_by_plc(ledger, plc_log)}; {panel}",
            books=books,
            recovery_s=recovery_s,
        )


@contextlib.contextmanager
def plant(folder: Path, **settings: Any) -> Iterator[Plant]:
    """A station at work: PLC and panel are linked, some parts have their verdict."""
    made = Plant(folder, **settings)
    try:
        made.start("broker")
        with made.witness:
            made.start("station")
            with made.panel:
                made.start("plc")
                made.wait("the station is ready", lambda: bool(made.panel.seen) and made.panel.now.ready)
                yield made
    finally:
        for process in made.running.values():
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


def assert_books_balance(made: Plant) -> None:
    """After all have stopped: part by part, PLC, ledger, broker and cameras tell the same."""
    books, plc, parts = made.books, made.plc, {part.seq: part for part in made.parts}
    rows = verdicts(made.folder / "state" / "ledger.sqlite")
    assert books.balanced, books.gaps
    assert books.accepted == books.results == len(rows) == len(parts)
    assert [n for n in Counter(row.part_id for row in rows.values()).values() if n > 1] == []
    assert [n for n in Counter(told.result_id for told in plc.results).values() if n > 1] == []
    for told in plc.results:
        row = rows[told.result_id]
        assert (row.evaluation, row.part_id, row.trigger_seq) == (told.evaluation, told.part_id, told.trigger_seq)
        assert not told.wrong_part_id
        assert told.round_trip_ms is None or told.round_trip_ms <= GATE_MS
        assert row.cycle_ms <= DEADLINE_MS
    assert set(made.witness.results) == set(rows)
    assert_no_part_has_anothers_verdict(made)


def assert_no_part_has_anothers_verdict(made: Plant) -> None:
    """Each verdict is what the cameras showed of this part, unspoiled, exposed between its trigger and its verdict.

    A picture that was spoiled, or is another part's, never makes an OK; and a NOT_OK has seen something bright.
    """
    frames: dict[tuple[str, int], list[Deed]] = {}
    for deed in made.deeds("frame"):
        frames.setdefault((deed.camera, deed.facts["frame_id"]), []).append(deed)
    for part in made.parts:
        own = {
            camera: deed
            for camera, frame_id in part.frames.items()
            for deed in frames.get((camera, frame_id), ())
            if part.accepted_ns <= deed.facts["exposed_ns"] <= part.settled_ns
            and deed.facts["part"] in ("", part.part_id)
        }
        bright = {camera for camera, deed in own.items() if deed.facts["mean"] > BRIGHT}
        if part.evaluation is Evaluation.OK:
            assert set(own) == set(part.frames), f"{part} is OK, and has pictures of its own only of {sorted(own)}"
            assert not bright, f"{part} is OK, and {bright} showed a defect"
            spoiled = {camera: deed.fault for camera, deed in own.items() if deed.fault in SPOILED}
            assert not spoiled, f"{part} is OK on {spoiled}"
        elif part.evaluation is Evaluation.NOT_OK:
            assert bright, f"{part} is NOT_OK, and none of its pictures showed a defect"
        else:
            assert part.evaluation is Evaluation.UNDEFINED


def assert_refused(made: Plant, part: Part, *reasons: Reason, names: str = "cam1") -> None:
    """The part is a reject with its reason, told in time, and the PLC has read it as such."""
    assert (part.evaluation, part.reason in reasons) == (Evaluation.UNDEFINED, True), part
    assert names in part.text, part
    assert part.cycle_ms <= DEADLINE_MS
    made.wait("the PLC has read the reject", lambda: any(told.part_id == part.part_id for told in made.plc.results))
    told = next(told for told in made.plc.results if told.part_id == part.part_id)
    assert told.evaluation == Evaluation.UNDEFINED
    assert told.part_id not in {passed.part_id for passed in made.plc.passed}
    assert told.round_trip_ms is None or told.round_trip_ms <= GATE_MS


def write_pictures(folder: Path, kinds: Sequence[str], seed: int) -> None:
    """Noise about a dark or a bright gray, no two alike: the emulator plays them in this order, over and over."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for i, kind in enumerate(kinds):
        low, hw = 180 if kind == "bright" else 20, (HW[0] // 2, HW[1]) if kind == "small" else HW
        cv2.imwrite(str(folder / f"{i:03d}.png"), rng.integers(low, low + 40, hw, np.uint8))


def _frames(views: Sequence[str], frame_ids: Sequence[int]) -> dict[str, int]:
    """By camera, -1 = there was none; of a part that a restart has closed nothing is known."""
    return dict(zip(views, frame_ids or [-1] * len(views), strict=True))


def _network() -> bytes:
    """One box, (1, 5, 1): as sure as the picture is bright."""
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["most"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["most", "axes"], ["row"]),
        helper.make_node("Concat", ["box", "row"], ["output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 5, 1])],
        [
            numpy_helper.from_array(np.array([16, 16, 8, 8], np.float32).reshape(1, 4, 1), "box"),
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def _serial(index: int) -> str:
    return f"0815-{index:04d}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
