from __future__ import annotations

import numpy as np
import pytest

from edge_inspector import plugins
from edge_inspector.datatypes import Detections, Tensors
from edge_inspector.decoders.yolo_seg import Config, YoloSeg
from edge_inspector.errors import BundleError, InferenceError

DECODER = YoloSeg(Config())
END2END = YoloSeg(Config(rows="end2end"))
PROTOTYPES = np.random.default_rng(0).standard_normal((3, 8, 8)).round(2).astype(np.float32)
WEIGHTS = np.array([[1.0, -0.5, 0.25], [-1, 0.5, 1], [0.2, 0.3, -1]], np.float32)
BOXES = np.array([[3, 5, 20, 17], [0, 0, 32, 32], [11, 9, 24, 31]], np.float32)


def tensors(*columns: list[float], prototypes: np.ndarray = PROTOTYPES) -> Tensors:
    return Tensors({"output0": np.array(columns, np.float32).T[None], "output1": prototypes[None]})


def flat(*rows: list[float]) -> np.ndarray:
    """One prototype, (1, h, w)."""
    return np.array([rows], np.float32)


def test_the_name_yolo_seg_leads_here() -> None:
    assert plugins.load("decoder", "yolo_seg") is YoloSeg
    assert plugins.config_model("decoder", "yolo_seg")(type="yolo_seg") == Config()


def test_a_box_remembers_which_column_it_is_from() -> None:
    found = DECODER.decode(
        tensors([9, 9, 2, 2, 0.1, 0.1, 1, 1, 1], [5, 6, 2, 4, 0.25, 0.75, 1, 1, 1]), 0, 0.25, classes=2
    )
    assert found.xyxy.tolist() == [[4, 4, 6, 8], [4, 4, 6, 8]]
    assert (found.class_id.tolist(), found.confidence.tolist()) == ([0, 1], [0.25, 0.75])
    assert found.candidate is not None
    assert found.candidate.tolist() == [1, 1]


def test_a_score_at_the_floor_is_seen() -> None:
    assert len(DECODER.decode(tensors([5, 5, 2, 2, 0.25, 9, 9, 9]), 0, 0.25, classes=1)) == 1


def test_coefficients_are_no_scores() -> None:
    found = DECODER.decode(tensors([5, 5, 2, 2, 0.1, 9, 9, 9]), 0, 0.2, classes=1)
    assert len(found) == 0


def test_masks_are_those_of_the_exporters_own_code() -> None:
    """Areas, and bounds of the largest part, computed once with ultralytics 8.4.190: process_mask(upsample=True)."""
    output = np.zeros((1, 4 + 1 + 3, 3), np.float32)
    output[0, 5:] = WEIGHTS.T
    kept = Detections(BOXES, np.ones(3, np.float32), np.zeros(3, np.int64), np.array([0, 1, 2]))
    drawn = DECODER.draw(Tensors({"output0": output, "output1": PROTOTYPES[None]}), 0, kept)
    assert drawn.regions is not None
    assert [region.area_px for region in drawn.regions] == [62, 460, 129]
    bounds = [[*r.outline.min(axis=0).tolist(), *r.outline.max(axis=0).tolist()] for r in drawn.regions]
    assert bounds == [[9, 5, 20, 15], [12, 0, 32, 13], [11, 9, 19, 18]]


def test_an_end_to_end_row_has_its_coefficients_after_the_class() -> None:
    rows = np.zeros((1, 4, 6 + 3), np.float32)
    rows[0, 2] = [0, 0, 32, 32, 0.75, 1, *WEIGHTS[1]]
    given = Tensors({"output0": rows, "output1": PROTOTYPES[None]})
    found = END2END.decode(given, 0, 0.2, classes=2)
    assert (found.xyxy.tolist(), found.class_id.tolist()) == ([[0, 0, 32, 32]], [1])
    drawn = END2END.draw(given, 0, found)
    assert drawn.regions is not None
    assert [region.area_px for region in drawn.regions] == [460]


