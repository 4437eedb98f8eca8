from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import Detections, InputSpec, PreparePlan, Region, Roi, Tiling
from edge_inspector.stages.nms import LIMIT_PER_CLASS
from edge_inspector.stages.prepare import prepare
from edge_inspector.stages.tiles import merged, tile_count, tile_windows

cv2.setNumThreads(1)

Row = tuple[float, float, float, float, float, int]
WIDE = Roi(0, 0, 180, 100)
PAIR = tile_windows(WIDE, Tiling(100, 100, 20))  # x 0..100 and 80..180: they share 80..100
ROW = tile_windows(Roi(0, 0, 260, 100), Tiling(100, 100, 20))  # 0..100, 80..180, 160..260
SQUARE = tile_windows(Roi(0, 0, 180, 180), Tiling(100, 100, 20))


def detections(rows: Sequence[Row]) -> Detections:
    """Rows of x1, y1, x2, y2, confidence, class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def rows_of(found: Detections) -> list[tuple[float, ...]]:
    numbers = np.column_stack([found.xyxy, found.confidence, found.class_id]).round(4)
    return [tuple(row) for row in numbers.tolist()]


@pytest.mark.parametrize(
    ("bounds", "tiling", "windows"),
    [
        pytest.param(Roi(5, 7, 90, 40), Tiling(100, 100, 20), [Roi(5, 7, 90, 40)], id="smaller than a tile"),
        pytest.param(Roi(5, 7, 100, 100), Tiling(100, 100, 20), [Roi(5, 7, 100, 100)], id="as large as a tile"),
        pytest.param(
            Roi(10, 0, 101, 50),
            Tiling(100, 100, 20),
            [Roi(10, 0, 100, 50), Roi(11, 0, 100, 50)],
            id="a pixel wider takes two",
        ),
        pytest.param(
            Roi(0, 0, 180, 180),
            Tiling(100, 100, 20),
            [Roi(0, 0, 100, 100), Roi(80, 0, 100, 100), Roi(0, 80, 100, 100), Roi(80, 80, 100, 100)],
            id="row by row",
        ),
        pytest.param(
            Roi(0, 0, 200, 10),
            Tiling(100, 10, 20),
            [Roi(0, 0, 100, 10), Roi(50, 0, 100, 10), Roi(100, 0, 100, 10)],
            id="what is too much is shared evenly",
        ),
        pytest.param(
            Roi(0, 3, 10, 21), Tiling(10, 10, 0), [Roi(0, 3, 10, 10), Roi(0, 9, 10, 10), Roi(0, 14, 10, 10)], id="none"
        ),
    ],
)
def test_tiles_of_bounds(bounds: Roi, tiling: Tiling, windows: list[Roi]) -> None:
    assert list(tile_windows(bounds, tiling)) == windows
    assert tile_count(bounds, tiling) == len(windows)


@st.composite
def tilings(draw, tile: st.SearchStrategy[int]) -> Tiling:
    width, height = draw(tile), draw(tile)
    return Tiling(width, height, draw(st.integers(0, min(width, height) - 1)))


@settings(deadline=None)
@given(
    data=st.data(),
    bounds=st.builds(Roi, *(st.integers(0, 99),) * 2, *(st.integers(1, 400),) * 2),
    tiling=tilings(st.integers(30, 200)),
)
def test_tiles_cover_all_and_what_is_no_larger_than_the_overlap_is_whole_in_one(data, bounds, tiling) -> None:
    assume(tile_count(bounds, tiling) <= 400)
    windows = tile_windows(bounds, tiling)
    assert len(windows) == tile_count(bounds, tiling)
    covered = np.zeros((bounds.height, bounds.width), bool)
    for w in windows:
        assert (w.width, w.height) == (min(tiling.width_px, bounds.width), min(tiling.height_px, bounds.height))
        assert bounds.x <= w.x <= w.x + w.width <= bounds.x + bounds.width
        assert bounds.y <= w.y <= w.y + w.height <= bounds.y + bounds.height
        covered[w.y - bounds.y :, w.x - bounds.x :][: w.height, : w.width] = True
    assert covered.all()
    width, height = (min(tiling.overlap_px, side) for side in (bounds.width, bounds.height))
    x = data.draw(st.floats(bounds.x, bounds.x + bounds.width - width))
    y = data.draw(st.floats(bounds.y, bounds.y + bounds.height - height))
    assert any(w.x <= x and x + width <= w.x + w.width and w.y <= y and y + height <= w.y + w.height for w in windows)


@pytest.mark.parametrize(
    ("windows", "tiles", "once"),
    [
        pytest.param(PAIR, [[], []], [], id="nothing"),
        pytest.param(PAIR, [[(10, 10, 30, 30, 0.5, 0)], []], [(10, 10, 30, 30, 0.5, 0)], id="far from the seam"),
        pytest.param(
            PAIR,
            [[(84, 10, 96, 30, 0.5, 0)], [(84, 10, 96, 31, 0.75, 0)]],
            [(84, 10, 96, 31, 0.75, 0)],
            id="whole in both: the more confident stays",
        ),
        pytest.param(
            PAIR,
            [[(84, 10, 96, 30, 0.5, 0)], [(84, 10, 96, 30, 0.75, 1)]],
            [(84, 10, 96, 30, 0.75, 1), (84, 10, 96, 30, 0.5, 0)],
            id="classes do not mix",
        ),
        pytest.param(
            PAIR,
            [[(90, 10, 100, 20, 0.5, 0)], [(90, 10, 120, 20, 0.75, 0)]],
            [(90, 10, 120, 20, 0.75, 0)],
            id="a part goes where another tile shows the whole",
        ),
        pytest.param(
            PAIR,
            [[(90, 10, 100, 20, 0.75, 0)], [(90, 10, 120, 20, 0.5, 0)]],
            [(90, 10, 120, 20, 0.75, 0)],
            id="the whole takes over a part's confidence",
        ),
        pytest.param(
            PAIR,
            [[(90, 10, 100, 20, 0.75, 0)], [(90, 10, 160, 80, 0.25, 0)]],
            [(90, 10, 100, 20, 0.75, 0), (90, 10, 160, 80, 0.25, 0)],
            id="what is much less sure does not take over",
        ),
        pytest.param(
            PAIR,
            [[(40, 10, 100, 20, 0.5, 0)], [(80, 11, 150, 21, 0.75, 0)]],
            [(40, 10, 150, 21, 0.75, 0)],
            id="longer than what is shared: joined",
        ),
        pytest.param(
            PAIR,
            [[(40, 10, 99, 20, 0.5, 0)], [(81, 11, 150, 21, 0.75, 0)]],
            [(40, 10, 150, 21, 0.75, 0)],
            id="joined though it seems to end a pixel before the seam",
        ),
        pytest.param(
            PAIR,
            [[(40, 10, 95, 20, 0.5, 0)], [(85, 10, 150, 20, 0.75, 0)]],
            [(85, 10, 150, 20, 0.75, 0), (40, 10, 95, 20, 0.5, 0)],
            id="two that end before the seams stay two",
        ),
        pytest.param(
            PAIR,
            [[(40, 10, 100, 20, 0.5, 0)], [(80, 20, 150, 30, 0.75, 0)]],
            [(80, 20, 150, 30, 0.75, 0), (40, 10, 100, 20, 0.5, 0)],
            id="one below the other: two",
        ),
        pytest.param(
            PAIR,
            [[(40, 10, 100, 20, 0.3, 0)], [(80, 10, 150, 20, 0.75, 0)]],
            [(80, 10, 150, 20, 0.75, 0), (40, 10, 100, 20, 0.3, 0)],
            id="a doubtful one is no part of a sure one",
        ),
        pytest.param(
            PAIR,
            [[(20, 10, 40, 20, 0.5, 0), (30, 10, 50, 20, 0.4, 0)], []],
            [(20, 10, 40, 20, 0.5, 0), (30, 10, 50, 20, 0.4, 0)],
            id="neighbours in one tile stay, as NMS left them",
        ),
        pytest.param(
            PAIR,
            [[(96, 10, 100, 14, 0.75, 0), (88, 8, 99, 40, 0.5, 0)], []],
            [(96, 10, 100, 14, 0.75, 0), (88, 8, 99, 40, 0.5, 0)],
            id="a part in a box of its own tile is another thing",
        ),
        pytest.param(
            ROW,
            [[(10, 40, 100, 50, 0.5, 0)], [(80, 42, 180, 52, 0.9, 0)], [(160, 44, 200, 54, 0.6, 0)]],
            [(10, 40, 200, 54, 0.9, 0)],
            id="a scratch over three tiles",
        ),
        pytest.param(
            SQUARE,
            [
                [(40, 40, 100, 100, 0.5, 0)],
                [(80, 80, 100, 100, 0.5, 0)],
                [(80, 80, 100, 100, 0.5, 0)],
                [(80, 80, 150, 150, 0.9, 0)],
            ],
            [(40, 40, 150, 150, 0.9, 0)],
            id="slantwise over a corner of four tiles",
        ),
        pytest.param(
            SQUARE,
            [[(85, 85, 95, 95, c, 0)] for c in (0.5, 0.6, 0.9, 0.7)],
            [(85, 85, 95, 95, 0.9, 0)],
            id="whole in four tiles",
        ),
        pytest.param(
            SQUARE,
            [
                [(70, 70, 100, 100, 0.5, 0)],
                [(80, 70, 120, 100, 0.5, 0)],
                [(70, 80, 100, 120, 0.5, 0)],
                [(80, 80, 120, 120, 0.5, 0)],
            ],
            [(70, 70, 120, 120, 0.5, 0)],
            id="a blob that is whole in none of four",
        ),
        pytest.param(
            PAIR,
            [[(0, 0, 60, 9, 0.5, 0)], [(120, 0, 180, 9, 0.5, 0)]],
            [(0, 0, 60, 9, 0.5, 0), (120, 0, 180, 9, 0.5, 0)],
            id="the edge of the bounds is no seam",
        ),
    ],
)
def test_each_thing_once(windows: Sequence[Roi], tiles: list[list[Row]], once: list[Row]) -> None:
    bounds = Roi(0, 0, max(w.x + w.width for w in windows), max(w.y + w.height for w in windows))
    found = merged([detections(rows) for rows in tiles], windows, bounds, 0.5)
    assert rows_of(found) == [pytest.approx(row) for row in once]
    assert found.candidate is None
    assert found.regions is None


def test_what_only_stands_for_its_tile_is_not_joined_with_what_another_tile_shows() -> None:
    box = np.array([[10, 10], [15, 10], [15, 14], [10, 14]], np.float32)
    stain = replace(detections([(10, 10, 15, 14, 0.9, 0)]), regions=(Region(box, 20.0),))
    tiles = [replace(detections([(*edges, score, 0)]), regions=(Region(box, 0.0),))
             for edges, score in (((0, 0, 100, 100), 0.9), ((80, 0, 180, 100), 0.6))]  # fmt: skip
    both = replace(detections([*rows_of(stain), *rows_of(tiles[0])]), regions=(*stain.regions, *tiles[0].regions))
    assert rows_of(merged([both, tiles[1]], PAIR, WIDE, 0.5)) == [*rows_of(both), *rows_of(tiles[1])]


def test_input_is_left_as_it_was() -> None:
    tiles = [detections([(40, 10, 100, 20, 0.5, 0)]), detections([(80, 10, 150, 20, 0.75, 0)])]
    before = [rows_of(tile) for tile in tiles]
    merged(tiles, PAIR, WIDE, 0.5)
    assert [rows_of(tile) for tile in tiles] == before


@st.composite
def seen_in_tiles(draw) -> tuple[tuple[Roi, ...], Roi, list[Detections]]:
    """Any boxes in any tiles, many of them at seams: nothing that a model could not say."""
    bounds = Roi(draw(st.integers(0, 9)), 0, draw(st.integers(20, 120)), draw(st.integers(20, 120)))
    windows = tile_windows(bounds, draw(tilings(st.integers(20, 60))))
    assume(len(windows) <= 25)
    tiles = []
    for w in windows:
        rows = []
        for _ in range(draw(st.integers(0, 4))):
            x1, y1 = draw(st.integers(0, w.width - 1)), draw(st.integers(0, w.height - 1))
            x2 = draw(st.one_of(st.just(w.width), st.integers(x1 + 1, w.width)))
            y2 = draw(st.one_of(st.just(w.height), st.integers(y1 + 1, w.height)))
            x1, y1 = draw(st.sampled_from([0, x1])), draw(st.sampled_from([0, y1]))
            rows.append(
                (w.x + x1, w.y + y1, w.x + x2, w.y + y2, draw(st.integers(1, 20)) / 20, draw(st.integers(0, 2)))
            )
        tiles.append(detections(rows))
    return windows, bounds, tiles


@settings(deadline=None, max_examples=150)
@given(seen=seen_in_tiles(), threshold=st.integers(1, 20), iou=st.sampled_from([0.15, 0.5, 0.8]))
def test_no_merging_changes_whether_a_class_is_seen_at_a_threshold(seen, threshold: int, iou: float) -> None:
    windows, bounds, tiles = seen
    found = merged(tiles, windows, bounds, iou)
    confidence, class_id = (np.concatenate([getattr(t, name) for t in tiles]) for name in ("confidence", "class_id"))
    for c in range(3):
        limit = np.float32(threshold / 20)
        assert (found.confidence[found.class_id == c] >= limit).any() == (confidence[class_id == c] >= limit).any()
        assert found.confidence[found.class_id == c].max(initial=0) == confidence[class_id == c].max(initial=0)
    assert (np.diff(found.confidence) <= 0).all()


@settings(deadline=None, max_examples=150)
@given(seen=seen_in_tiles(), iou=st.sampled_from([0.15, 0.5, 0.8]))
def test_where_a_tile_saw_something_there_still_is_something_as_sure(seen, iou: float) -> None:
    """A box may go only for one of its class, as sure, that it lies in by half or overlaps by more than `iou`."""
    windows, bounds, tiles = seen
    found = merged(tiles, windows, bounds, iou)
    for tile in tiles:
        for box, confidence, class_id in zip(tile.xyxy, tile.confidence, tile.class_id, strict=True):
            shared = (
                (np.minimum(found.xyxy[:, 2:], box[2:]) - np.maximum(found.xyxy[:, :2], box[:2])).clip(0).prod(axis=1)
            )
            area, areas = (box[2:] - box[:2]).prod(), (found.xyxy[:, 2:] - found.xyxy[:, :2]).prod(axis=1)
            stands_for_it = (shared >= area / 2) | (shared / (area + areas - shared) > iou)
            assert (stands_for_it & (found.class_id == class_id) & (found.confidence >= confidence)).any()


@settings(deadline=None, max_examples=100)
@given(seen=seen_in_tiles())
def test_every_box_is_one_of_a_tile_or_holds_parts_up_to_its_four_sides(seen) -> None:
    windows, bounds, tiles = seen
    found = merged(tiles, windows, bounds, 0.5)
    for box, class_id in zip(found.xyxy, found.class_id, strict=True):
        boxes = np.concatenate([t.xyxy[t.class_id == class_id] for t in tiles])
        inside = boxes[((boxes[:, :2] >= box[:2]) & (boxes[:, 2:] <= box[2:])).all(axis=1)]
        assert np.append(inside[:, :2].min(axis=0), inside[:, 2:].max(axis=0)).tolist() == box.tolist()


def test_a_crowd_is_limited_as_in_nms_and_no_class_pushes_another_out() -> None:
    crowd = [(2 * (i % 40), 2 * (i // 40), 2 * (i % 40) + 1, 2 * (i // 40) + 1, 0.9, 0) for i in range(1000)]
    other = [(100, 0, 110, 10, 0.1, 1)]
    found = merged([detections(crowd), detections(other)], PAIR, WIDE, 0.5)
    assert np.bincount(found.class_id).tolist() == [LIMIT_PER_CLASS, 1]


def test_merging_a_crowd_does_not_take_longer_with_every_tile() -> None:
    """300 boxes in each of 16 tiles: 64 times the pairs that two tiles have, if all of them were compared."""
    rng = np.random.default_rng(0)
    windows = tile_windows(Roi(0, 0, 2000, 2000), Tiling(640, 640, 100))
    tiles = []
    for w in windows:
        corner = rng.uniform(0, 600, (300, 2)) + np.array([w.x, w.y])
        xyxy = np.concatenate([corner, corner + rng.uniform(5, 40, (300, 2))], axis=1).astype(np.float32)
        tiles.append(Detections(xyxy, rng.uniform(0.05, 1, 300).astype(np.float32), np.zeros(300, np.int64)))

    def best_s(count: int) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            merged(tiles[:count], windows[:count], Roi(0, 0, 2000, 2000), 0.5)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best_s(len(tiles)) < 8 * best_s(2)


# --- Scenes of known things, seen by a detector that makes no mistake: in tiles as without

SPEC = InputSpec(100, 100, "gray", 1.0, (0.0,), (1.0,), 0)  # a tile of 100 px is not scaled


def perfect(picture: np.ndarray, with_regions: bool) -> Detections:
    """A box around all that hangs together, as sure as it is bright."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((picture > 0).astype(np.uint8), connectivity=8)
    corner, size = stats[1:, :2], stats[1:, 2:4]
    return Detections(
        np.concatenate([corner, corner + size], axis=1).astype(np.float32),
        np.array([picture[labels == i].max() / 255 for i in range(1, count)], np.float32),
        np.zeros(count - 1, np.int64),
        regions=tuple(outlined(labels == i) for i in range(1, count)) if with_regions else None,
    )


