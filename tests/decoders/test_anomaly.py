from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_inspector import pipeline, plugins
from edge_inspector.datatypes import Batch, Detections, Letterbox, Roi, Tensors
from edge_inspector.decoders.anomaly import Anomaly, Config, Scale
from edge_inspector.errors import BundleError, InferenceError

MAP_ONLY = Config(score_output="")
SCORE_ONLY = Config(map_output="")


def outputs(score: float | None, heat: np.ndarray | None) -> Tensors:
    named: dict[str, np.ndarray] = {} if score is None else {"pred_score": np.array([[score]], np.float32)}
    return Tensors(named if heat is None else {**named, "anomaly_map": heat[None, None].astype(np.float32)})


def seen(config: Config, score: float | None, heat: np.ndarray | None, floor: float = 0.25) -> Detections:
    return Anomaly(config).decode(outputs(score, heat), 0, floor, 1)


def spots(*at: tuple[int, int, float], hw: tuple[int, int] = (8, 8)) -> np.ndarray:
    heat = np.zeros(hw)
    for y, x, value in at:
        heat[y, x] = value
    return heat


def test_the_name_anomaly_leads_here() -> None:
    assert plugins.load("decoder", "anomaly") is Anomaly
    assert plugins.config_model("decoder", "anomaly")(type="anomaly") == Config()


def test_the_score_is_told_of_the_strongest_region() -> None:
    heat = np.zeros((8, 8))
    heat[2:6, 2:6] = 0.625  # around the middle: it cannot be letterbox border
    heat[0, 7] = 0.5
    found = seen(Config(), 0.75, heat)
    assert found.xyxy.tolist() == [[2, 2, 6, 6], [7, 0, 8, 1]]
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.class_id.tolist() == [0, 0]
    assert found.regions is not None
    assert [region.area_px for region in found.regions] == [16, 1]


def test_no_region_is_surer_than_the_picture() -> None:
    """anomalib calls a picture normal by its score, whatever its map shows."""
    found = seen(Config(), 0.375, spots((1, 1, 0.75), (6, 6, 0.625)))
    assert max(found.confidence) == 0.375


def test_a_region_that_may_be_letterbox_border_does_not_carry_the_score_alone() -> None:
    found = seen(Config(), 0.75, spots((0, 0, 0.875)))
    assert found.xyxy.tolist() == [[0, 0, 1, 1], [0, 0, 8, 8]]
    assert found.confidence.tolist() == [0.75, 0.75]


def test_a_score_without_a_region_is_told_of_the_whole_view_without_an_area() -> None:
    found = seen(Config(map_stride=2), 0.75, spots((1, 1, 0.25)))
    assert found.xyxy.tolist() == [[0, 0, 16, 16]]
    assert found.confidence.tolist() == [0.75]
    assert found.regions is not None
    assert found.regions[0].area_px == 0
    assert found.regions[0].outline.tolist() == [[0, 0], [16, 0], [16, 16], [0, 16]]


def test_without_a_score_the_maps_maximum_is_one() -> None:
    found = seen(MAP_ONLY, None, spots((3, 3, 0.875), (3, 4, 0.75), (4, 3, 0.75), (0, 0, 0.75)))
    assert found.confidence[0] == 0.875
    assert found.xyxy[0].tolist() == [3, 3, 5, 5]


def test_a_region_too_small_to_be_told_still_makes_its_score() -> None:
    found = seen(Config(score_output="", min_area_px=3), None, spots((4, 4, 0.875)))
    assert found.xyxy.tolist() == [[0, 0, 8, 8]]
    assert found.confidence.tolist() == [0.875]


def test_without_a_map_the_score_is_told_of_the_view() -> None:
    batch = Batch(np.zeros((1, 1, 8, 8), np.float32), (Letterbox(0.5, 0, 2),), Roi(10, 4, 16, 8), (Roi(10, 4, 16, 8),))
    reading = pipeline.Reading(Anomaly(SCORE_ONLY), 1, 0.25, 0.5)
    found = pipeline.finish(outputs(0.75, None), batch, reading)
    assert isinstance(found, Detections)
    assert found.xyxy.tolist() == [[10, 4, 26, 12]]
    assert found.confidence.tolist() == [0.75]


def test_nothing_is_told_below_the_floor() -> None:
    assert len(seen(Config(), 0.125, spots((4, 4, 0.875)))) == 0


def test_a_score_without_an_axis_of_its_own_is_read_too() -> None:
    heat = spots((1, 1, 0.75))[None]
    scores = {"pred_score": np.array([0.5, 0.75], np.float32), "anomaly_map": np.concatenate([heat, heat])}
    assert Anomaly(Config()).decode(Tensors(scores), 1, 0.25, 1).confidence[0] == 0.75


