"""Zones against an independent, exact computation: areas of clipped polygons in fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import Zone
from edge_inspector.stages.touching import holds_points, touches
from edge_inspector.stages.zones import IntricateZoneError, area, zone

Points = list[tuple[int, int]]
SQUARE = ((10, 10), (30, 10), (30, 30), (10, 30))
HOLE = ((15, 15), (25, 15), (25, 25), (15, 25))
DIAMOND = ((20, 0), (40, 20), (20, 40), (0, 20))
U = ((0, 0), (30, 0), (30, 30), (20, 30), (20, 10), (10, 10), (10, 30), (0, 30))


def made(*include: object, exclude: tuple[object, ...] = (), outside: bool = False) -> Zone:
    return zone("z", "top", include, exclude, outside)  # type: ignore[arg-type]


def touched(one: Zone, *box: float) -> bool:
    return bool(touches(one, np.array([box], np.float32))[0])


def touches_outline(one: Zone, outline: object) -> bool:
    corners = np.array(outline, np.float32)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])[None]
    return bool(touches(one, box, [corners])[0])


@pytest.mark.parametrize(
    ("one", "box", "expected"),
    [
        pytest.param(made(SQUARE), (12, 12, 14, 14), True, id="within"),
        pytest.param(made(SQUARE), (0, 0, 99, 99), True, id="around"),
        pytest.param(made(SQUARE), (0, 0, 11, 11), True, id="over a corner by one pixel"),
        pytest.param(made(SQUARE), (0, 0, 10, 99), False, id="sharing a border is not touching"),
        pytest.param(made(SQUARE), (30, 30, 40, 40), False, id="nor sharing a corner"),
        pytest.param(made(SQUARE), (0, 15, 99, 16), True, id="right across"),
        pytest.param(made(SQUARE, exclude=(HOLE,)), (15, 15, 25, 25), False, id="the excluded part itself"),
        pytest.param(made(SQUARE, exclude=(HOLE,)), (16, 16, 20, 20), False, id="wholly excluded"),
        pytest.param(made(SQUARE, exclude=(HOLE,)), (16, 16, 25.5, 20), True, id="half a pixel beyond"),
        pytest.param(made(SQUARE, exclude=(SQUARE,)), (0, 0, 99, 99), False, id="nothing is left"),
        pytest.param(made(exclude=(SQUARE,)), (500, 500, 501, 501), True, id="all but, far away"),
        pytest.param(made(exclude=(SQUARE,)), (10, 10, 30, 30), False, id="all but, in it"),
        pytest.param(made(SQUARE, HOLE), (16, 16, 17, 17), True, id="in any of the polygons is in"),
        pytest.param(made(DIAMOND), (0, 0, 10, 10), False, id="the corner of the rectangle around a diamond"),
        pytest.param(made(DIAMOND), (0, 0, 10.5, 10), True, id="just over its side"),
        pytest.param(made(DIAMOND), (39, 19.5, 50, 20.5), True, id="its right corner"),
        pytest.param(made(U), (12, 12, 18, 30), False, id="between the legs of a U"),
        pytest.param(made(U), (12, 9, 18, 30), True, id="and over its back"),
        pytest.param(made(SQUARE, outside=True), (10, 10, 30, 30), False, id="outside: wholly inside"),
        pytest.param(made(SQUARE, outside=True), (10, 10, 30, 30.25), True, id="outside: a quarter of a pixel"),
        pytest.param(made(SQUARE, exclude=(HOLE,), outside=True), (16, 16, 17, 17), True, id="outside: in the hole"),
    ],
)
def test_a_box_touches_a_zone(one: Zone, box: tuple[float, ...], expected: bool) -> None:
    assert touched(one, *box) is expected


@pytest.mark.parametrize(
    ("outline", "expected"),
    [
        pytest.param(((0, 0), (5, 0), (5, 5)), False, id="beside"),
        pytest.param(((12, 12), (14, 12), (13, 14)), True, id="within"),
        pytest.param(((0, 0), (90, 0), (90, 90), (0, 90)), True, id="around: no edge of it is in the zone"),
        pytest.param(((5, 5), (35, 5), (35, 35), (32, 35), (32, 8), (5, 8)), False, id="an angle around two sides"),
        pytest.param(((5, 5), (35, 5), (35, 35), (29, 35), (29, 8), (5, 8)), True, id="an angle that reaches in"),
        pytest.param(((0, 20), (40, 19), (40, 21)), True, id="a needle through it, no corner in it"),
        pytest.param(((0, 0), (10, 10), (0, 10)), False, id="corner on corner"),
        pytest.param(((0, 0), (10, 0), (10, 50), (0, 50)), False, id="side on side"),
        pytest.param(((16, 16), (24, 16), (24, 24), (16, 24)), False, id="in the hole"),
        pytest.param(((16, 16), (26, 20), (16, 24)), True, id="out of the hole with a corner"),
    ],
)
def test_an_outline_touches_a_zone_with_a_hole(outline: Points, expected: bool) -> None:
    assert touches_outline(made(SQUARE, exclude=(HOLE,)), outline) is expected


def test_an_outline_that_runs_around_a_zone_does_not_touch_it() -> None:
    ring = ((0, 0), (50, 0), (50, 50), (0, 50), (0, 5), (5, 5), (5, 45), (45, 45), (45, 5), (0, 5))
    assert not touches_outline(made(SQUARE), ring)
    assert not touches_outline(made(SQUARE, exclude=(SQUARE,)), ring)


def test_a_point_on_the_border_of_two_zones_is_in_one_of_them() -> None:
    left, right = made(((0, 0), (10, 0), (10, 10), (0, 10))), made(((10, 0), (20, 0), (20, 10), (10, 10)))
    points = np.array([(10.0, 5.0), (0.0, 0.0), (20.0, 5.0), (5.0, 10.0), (9.999, 9.999)])
    assert holds_points(left, points).tolist() == [False, True, False, False, True]
    assert holds_points(right, points).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("one", "expected"),
    [(made(SQUARE, exclude=(HOLE,)), 300), (made(DIAMOND), 800), (made(U), 700), (made(SQUARE, HOLE), 400)],
)
def test_the_area_of_a_zone(one: Zone, expected: float) -> None:
    assert area(one) == pytest.approx(expected, abs=1e-9)


def test_a_simple_shape_is_few_pieces() -> None:
    assert len(made(SQUARE).trapezoids) == 1
    assert len(made(SQUARE, exclude=(HOLE,)).trapezoids) == 4
    assert len(made(SQUARE, HOLE).trapezoids) == 1


def test_a_zone_whose_edges_cross_without_end_is_refused() -> None:
    comb = [(x, y) for i in range(70) for x, y in ((0, 4 * i), (280, 4 * i + 1), (0, 4 * i + 2))]
    with pytest.raises(IntricateZoneError, match="zone z falls into more than 4096 pieces"):
        made([*comb, (-1, 0)], [(y, x) for x, y in [*comb, (-1, 0)]])


NUMBERS = st.integers(0, 24)


@st.composite
def polygons(draw: st.DrawFn) -> Points:
    """Simple ones, mostly hollow: a left and a right chain that go down, or the same lying on its side."""
    ys = sorted(draw(st.sets(NUMBERS, min_size=2, max_size=6)))
    left = [(draw(st.integers(0, 11)), y) for y in ys]
    right = [(draw(st.integers(12, 24)), y) for y in ys]
    polygon = [*left, *reversed(right)]
    return [(y, x) for x, y in polygon] if draw(st.booleans()) else polygon


@st.composite
def boxes(draw: st.DrawFn) -> Points:
    (x1, x2), (y1, y2) = (sorted(draw(st.sets(NUMBERS, min_size=2, max_size=2))) for _ in "xy")
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


@st.composite
def triangles(draw: st.DrawFn) -> Points:
    corners = [(draw(NUMBERS), draw(NUMBERS)) for _ in range(3)]
    turn = _signed(corners)
    return corners if turn > 0 else corners[::-1]


@settings(max_examples=40)
@given(include=polygons(), hole=st.none() | triangles() | boxes(), shape=boxes() | triangles())
def test_a_shape_touches_a_zone_when_they_share_an_area(include: Points, hole: Points | None, shape: Points) -> None:
    excluded = [] if hole is None or not _signed(hole) else [hole]
    one, outside = (zone("z", "top", [include], excluded, outside) for outside in (False, True))
    everything = _signed(shape)
    shared = abs(_signed(_clipped(include, shape))) if everything else Fraction(0)
    if excluded and everything:
        shared -= abs(_signed(_clipped(include, _clipped(shape, excluded[0]))))
    if everything:
        assert touches_outline(one, shape) is (shared > 0)
        assert touches_outline(outside, shape) is (shared < everything)
    if len(shape) == 4:
        assert touched(one, *shape[0], *shape[2]) is (shared > 0)
        assert touched(outside, *shape[0], *shape[2]) is (shared < everything)


@settings(max_examples=40)
@given(include=polygons(), hole=boxes())
def test_the_areas_of_a_zone_and_of_what_is_cut_out_are_the_whole(include: Points, hole: Points) -> None:
    cut = abs(_signed(_clipped(include, hole))) / 2
    assert area(zone("z", "top", [include], [hole])) == pytest.approx(float(abs(_signed(include)) / 2 - cut), abs=1e-7)


def _signed(polygon: object) -> Fraction:
    """Twice the area, positive for the order in which `boxes` are given."""
    points = [(Fraction(x), Fraction(y)) for x, y in polygon]  # type: ignore[attr-defined]
    return sum(
        (x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True)), Fraction(0)
    )


def _clipped(polygon: object, window: object) -> list[tuple[Fraction, Fraction]]:
    """What of a polygon is in a convex window (Sutherland and Hodgman); bridges that it leaves have no area."""
    points = [(Fraction(x), Fraction(y)) for x, y in polygon]  # type: ignore[attr-defined]
    corners = [(Fraction(x), Fraction(y)) for x, y in window]  # type: ignore[attr-defined]
    if not _signed(corners):
        return []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        kept: list[tuple[Fraction, Fraction]] = []
        sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in points]
        for i, (x, y) in enumerate(points):
            (px, py), here, before = points[i - 1], sides[i], sides[i - 1]
            if (here > 0 > before) or (here < 0 < before):
                t = before / (before - here)
                kept.append((px + t * (x - px), py + t * (y - py)))
            if here >= 0:
                kept.append((x, y))
        points = kept
    return points