def test_a_mask_is_cut_where_the_middles_of_its_pixels_leave_the_box() -> None:
    given = tensors([8, 8, 7.2, 7.2, 0.9, 1], prototypes=flat([1, 1, 1, 1], *[[1, 1, 1, 1]] * 3))
    drawn = DECODER.draw(given, 0, DECODER.decode(given, 0, 0.5, 1))  # 4.4 to 11.6: pixels 4 to 11
    assert drawn.regions is not None
    assert drawn.regions[0].area_px == 64
    assert drawn.regions[0].outline.min() == 4
    assert drawn.regions[0].outline.max() == 12


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([8, 8, 4, 4], id="nothing of the mask is in the box"),
        pytest.param([8, 8, 0.2, 4], id="no pixel has its middle in the box"),
        pytest.param([40, 8, 4, 4], id="the box lies beyond the input"),
    ],
)
def test_a_box_without_a_mask_is_outlined_by_itself_and_has_no_area(box: list[float]) -> None:
    given = tensors([*box, 0.9, -1], prototypes=np.ones((1, 4, 4), np.float32))
    found = DECODER.decode(given, 0, 0.5, 1)
    drawn = DECODER.draw(given, 0, found)
    assert len(drawn) == 1
    assert drawn.regions is not None
    assert drawn.regions[0].area_px == 0
    x1, y1, x2, y2 = found.xyxy[0].tolist()
    assert drawn.regions[0].outline.tolist() == [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def test_each_tile_has_its_own_prototypes() -> None:
    output = np.tile(np.array([8, 8, 8, 8, 0.9, 1], np.float32)[None, :, None], (2, 1, 1))
    prototypes = np.stack([np.full((1, 4, 4), -1, np.float32), np.full((1, 4, 4), 1, np.float32)])
    given = Tensors({"a": output, "b": prototypes})
    areas = [DECODER.draw(given, tile, DECODER.decode(given, tile, 0.5, 1)).regions for tile in (0, 1)]
    assert [region.area_px for regions in areas for region in regions or ()] == [0, 64]


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(InferenceError, match=r"4\.5.*sigmoid"):
        DECODER.decode(tensors([5, 5, 2, 2, 4.5, 0, 0, 0]), 0, 0.2, 1)
    with pytest.raises(InferenceError, match=r"-3.*sigmoid"):
        DECODER.decode(tensors([5, 5, 2, 2, -3, 0, 0, 0]), 0, 0.2, 1)


def test_rows_that_all_reach_the_floor_may_not_be_all() -> None:
    rows = np.array([[[0, 0, 4, 4, 0.9, 0, 0, 0, 0]]], np.float32)
    with pytest.raises(InferenceError, match="max_det"):
        END2END.decode(Tensors({"a": rows, "b": PROTOTYPES[None]}), 0, 0.2, classes=1)


@pytest.mark.parametrize("class_id", [-1, 2, 0.5])
def test_a_class_that_the_bundle_does_not_have_is_refused(class_id: float) -> None:
    rows = np.array([[[0, 0, 4, 4, 0.9, class_id, 0, 0, 0], [0] * 9]], np.float32)
    with pytest.raises(InferenceError, match=r"expected 0\.\.1"):
        END2END.decode(Tensors({"a": rows, "b": PROTOTYPES[None]}), 0, 0.2, classes=2)


@pytest.mark.parametrize(
    ("decoder", "shapes", "named"),
    [
        (DECODER, {"output0": (1, 37, 8400), "output1": (1, 32, 160, 160)}, None),
        (END2END, {"output0": (1, 300, 38), "output1": (1, 32, 160, 160)}, None),
        (DECODER, {"output0": (1, 38, 8400), "output1": (1, 32, 160, 160)}, r"expected boxes \(n, 37, anchors\)"),
        (DECODER, {"output0": (1, 300, 38), "output1": (1, 32, 160, 160)}, r"rows = 'anchors'"),
        (END2END, {"output0": (1, 37, 8400), "output1": (1, 32, 160, 160)}, r"\(n, rows, 38\)"),
        (DECODER, {"output0": (1, 5, 8400)}, "prototypes"),
        (DECODER, {"a": (1, 37, 8400), "b": (1, 32, 160, 160), "c": (1, 1)}, "prototypes"),
    ],
)
def test_check_tells_what_does_not_fit(decoder: YoloSeg, shapes: dict[str, tuple[int, ...]], named: str | None) -> None:
    if named is None:
        decoder.check(shapes, classes=1)
        return
    with pytest.raises(BundleError, match=named):
        decoder.check(shapes, classes=1)
    with pytest.raises(InferenceError, match=named):
        decoder.decode(Tensors({name: np.zeros(shape, np.float16) for name, shape in shapes.items()}), 0, 0.5, 1)