@pytest.mark.parametrize(
    ("raw", "told"),
    [(31.25, 0.5), (40.0, 0.7916667), (22.5, 0.2083333), (46.25, 1.0), (60.0, 1.0), (16.25, None)],
)
def test_raw_scores_become_those_that_anomalib_shows(raw: float, told: float | None) -> None:
    """Worked with anomalib 1.2.0's normalize_min_max(raw, threshold=31.25, min_val=20, max_val=50)."""
    config = Config(map_output="", image=Scale(threshold=31.25, min=20, max=50))
    found = seen(config, raw, None, floor=0.1)
    assert found.confidence.tolist() == (pytest.approx([told]) if told is not None else [])


def test_map_and_score_have_scales_of_their_own() -> None:
    config = Config(image=Scale(threshold=10, min=0, max=20), pixel=Scale(threshold=4, min=0, max=8))
    heat = np.zeros((8, 8))
    heat[2:6, 2:6] = 4  # the pixel threshold itself
    heat[0, 0] = 3.9
    found = seen(config, 15, heat)
    assert found.confidence.tolist() == [0.75]
    assert found.xyxy.tolist() == [[2, 2, 6, 6]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["score", "map"])
def test_what_is_no_number_is_refused(bad: float, where: str) -> None:
    with pytest.raises(InferenceError, match=where):
        seen(Config(), bad if where == "score" else 0.5, spots((1, 1, bad if where == "map" else 0.5)))


@given(data=st.data())
def test_a_score_from_the_floor_up_is_never_lost_in_the_border_of_the_letterbox(data: st.DataObject) -> None:
    wide = data.draw(st.booleans())
    short = data.draw(st.integers(1, 16))
    border = (16 - short) // 2
    at = data.draw(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=6))
    heat = spots(*((y, x, data.draw(st.sampled_from([0.5, 0.75, 1.0]))) for y, x in at), hw=(16, 16))
    score = data.draw(st.sampled_from([0.25, 0.5, 1.0]))
    view = Roi(0, 0, *((16, short) if wide else (short, 16)))
    letterbox = Letterbox(1.0, *((0.0, float(border)) if wide else (float(border), 0.0)))
    batch = Batch(np.zeros((1, 1, 16, 16), np.float32), (letterbox,), view, (view,))
    found = pipeline.finish(outputs(score, heat), batch, pipeline.Reading(Anomaly(Config()), 1, 0.25, 0.5))
    assert isinstance(found, Detections)
    assert found.confidence.max() == score


@pytest.mark.parametrize(
    ("options", "shapes", "classes", "named"),
    [
        ({}, {"pred_score": (1, 1), "anomaly_map": (1, 1, 8, 8), "pred_mask": (1, 1, 8, 8)}, 1, None),
        ({}, {"pred_score": (1,), "anomaly_map": (1, 8, 8)}, 1, None),
        ({"map_output": ""}, {"pred_score": (1, 1)}, 1, None),
        ({"score_output": ""}, {"anomaly_map": (1, 1, 8, 8)}, 1, None),
        ({}, {"anomaly_map": (1, 1, 8, 8)}, 1, "score_output = 'pred_score' is not there"),
        ({}, {"pred_score": (1, 1), "map": (1, 1, 8, 8)}, 1, "map_output = 'anomaly_map' is not there"),
        ({}, {"pred_score": (1, 2), "anomaly_map": (1, 1, 8, 8)}, 1, "for a score"),
        ({}, {"pred_score": (), "anomaly_map": (1, 1, 8, 8)}, 1, "for a score"),
        ({}, {"pred_score": (1, 1), "anomaly_map": (1, 2, 8, 8)}, 1, "for a map"),
        ({"score_output": ""}, {"anomaly_map": (1, 1, 0, 8)}, 1, "for a map"),
        ({}, {"pred_score": (1, 1), "anomaly_map": (1, 1, 8, 8)}, 2, "2 classes, expected one"),
    ],
)
def test_check_tells_what_does_not_fit(
    options: dict[str, Any], shapes: dict[str, tuple[int, ...]], classes: int, named: str | None
) -> None:
    decoder = Anomaly(Config(**options))
    if named is None:
        decoder.check(shapes, classes)
        return
    with pytest.raises(BundleError, match=named):
        decoder.check(shapes, classes)
    with pytest.raises(InferenceError, match=named):
        decoder.decode(Tensors({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}), 0, 0.5, classes)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"score_output": "", "map_output": ""}, "both empty"),
        ({"image": {"min": 1, "max": 1}}, "not below"),
        ({"image": {"threshold": float("nan")}}, "finite"),
        ({"map_threshold": 0}, "greater than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Config(**options)
