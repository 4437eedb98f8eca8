"""What the model's thread has told becomes a measured view."""

from __future__ import annotations

from edge_inspector.datatypes import Detections, MeasuredView, PreparePlan, Roi
from edge_inspector.station.events import Inferred, ViewFailed

NOWHERE = Roi(0, 0, 0, 0)


def measured(event: Inferred, plan: PreparePlan | None, accepted_ns: int, now_ns: int) -> MeasuredView:
    """The view of a part that was accepted at `accepted_ns`, with the time that each stage took.

    `plan` None: the part has its verdict.
    """
    job = event.job
    known = event.wait_ns + event.infer_ns + event.finish_ns
    stages = {
        "acquire": job.queued_ns - job.prepare_ns - accepted_ns,
        "prepare": job.prepare_ns,
        "queue": event.wait_ns,
        "infer": event.infer_ns,
        "finish": event.finish_ns,
        "hop": now_ns - job.queued_ns - known,
    }
    plane = None if plan is None or plan.calibration is None else plan.calibration.plane
    bounds = job.batch.bounds
    return MeasuredView(job.picture.camera, event.findings, bounds, None, "", job.frame_id, stages, plane)


def failed(event: ViewFailed) -> MeasuredView:
    """A view of which nothing is known but why."""
    return MeasuredView(event.picture.camera, Detections.none(), NOWHERE, event.reason, event.text)