def outlined(mask: np.ndarray) -> Region:
    """Along the edges of its pixels."""
    fine = np.zeros((2 * mask.shape[0] + 1, 2 * mask.shape[1] + 1), np.uint8)
    fine[1::2, 1::2] = mask
    contours, _ = cv2.findContours(cv2.dilate(fine, np.ones((3, 3))), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return Region(max(contours, key=cv2.contourArea)[:, 0].astype(np.float32) / 2, float(mask.sum()))


def in_tiles(picture: np.ndarray, tiling: Tiling, with_regions: bool = False) -> Detections:
    """Prepared in tiles, each looked at by the perfect detector, merged."""
    batch = prepare(picture, "Mono8", PreparePlan(SPEC, tiling=tiling))
    tiles = []
    for pixels, window in zip(batch.pixels[:, 0], batch.windows, strict=True):
        seen, shift = perfect(pixels.astype(np.uint8), with_regions), np.array([window.x, window.y], np.float32)
        regions = seen.regions and tuple(Region(r.outline + shift, r.area_px) for r in seen.regions)
        tiles.append(replace(seen, xyxy=seen.xyxy + np.tile(shift, 2), regions=regions))
    return merged(tiles, batch.windows, batch.bounds, 0.5)


def blank(draw) -> np.ndarray:
    return np.zeros((draw(st.integers(100, 260)), draw(st.integers(100, 260))), np.uint8)


@st.composite
def rectangles(draw) -> np.ndarray:
    """Up to 8 of any size that do not touch each other, so near to each other as it happens."""
    picture = blank(draw)
    for _ in range(draw(st.integers(0, 8))):
        x, y = draw(st.integers(0, picture.shape[1] - 1)), draw(st.integers(0, picture.shape[0] - 1))
        width, height = draw(st.integers(1, 200)), draw(st.integers(1, 200))
        if not picture[max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1].any():
            picture[y : y + height, x : x + width] = draw(st.integers(130, 255))
    return picture


@st.composite
def scratches(draw) -> np.ndarray:
    """Up to 4 lines and arcs of any direction, whose boxes do not touch each other."""
    picture, taken = blank(draw), np.zeros((300, 300), bool)
    height, width = picture.shape
    for _ in range(draw(st.integers(1, 4))):
        ends = [(draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))) for _ in range(3)]
        t = np.linspace(0, 1, 60)[:, None]
        curve = (1 - t) ** 2 * np.array(ends[0]) + 2 * t * (1 - t) * np.array(ends[1]) + t**2 * np.array(ends[2])
        one = np.zeros_like(picture)
        thickness = draw(st.integers(1, 6))
        cv2.polylines(one, [curve.round().astype(np.int32)], False, draw(st.integers(130, 255)), thickness)
        x, y, w, h = cv2.boundingRect(one)
        box = (slice(max(0, y - 1), y + h + 1), slice(max(0, x - 1), x + w + 1))
        if not taken[box].any():
            picture |= one
            taken[box] = True
    return picture


