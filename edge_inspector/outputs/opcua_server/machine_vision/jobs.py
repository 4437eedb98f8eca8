"""Which job a part belongs to, and what the client that started it said."""

from __future__ import annotations

from collections import OrderedDict

from edge_inspector.datatypes import InspectionResult
from edge_inspector.outputs.opcua_server.machine_vision.results import KEPT, Job


class Jobs:
    """A single job is one trigger: `<boot id>.<PLC boot id>.<trigger seq>`; a run is many: `<boot id>.run.<n>`."""

    def __init__(self, boot_id: int) -> None:
        self._boot_id = boot_id
        self._open: OrderedDict[str, Job] = OrderedDict()
        self._runs = 0
        self._next_run: Job | None = None
        self._run = Job("")
        self.latest = Job("")
        """The one that JobStarted told last."""

    def announce(self, plc_boot_id: int, trigger_seq: int, meas_id: str, product_id: str) -> Job:
        """A client is about to start this part."""
        job = Job(self._single(plc_boot_id, trigger_seq), meas_id, product_id)
        self._remember(job)
        return job

    def forget(self, job: Job) -> None:
        """It was not started."""
        self._open.pop(job.job_id, None)

    def started(self, plc_boot_id: int, trigger_seq: int) -> Job:
        """The station has accepted this part."""
        job_id = self._single(plc_boot_id, trigger_seq)
        self.latest = self._open.get(job_id, Job(job_id))
        self._remember(self.latest)
        return self.latest

    def announce_run(self, meas_id: str, product_id: str) -> Job:
        """A client is about to start a run."""
        self._runs += 1
        self._next_run = Job(f"{self._boot_id:08x}.run.{self._runs}", meas_id, product_id)
        return self._next_run

    def forget_run(self) -> None:
        """It was not started."""
        self._next_run = None

    def started_run(self) -> Job:
        """The station runs, by a client's order or by itself."""
        self.latest = self._run = self._next_run or self.announce_run("", "")
        self._next_run = None
        return self._run

    def exposed(self, plc_boot_id: int, trigger_seq: int, by_itself: bool) -> Job:
        """The job of a part that has been exposed; one that nobody ordered belongs to the run, if there is one."""
        job_id = self._single(plc_boot_id, trigger_seq)
        return self._open.get(job_id, self._run if by_itself else Job(job_id))

    def settled(self, result: InspectionResult, by_itself: bool) -> Job:
        """The job from which a result comes, likewise; a single one is over then."""
        trigger = result.trigger
        job = self.exposed(trigger.plc_boot_id, trigger.trigger_seq, by_itself)
        self.forget(job)
        return job

    def _remember(self, job: Job) -> None:
        self._open[job.job_id] = job
        if len(self._open) > KEPT:
            self._open.popitem(last=False)

    def _single(self, plc_boot_id: int, trigger_seq: int) -> str:
        return f"{self._boot_id:08x}.{plc_boot_id:08x}.{trigger_seq}"
