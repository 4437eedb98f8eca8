"""An OPC UA server of ours with a station of no cameras behind it, for benchmarks/opcua.py and opcua_rates.py.

PORT RATE: verdicts at a steady rate, one JSON line each. A verdict is made on a thread of its own, as in a station;
what the event loop makes it wait for is in the figures.
PORT 0: an OK for each trigger, after the time that pictures and inference take.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import anyio
import structlog

from edge_inspector.datatypes import Defect, Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import Alive, ExposureDone, RecipeAnswer, RecipeRequest, TriggerAccepted, TriggerRequest
from edge_inspector.outputs.opcua_server.link import Config, OpcUaServerLink
from edge_inspector.plc.handshake import STARTING

BOOT_ID, PLC_BOOT_ID = 7, 9
EXPOSURE_S, INFERENCE_S = 0.010, 0.025
READY = replace(STARTING, ready=True, recipe="r", recipe_no=1, recipe_ready=True, error_text="")


async def main(port: int, rate: float) -> None:
    config = Config(
        type="opcua_server", port=port, acknowledge=rate == 0, heartbeat_timeout_s=60, result_hold_ms=60_000
    )
    with tempfile.TemporaryDirectory() as folder:
        link = OpcUaServerLink("plc", config, Identity("bench", BOOT_ID, "0"), SystemClock(), Path(folder))
        async with link:
            gc.collect()
            gc.freeze()  # as the daemon does
            await link.tell(READY)
            print(json.dumps({"listening": port}), flush=True)
            await (_tell_verdicts(link, rate) if rate else _answer(link))


async def _tell_verdicts(link: OpcUaServerLink, rate: float) -> None:
    judged: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
    arguments = (asyncio.get_running_loop(), judged, rate)
    threading.Thread(target=_judge, args=arguments, name="judge", daemon=True).start()
    while True:
        seq, judged_ns = await judged.get()
        await link.tell(a_result(seq))
        told_ns = time.monotonic_ns()
        await link.tell(Alive())
        print(json.dumps({"seq": seq, "judged": judged_ns, "written": told_ns, "rss_kb": rss_kb()}), flush=True)


async def _answer(link: OpcUaServerLink) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_beat, link)
        while True:
            request = await link.receive()
            if isinstance(request, TriggerRequest):
                tasks.start_soon(_inspect, link, request)
            elif isinstance(request, RecipeRequest):
                await link.tell(RecipeAnswer(request.seq, accepted=True, reason=Reason.NONE))


async def _inspect(link: OpcUaServerLink, request: TriggerRequest) -> None:
    await link.tell(TriggerAccepted(request.trigger_seq))
    await link.tell(replace(READY, ready=False, busy=True, acquiring=True))
    await asyncio.sleep(EXPOSURE_S)
    await link.tell(ExposureDone(request.trigger_seq))
    await link.tell(READY)
    await asyncio.sleep(INFERENCE_S)
    part = a_result(request.trigger_seq)
    trigger = replace(part.trigger, part_id=request.part_id, plc_boot_id=request.plc_boot_id)
    ok = replace(part, trigger=trigger, evaluation=Evaluation.OK, reason=Reason.NONE, reason_text="", defects=())
    await link.tell(ok)


async def _beat(link: OpcUaServerLink) -> None:
    while True:
        await link.tell(Alive())
        await asyncio.sleep(0.1)


def _judge(loop: asyncio.AbstractEventLoop, judged: asyncio.Queue[tuple[int, int]], rate: float) -> None:
    seq, due = 0, time.monotonic()
    while True:
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        seq += 1
        loop.call_soon_threadsafe(judged.put_nowait, (seq, time.monotonic_ns()))


def a_result(seq: int) -> InspectionResult:
    trigger = Trigger(
        seq, f"bench.0a.{seq}", seq, f"part-{seq}", 1, Mode.PRODUCTION, "r", 1, BOOT_ID, PLC_BOOT_ID, 0, 10**9,
        "2026-11-22T00:00:00.000Z", True,
    )  # fmt: skip
    defects = (Defect("open", 0, 0.75, (1.0, 2.0, 3.0, 4.0), "top"),)
    return InspectionResult(
        trigger, Evaluation.NOT_OK, Reason.DEFECT, "open 0.75 in top", defects, ("top",), 1, (0.5,), "ab" * 32,
        (seq % 50 + 1) * 10**6, {"infer": 10**6},
    )  # fmt: skip


def rss_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for figures
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
