"""An inspection's life: accepted, views, judged, settled. A pure state machine that opens its only door once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_inspector.datatypes import (
    Criteria,
    Evaluation,
    InspectionResult,
    Judgement,
    MeasuredView,
    Reason,
    ThresholdState,
    Trigger,
)
from edge_inspector.stages.rules import judge


@dataclass(frozen=True)
class Job:
    """What the recipe says about a part, frozen at its trigger: a change never touches an open part."""

    cameras: tuple[str, ...]
    criteria: Criteria
    thresholds: ThresholdState
    model_hash: str
    output_margin_ns: int


@dataclass(frozen=True)
class Inspection:
    """One accepted trigger. Every method returns the next state; once `result` is set nothing changes it.

    `exposed` names the cameras that have delivered a picture, `late` counts views that came after the verdict.
    `doubtful` names those whose picture may still turn out to be another part's: nothing is judged before.
    """

    trigger: Trigger
    job: Job
    exposed: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    views: tuple[MeasuredView, ...] = ()
    result: InspectionResult | None = None
    late: int = 0

    @property
    def settled(self) -> bool:
        return self.result is not None

    @property
    def all_exposed(self) -> bool:
        """Every camera has its picture, or has failed: the part may move."""
        done = self.exposed | {view.camera for view in self.views}
        return done.issuperset(self.job.cameras)

    def on_exposed(self, camera: str) -> Inspection:
        """A camera has delivered the picture of this part."""
        return replace(self, exposed=self.exposed | {camera})

    def on_view(self, view: MeasuredView, now_ns: int) -> Inspection:
        """A view is measured. The last one makes the judgement; one after the verdict is late and changes nothing.

        A second view of one camera makes the part UNDEFINED: one of the two belongs to another part.
        """
        if self.settled:
            return replace(self, late=self.late + 1)
        if view.camera not in self.job.cameras:
            raise ValueError(f"view of camera {view.camera!r}, expected one of {', '.join(self.job.cameras)}")
        if any(known.camera == view.camera for known in self.views):
            return self.undefined(Reason.UNANNOUNCED, f"a second picture of {view.camera}", now_ns)
        return replace(self, views=(*self.views, view))._judged(now_ns)

    def on_certain(self, camera: str, now_ns: int) -> Inspection:
        """The picture of this camera is this part's and no other's."""
        return self if self.settled else replace(self, doubtful=self.doubtful - {camera})._judged(now_ns)

    def _judged(self, now_ns: int) -> Inspection:
        """Judge when the last view is in and nobody doubts whose pictures they are."""
        if len(self.views) < len(self.job.cameras) or self.doubtful:
            return self
        return self._settle(judge(self.job.cameras, self.job.criteria, self.job.thresholds, self.views), now_ns)

    def on_camera_lost(self, camera: str, now_ns: int) -> Inspection:
        """A camera is gone before it delivered: what it would have shown is unknown."""
        if self.settled or camera not in self.job.cameras or camera in self.exposed:
            return self
        return self.undefined(Reason.CAMERA, f"camera {camera} is lost", now_ns)

    def on_deadline(self, now_ns: int) -> Inspection:
        """The time is up: what has not been judged is a reject."""
        missing = sorted((set(self.job.cameras) - {view.camera for view in self.views}) | self.doubtful)
        return self.undefined(Reason.DEADLINE, f"not judged in time: {', '.join(missing)}", now_ns)

    def undefined(self, reason: Reason, text: str, now_ns: int) -> Inspection:
        """Settle without a judgement, unless it is settled already.

        Views that are already in still count: a defect that was seen stays a NOT_OK.
        """
        if self.settled:
            return self
        seen = judge(self.job.cameras, self.job.criteria, self.job.thresholds, self.views)
        if seen.evaluation is Evaluation.NOT_OK:
            return self._settle(seen, now_ns)
        undefined = replace(seen, evaluation=Evaluation.UNDEFINED, reason=reason, reason_text=text, rule="")
        return self._settle(undefined, now_ns)

    def _settle(self, judgement: Judgement, now_ns: int) -> Inspection:
        """The only door by which a result leaves. An OK that the PLC may get too late is refused."""
        if judgement.evaluation is Evaluation.OK and self.trigger.deadline_ns - now_ns < self.job.output_margin_ns:
            text = "judged OK too close to the deadline"
            judgement = replace(judgement, evaluation=Evaluation.UNDEFINED, reason=Reason.DEADLINE, reason_text=text)
        frames = {view.camera: view.frame_id for view in self.views}
        result = InspectionResult(
            trigger=self.trigger,
            evaluation=judgement.evaluation,
            reason=judgement.reason,
            reason_text=judgement.reason_text,
            defects=judgement.defects,
            views=self.job.cameras,
            views_judged=judgement.views_judged,
            thresholds=self.job.thresholds.by_class,
            model_hash=self.job.model_hash,
            settled_ns=now_ns,
            stage_ns=_stage_times(self.views),
            frame_ids=tuple(frames.get(camera, -1) for camera in self.job.cameras),
            margin=judgement.margin,
            rule=judgement.rule,
            peaks=judgement.peaks,
            policy=self.job.thresholds.policy,
        )
        return replace(self, result=result)


def restarted(trigger: Trigger, views: Sequence[str], now_ns: int) -> InspectionResult:
    """The verdict on a part that was open when the process was killed: nobody judged it."""
    return InspectionResult(
        trigger=trigger,
        evaluation=Evaluation.UNDEFINED,
        reason=Reason.RESTART,
        reason_text="the station was restarted while this part was open",
        defects=(),
        views_judged=0,
        thresholds=(),
        model_hash="",
        settled_ns=now_ns,
        stage_ns={},
        views=tuple(views),
    )


def _stage_times(views: Sequence[MeasuredView]) -> dict[str, int]:
    """The slowest view of each stage: views run side by side."""
    times: dict[str, int] = {}
    for view in views:
        for stage, spent in view.stage_ns.items():
            times[stage] = max(times.get(stage, 0), spent)
    return times
