"""Every thread of the station: what each one runs, and the order in which they are started and ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import anyio
import structlog

from edge_inspector import pipeline
from edge_inspector.interfaces import Progress
from edge_inspector.station.camera_thread import CameraThread
from edge_inspector.station.cameras import Cameras
from edge_inspector.station.engine_builds import EngineBuilds
from edge_inspector.station.events import Died, ImagesTrouble, LedgerHealth, Noticed, OutputTrouble, Setting
from edge_inspector.station.gpu_thread import GpuThread
from edge_inspector.station.line import Line
from edge_inspector.station.output_lines import OutputLines
from edge_inspector.station.power_thread import PowerThread
from edge_inspector.station.publisher_thread import PublisherThread
from edge_inspector.station.real_time import RealTime
from edge_inspector.store.notice import Notice

log = structlog.get_logger()
JOIN_S = 2.0
"""How long a thread may need to end; one that needs longer hangs in a driver and is left behind."""


class Threads:
    """On the event loop. Each thread is a daemon, so that a hung driver cannot keep the process alive."""

    def __init__(self, line: Line, progress: Progress) -> None:
        """Gives `line` what it orders things of; starts nothing."""
        parts = line.parts
        self._line = line
        self._prepare = pipeline.prepare_on_device if parts.backend.prepares_on_device else pipeline.prepare
        self.gpu = GpuThread(
            parts.backend,
            parts.engines,
            parts.recipes,
            parts.clock,
            progress,
            parts.limits.max_open * len(parts.cameras),
            line.post,
            parts.active_recipe,
            parts.limits.model_memory_bytes,
        )
        self.power = _power_thread(line)
        self.real_time = RealTime(
            parts.real_time, lambda text: line.post(Noticed("warning", "real_time_refused", text))
        )
        self.builds = EngineBuilds(
            parts.build_command, parts.backend.proof == "each_start", parts.engines.report, line.post
        )
        line.models.order_load, line.models.order_build = self.gpu.order_load, self.builds.put
        line.models.spare = self.gpu.order_spare
        line.reload.order_renewal, line.reload.forget_builds = self.gpu.order_renewal, self.builds.forget
        line.manual.infer, line.manual.prepare = self.gpu.put, self._prepare
        line.cameras = Cameras(line.condition.asked, self._camera, self._start_camera, parts.clock, line.post)
        line.outputs = OutputLines(
            parts.output_cameras,
            line.cameras.opened,
            parts.clock,
            lambda camera, text: line.post(OutputTrouble(camera, text)),
        )
        self.publishers = [
            PublisherThread(publisher, parts.ledger, line.post, parts.metrics.flat) for publisher in parts.publishers
        ]
        self._booking: list[threading.Thread] = []
        self._imaging: list[threading.Thread] = []
        self._inspecting: list[threading.Thread] = []
        self._looking: list[threading.Thread] = []
        self._outputs: list[threading.Thread] = []
        self._publishing: list[threading.Thread] = []

    def start(self) -> None:
        """The books first, then what fills them, then what empties them."""
        line, ledger, images = self._line, self._line.parts.ledger, self._line.parts.images
        ledger.on_health, ledger.on_notice = self._ledger_health, self._ledger_notice
        self._booking = [self._thread("ledger", ledger.run), self._thread("ledger-check", ledger.check)]
        if images is not None:
            work = partial(
                images.run, line.booking.image, line.booking.images_removed, self._images_trouble, self._images_warning
            )
            self._imaging = [self._thread("images", work)]
        self._inspecting += [
            self._thread("gpu", self._urgent(self.gpu.run)),
            self._thread("engine-builds", self.builds.run),
        ]
        if self.power is not None:
            self._inspecting.append(self._thread("power", self.power.run))
        self._looking = [self._thread("live-view", line.live.run), self._thread("manual", line.manual.run)]
        self._looking.append(self._thread("camera-health", line.camera_health.run))
        line.cameras.start()
        self._outputs = [self._thread(f"outputs-{name}", run) for name, run in line.outputs.threads.items()]
        self._publishing = [self._thread(f"publish-{p.publisher.destination}", p.run) for p in self.publishers]

    async def stop(self) -> None:
        """As `start`, from the cameras on: what was decided is in the outbox before it is drained."""
        line, images = self._line, self._line.parts.images
        line.outputs.stop()
        _join(self._outputs)
        line.cameras.stop()
        self.gpu.stop()
        self.builds.stop()
        if self.power is not None:
            self.power.stop()
        _join(self._inspecting)
        line.live.stop()
        line.manual.stop()
        line.camera_health.stop()
        _join(self._looking)
        if images is not None:
            images.stop()
        _join(self._imaging)
        await _until(lambda: line.parts.ledger.waiting == 0)
        for publisher in self.publishers:
            publisher.stop()
        _join(self._publishing)
        line.parts.ledger.close()
        _join(self._booking)

    def _camera(self, name: str, setting: Setting, numbers: Iterator[int]) -> CameraThread:
        """A new thread for a camera; not started."""
        line, parts = self._line, self._line.parts
        return CameraThread(
            name=name,
            plan=parts.cameras[name],
            plans=[recipe.plans[name] for recipe in parts.recipes.values() if name in recipe.plans],
            grab_timeout_s=parts.limits.grab_timeout_s,
            setting=setting,
            clock=parts.clock,
            post=line.post,
            infer=self.gpu.put,
            prepare=self._prepare,
            by_itself=line.by_itself,
            offer=line.pictures.offer,
            show=line.live.offer,
            numbers=numbers,
        )

    def _start_camera(self, camera: CameraThread) -> None:
        self._inspecting.append(self._thread(f"camera-{camera.name}", self._urgent(camera.run)))

    def _images_trouble(self, text: str) -> None:
        self._line.post(ImagesTrouble(text))

    def _images_warning(self, code: str, text: str) -> None:
        self._line.post(Noticed("warning", code, text))

    def _ledger_health(self, healthy: bool, text: str) -> None:
        self._line.post(LedgerHealth(healthy, text))

    def _ledger_notice(self, notice: Notice) -> None:
        self._line.post(Noticed(notice.severity, notice.code, notice.text))

    def _urgent(self, work: Callable[[], None]) -> Callable[[], None]:
        """A verdict waits for it."""

        def at_once() -> None:
            self.real_time.prefer(below=1)
            work()

        return at_once

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Started; its death is the station's."""
        post = self._line.post

        def guarded() -> None:
            try:
                work()
            except BaseException as exc:  # noqa: BLE001 - whatever it is, the line loop raises it again
                post(Died(name, exc))

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread


def _power_thread(line: Line) -> PowerThread | None:
    plan = line.parts.power
    if plan is None:
        return None
    thread = PowerThread(plan.open, plan.speeds, line.post, lock_clocks=plan.settings.lock_clocks)
    line.power.order = thread.order
    return thread


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait for all of them together: threads whose driver hangs must not hold up the end one by one."""
    end = time.monotonic() + JOIN_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            log.error("thread_does_not_end", thread=thread.name)


async def _until(done: Callable[[], bool]) -> None:
    """Wait for a short while, also when the task group is being cancelled."""
    with anyio.CancelScope(shield=True), anyio.move_on_after(JOIN_S):
        while not done():  # noqa: ASYNC110 - the ledger's thread sets no event of the loop
            await anyio.sleep(0.01)