@settings(deadline=None, max_examples=100)
@given(picture=rectangles(), overlap_px=st.integers(8, 60))
def test_rectangles_are_found_in_tiles_exactly_as_without(picture: np.ndarray, overlap_px: int) -> None:
    found = in_tiles(picture, Tiling(100, 100, overlap_px))
    assert sorted(rows_of(found)) == sorted(rows_of(perfect(picture, False)))


@settings(deadline=None, max_examples=100)
@given(picture=scratches(), overlap_px=st.integers(16, 60))
def test_scratches_of_any_length_are_found_in_tiles_exactly_as_without(picture: np.ndarray, overlap_px: int) -> None:
    found = in_tiles(picture, Tiling(100, 100, overlap_px))
    assert sorted(rows_of(found)) == sorted(rows_of(perfect(picture, False)))


@settings(deadline=None, max_examples=60)
@given(picture=rectangles(), overlap_px=st.integers(8, 60))
def test_outlines_and_areas_of_what_was_cut_are_those_of_the_whole(picture: np.ndarray, overlap_px: int) -> None:
    found = in_tiles(picture, Tiling(100, 100, overlap_px), with_regions=True)
    whole = perfect(picture, True)
    expected = {tuple(box): region for box, region in zip(whole.xyxy.tolist(), whole.regions, strict=True)}
    for box, region in zip(found.xyxy.tolist(), found.regions or (), strict=True):
        assert region.area_px == pytest.approx(expected[tuple(box)].area_px)
        assert corners(region) == corners(expected[tuple(box)])


def corners(region: Region) -> list[tuple[float, ...]]:
    return sorted(map(tuple, region.outline.tolist()))


def test_a_bent_scratch_over_many_tiles_keeps_its_outline_and_area() -> None:
    picture = np.zeros((250, 250), np.uint8)
    cv2.ellipse(picture, (125, 240), (110, 220), 0, 180, 360, 200, 5)
    (region,) = in_tiles(picture, Tiling(100, 100, 20), with_regions=True).regions
    drawn = np.zeros((501, 501), np.uint8)
    cv2.fillPoly(drawn, [np.round(region.outline * 2).astype(np.int32)], 1)
    assert (drawn[1::2, 1::2] == (picture > 0)).mean() > 0.999
    assert region.area_px == pytest.approx((picture > 0).sum(), rel=0.01)
