"""An inspection settles exactly once, whatever happens in whatever order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_inspector.datatypes import (
    SEVERITY,
    Criteria,
    Detections,
    Evaluation,
    MeasuredView,
    Mode,
    Reason,
    Roi,
    ThresholdState,
    Trigger,
)
from edge_inspector.inspection import Inspection, Job, restarted

CLASSES = ("scratch", "dent")
DEADLINE_NS = 1_000_000_000
MARGIN_NS = 5_000_000


def a_trigger(seq: int = 1) -> Trigger:
    return Trigger(
        seq=seq,
        result_id=f"s.00000001.{seq}",
        trigger_seq=seq,
        part_id=f"part-{seq}",
        attempt=1,
        mode=Mode.PRODUCTION,
        recipe="r",
        recipe_no=1,
        boot_id=7,
        plc_boot_id=9,
        accepted_ns=0,
        deadline_ns=DEADLINE_NS,
        wall_utc="2026-11-22T00:00:00.000Z",
        clock_synced=True,
    )


def an_inspection(*cameras: str) -> Inspection:
    return Inspection(a_trigger(), Job(cameras, Criteria(CLASSES), ThresholdState((0.5, 0.3)), "hash", MARGIN_NS))


def a_view(camera: str, *scores: tuple[int, float], failure: Reason | None = None) -> MeasuredView:
    n = len(scores)
    found = Detections(
        np.tile(np.array([[10, 20, 30, 50]], np.float32), (n, 1)),
        np.array([score for _, score in scores], np.float32),
        np.array([class_id for class_id, _ in scores], np.int64),
    )
    return MeasuredView(camera, found, Roi(0, 0, 64, 64), failure, "" if failure is None else "why", frame_id=4)


@pytest.mark.parametrize(
    ("views", "evaluation", "reason"),
    [
        pytest.param([a_view("a"), a_view("b")], Evaluation.OK, Reason.NONE, id="nothing found in any view is OK"),
        pytest.param([a_view("a", (0, 0.49)), a_view("b")], Evaluation.OK, Reason.NONE, id="below the threshold is OK"),
        pytest.param(
            [a_view("a", (0, 0.5)), a_view("b")], Evaluation.NOT_OK, Reason.DEFECT, id="at the threshold is a defect"
        ),
        pytest.param(
            [a_view("a", (1, 0.31)), a_view("b")],
            Evaluation.NOT_OK,
            Reason.DEFECT,
            id="each class has its own threshold",
        ),
        pytest.param(
            [a_view("a"), a_view("b", failure=Reason.INFERENCE)],
            Evaluation.UNDEFINED,
            Reason.INFERENCE,
            id="an unjudged view is never OK",
        ),
        pytest.param(
            [a_view("a", (0, 0.9)), a_view("b", failure=Reason.BAD_FRAME)],
            Evaluation.NOT_OK,
            Reason.DEFECT,
            id="a defect outweighs an unjudged view",
        ),
    ],
)
def test_the_worst_view_decides(views: list[MeasuredView], evaluation: Evaluation, reason: Reason) -> None:
    inspection = an_inspection("a", "b")
    for view in views:
        inspection = inspection.on_view(view, 1000)
    assert inspection.result is not None
    assert (inspection.result.evaluation, inspection.result.reason) == (evaluation, reason)


def test_the_result_lists_defects_strongest_first_with_their_boxes() -> None:
    result = an_inspection("a").on_view(a_view("a", (1, 0.4), (0, 0.9)), 2_000_000).result
    assert result is not None
    assert [(d.class_name, d.score, d.box) for d in result.defects] == [
        ("scratch", 0.9, (10.0, 20.0, 20.0, 30.0)),
        ("dent", 0.4, (10.0, 20.0, 20.0, 30.0)),
    ]
    assert result.reason_no == 1000
    assert result.frame_ids == (4,)
    assert result.cycle_ms == 2.0


def test_nothing_is_settled_before_the_last_view() -> None:
    assert not an_inspection("a", "b").on_view(a_view("a", (0, 0.9)), 1).settled


def test_the_deadline_settles_undefined_and_a_later_view_is_only_counted() -> None:
    settled = an_inspection("a").on_deadline(DEADLINE_NS - MARGIN_NS)
    assert settled.result is not None
    assert (settled.result.evaluation, settled.result.reason) == (Evaluation.UNDEFINED, Reason.DEADLINE)
    late = settled.on_view(a_view("a"), DEADLINE_NS)
    assert late.result is settled.result
    assert late.late == 1


@pytest.mark.parametrize(
    ("left_ns", "evaluation"),
    [
        pytest.param(MARGIN_NS, Evaluation.OK, id="just enough time to tell"),
        pytest.param(MARGIN_NS - 1, Evaluation.UNDEFINED, id="one nanosecond too little"),
        pytest.param(-1, Evaluation.UNDEFINED, id="after the deadline"),
    ],
)
def test_an_ok_needs_the_output_margin(left_ns: int, evaluation: Evaluation) -> None:
    result = an_inspection("a").on_view(a_view("a"), DEADLINE_NS - left_ns).result
    assert result is not None
    assert result.evaluation is evaluation


def test_a_not_ok_needs_no_margin() -> None:
    result = an_inspection("a").on_view(a_view("a", (0, 0.9)), DEADLINE_NS).result
    assert result is not None
    assert result.evaluation is Evaluation.NOT_OK


def test_a_second_picture_of_one_camera_makes_the_part_undefined() -> None:
    result = an_inspection("a", "b").on_view(a_view("a"), 1).on_view(a_view("a"), 2).result
    assert result is not None
    assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.UNANNOUNCED)


def test_a_camera_lost_before_its_picture_makes_the_part_undefined_and_after_it_does_not() -> None:
    lost = an_inspection("a", "b").on_camera_lost("a", 1)
    assert lost.result is not None
    assert lost.result.reason is Reason.CAMERA
    assert not an_inspection("a", "b").on_exposed("a").on_camera_lost("a", 1).settled


def test_a_view_of_a_camera_that_was_not_asked_is_a_bug() -> None:
    with pytest.raises(ValueError, match="'c', expected one of a, b"):
        an_inspection("a", "b").on_view(a_view("c"), 1)


def test_a_part_open_at_a_kill_is_undefined_with_reason_restart() -> None:
    result = restarted(a_trigger(), ("a", "b"), 5)
    assert (result.evaluation, result.reason, result.views_expected) == (Evaluation.UNDEFINED, Reason.RESTART, 2)


CAMERAS = ("a", "b", "c")
STEPS = st.one_of(
    st.tuples(st.just("view"), st.sampled_from(CAMERAS), st.sampled_from(["clean", "defect", "failed"])),
    st.tuples(st.just("exposed"), st.sampled_from(CAMERAS), st.none()),
    st.tuples(st.just("lost"), st.sampled_from(CAMERAS), st.none()),
    st.tuples(st.just("deadline"), st.none(), st.none()),
    st.tuples(st.just("abort"), st.none(), st.none()),
)


@given(st.lists(STEPS, max_size=12), st.integers(0, 2 * DEADLINE_NS))
def test_any_interleaving_gives_one_result_that_is_ok_only_when_every_view_was_clean_and_in_time(
    steps: list[tuple[str, str | None, str | None]], spread_ns: int
) -> None:
    inspection = an_inspection(*CAMERAS)
    results = []
    clean: set[str] = set()
    seen: list[str] = []
    doubt = False
    for number, (step, camera, kind) in enumerate(steps):
        now = spread_ns * number // 12
        was_settled = inspection.settled
        if step == "view":
            assert camera is not None
            scores = ((0, 0.9),) if kind == "defect" else ()
            view = a_view(camera, *scores, failure=Reason.INFERENCE if kind == "failed" else None)
            if not was_settled:
                doubt |= kind != "clean" or camera in seen
                seen.append(camera)
                clean |= {camera} if kind == "clean" else set()
            inspection = inspection.on_view(view, now)
        elif step == "exposed":
            assert camera is not None
            inspection = inspection.on_exposed(camera)
        elif step == "lost":
            assert camera is not None
            inspection = inspection.on_camera_lost(camera, now)
        elif step == "deadline":
            inspection = inspection.on_deadline(now)
        else:
            inspection = inspection.undefined(Reason.ABORTED, "aborted", now)
        if inspection.settled and not was_settled:
            results.append(inspection.result)
        assert inspection.result is (results[0] if results else None)
    inspection = inspection.on_deadline(2 * DEADLINE_NS)  # the timer always comes in the end
    assert inspection.result is not None
    assert len(results) <= 1
    result = inspection.result
    if result.evaluation is Evaluation.OK:
        assert clean == set(CAMERAS)
        assert not doubt
        assert result.settled_ns <= DEADLINE_NS - MARGIN_NS
    assert len(result.frame_ids) == len(CAMERAS)


@given(st.lists(st.tuples(st.sampled_from(CAMERAS), st.floats(0.01, 1.0), st.integers(0, 1)), max_size=6), st.data())
def test_one_more_defect_never_helps(found: list[tuple[str, float, int]], data: st.DataObject) -> None:
    def verdict(detections: list[tuple[str, float, int]]) -> Evaluation:
        inspection = an_inspection(*CAMERAS)
        for camera in CAMERAS:
            inspection = inspection.on_view(a_view(camera, *((c, s) for k, s, c in detections if k == camera)), 1)
        assert inspection.result is not None
        return inspection.result.evaluation

    more = data.draw(st.tuples(st.sampled_from(CAMERAS), st.floats(0.01, 1.0), st.integers(0, 1)))
    assert SEVERITY.index(verdict([*found, more])) >= SEVERITY.index(verdict(found))


def test_an_inspection_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        an_inspection("a").result = None  # type: ignore[misc]
