"""The health of a camera, on real pictures: what is found, what never is, and what nobody can see."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
import pytest
from camera_scenes import DATA, MARGIN, PICTURES, Station, out_of_focus, scene

from edge_inspector.datatypes import PixelFormat
from edge_inspector.errors import ConfigError, FrameError
from edge_inspector.settings.golden import HealthSettings
from edge_inspector.stages.camera_dirt import begin, goes_on, spots
from edge_inspector.stages.camera_findings import Finding, Kind, Level, findings, least_px, unseen
from edge_inspector.stages.camera_health import BLOCKS, Eye, Measured, Odd, reference_of
from edge_inspector.stages.camera_reference import Gray, Spread, gray8, spread_of

SETTINGS = HealthSettings.model_validate({})
real = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real pictures of ../shared/data are not on this machine"),
]
SIDE = 320
NOISE = {"board": 4.0, "ball screw": 2.5, "chessboard": 4.0}
"""Gray values; against noise of 4 the edges of the ball screw are too weak for its focus."""
REFERENCES = 20


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


def eye_of(station: Station, pictures: int = REFERENCES) -> Eye:
    return Eye(reference_of([station.picture() for _ in range(pictures)]))


def told(eye: Eye, pictures: Iterable[Gray], settings: HealthSettings = SETTINGS) -> Iterator[dict[Kind, Finding]]:
    """What is found after each picture from the first full window on."""
    window: deque[Measured] = deque(maxlen=settings.pictures)
    streak, before = None, dict[Kind, Level]()
    for picture in pictures:
        measured = eye.measure(picture)
        odd = eye.odd(picture, measured)
        window.append(measured)
        streak = begin(odd) if streak is None else goes_on(streak, odd)
        if len(window) == settings.pictures:
            lasting = spots(streak, settings.pictures, least_px(settings))
            found = findings(settings, eye.reference.spread, window, lasting, before)
            before = {one.kind: one.level for one in found}
            yield {one.kind: one for one in found}


def last(eye: Eye, picture: Callable[[], Gray]) -> dict[Kind, Finding]:
    """What one full window of pictures shows."""
    return list(told(eye, (picture() for _ in range(SETTINGS.pictures))))[-1]


@pytest.fixture(scope="module", params=["board", "chessboard", pytest.param("ball screw", marks=pytest.mark.heavy)])
def seen(request: pytest.FixtureRequest) -> tuple[Station, Eye]:
    if not DATA.is_dir():
        pytest.skip("the real pictures of ../shared/data are not on this machine")
    station = Station(scene(request.param, SIDE), noise=NOISE[request.param], defects=2)
    return station, eye_of(station)


class TestOnRealPictures:
    pytestmark = real

    @pytest.mark.parametrize("shift", [(3, 0), (0, -3)])
    def test_a_shift_of_3_px_is_an_alarm_that_says_where(
        self, seen: tuple[Station, Eye], shift: tuple[int, int]
    ) -> None:
        station, eye = seen
        found = last(eye, lambda: station.picture(shift=shift))
        assert found["position"].level == "alarm"
        words = {(3, 0): "right", (0, -3): "up"}
        assert words[shift] in found["position"].text
        assert set(found) == {"position"}, "blocks and edges that moved with it are not told beside it"

    def test_20_percent_of_defocus_is_found(self, seen: tuple[Station, Eye]) -> None:
        station, eye = seen
        blurred = out_of_focus(station.scene, 0.2)
        assert set(last(eye, lambda: station.picture(scene=blurred))) == {"focus"}

    @pytest.mark.parametrize("light", [0.85, pytest.param(0.7, marks=pytest.mark.heavy)])
    def test_a_loss_of_light_is_an_alarm_and_no_loss_of_focus(self, seen: tuple[Station, Eye], light: float) -> None:
        station, eye = seen
        found = last(eye, lambda: station.picture(light=light))
        assert found["brightness"].level == "alarm"
        assert "darker" in found["brightness"].text
        assert "focus" not in found

    def test_a_speck_of_10_px_is_found_where_it_is(self, seen: tuple[Station, Eye]) -> None:
        station, eye = seen
        size = SIDE - 2 * MARGIN
        for x, y in ((40, 60), (250, 110)):
            behind = station.scene[MARGIN + y - 5 : MARGIN + y + 6, MARGIN + x - 5 : MARGIN + x + 6].mean()
            gray = 0.0 if behind > 128 else 255.0
            found = last(eye, lambda at=(x, y, gray): station.picture(spot=at))  # type: ignore[misc]
            assert found["dirt"].level == "alarm"
            at = found["dirt"].text.partition("stays at ")[2].partition(" (")[0].partition(":")[0].partition(", ")[0]
            left, top = map(int, at.split(","))
            assert abs(left - x) <= 4
            assert abs(top - y) <= 4
            assert max(x, y) < size

    def test_noise_flicker_and_defects_of_parts_are_not_told(self, seen: tuple[Station, Eye]) -> None:
        station, eye = seen
        assert not any(told(eye, (station.picture() for _ in range(24))))


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.realdata
@pytest.mark.skipif(not DATA.is_dir(), reason="the real pictures of ../shared/data are not on this machine")
@pytest.mark.parametrize("moves", [False, True], ids=["still", "moving"])
@pytest.mark.parametrize("noise", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("name", PICTURES)
def test_no_false_alarm_in_1000_noisy_pictures(name: str, noise: float, moves: bool) -> None:
    station = Station(scene(name, SIDE), noise=noise, moves=moves, defects=3)
    eye = eye_of(station)
    alarms = [found for found in told(eye, (station.picture() for _ in range(1000))) if found]
    assert not alarms, f"{len(alarms)} of 993 windows: {alarms[0]}"


def textured(seed: int = 5, side: int = 128) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rng = np.random.default_rng(seed)
    return np.asarray(cv2.GaussianBlur(rng.uniform(60, 200, (side, side)).astype(np.float32), (0, 0), 2.0) * 3 - 260)


def test_a_picture_that_is_its_reference_is_as_it_was() -> None:
    picture = textured().clip(0, 255).astype(np.uint8)
    eye = Eye(reference_of([picture] * 5))
    measured = eye.measure(picture)
    assert measured.shift_px == pytest.approx((0, 0), abs=0.02)
    assert measured.focus == pytest.approx(1.0)
    assert measured.brightness == pytest.approx(1.0)
    assert measured.blocks == pytest.approx(np.ones(BLOCKS * BLOCKS))
    odd = eye.odd(picture, measured)
    assert not odd.darker.any()
    assert not odd.brighter.any()


@pytest.mark.parametrize("side", [127, 128, 131, 200])
def test_whole_pixels_are_measured_on_odd_sides_too(side: int) -> None:
    whole = textured(side=side + 20).clip(0, 255).astype(np.uint8)
    eye = Eye(reference_of([whole[10:-10, 10:-10]] * 5))
    for x, y in ((3, 0), (0, -3), (-4, 2), (0, 0)):
        moved = whole[10 - y : 10 - y + side, 10 - x : 10 - x + side]
        assert eye.measure(np.ascontiguousarray(moved)).shift_px == pytest.approx((x, y), abs=0.2)


def test_light_that_falls_off_to_one_side_is_uneven_and_not_dark() -> None:
    station = Station(textured(side=192) * 0.5 + 60, noise=2.0)
    eye = eye_of(station, 10)
    ramp = np.linspace(1.15, 0.85, 192, dtype=np.float32)
    assert set(last(eye, lambda: station.picture(scene=station.scene * ramp))) == {"uniformity"}


def test_a_reference_of_parts_that_differ_says_what_nobody_can_see() -> None:
    parts = [textured(seed).clip(0, 255).astype(np.uint8) for seed in range(10)]
    blind = unseen(SETTINGS, reference_of(parts))
    assert "a change of position, because the parts differ by as much" in blind, "beyond half of it"
    assert any(one.startswith("a loss of focus of less than") for one in blind)
    faint = [(part * (0.05 if i % 2 else 1.0)).astype(np.uint8) for i, part in enumerate(parts)]
    blind = unseen(SETTINGS, reference_of(faint))
    assert "a loss of focus, because the parts differ by as much" in blind, "nothing loses more than all its sharpness"
    even = np.full((128, 128), 120, np.uint8)
    assert "a loss of focus, because there are too few edges" in unseen(SETTINGS, reference_of([even] * 5))
    still = textured().clip(0, 255).astype(np.uint8)
    assert unseen(SETTINGS, reference_of([still] * 5)) == ()


def test_parts_that_differ_by_more_than_a_limit_are_no_alarm() -> None:
    parts = [textured(seed).clip(0, 255).astype(np.uint8) for seed in range(60)]
    eye = Eye(reference_of(parts[:20]))
    assert not any("position" in found or "focus" in found for found in told(eye, parts[20:]))


def test_a_finding_stays_until_it_is_well_below_its_limit() -> None:
    spread = Spread(0.0, 0.0, 0.0, (0.0,) * BLOCKS**2)

    def at(px: float, before: dict[Kind, Level]) -> dict[Kind, Level]:
        seen = [Measured((px, 0.0), None, 1.0, np.ones(BLOCKS**2, np.float32))] * SETTINGS.pictures
        return {one.kind: one.level for one in findings(SETTINGS, spread, seen, (), before)}

    assert at(1.45, {}) == {}
    assert at(1.55, {}) == {"position": "warning"}
    assert at(1.45, {"position": "warning"}) == {"position": "warning"}
    assert at(1.15, {"position": "warning"}) == {}
    assert at(2.45, {"position": "warning"}) == {"position": "warning"}
    assert at(2.45, {"position": "alarm"}) == {"position": "alarm"}
    assert at(1.95, {"position": "alarm"}) == {"position": "warning"}


def test_what_is_odd_in_each_picture_is_dirt_and_what_is_odd_now_and_then_is_not() -> None:
    def odd(*places: tuple[int, int]) -> Odd:
        dark = np.zeros((64, 64), np.uint8)
        for x, y in places:
            cv2.circle(dark, (x, y), 5, 1, -1)
        return Odd(dark, np.zeros_like(dark))

    streak = begin(odd((20, 20), (50, 50)))
    for _ in range(6):
        streak = goes_on(streak, odd((20, 20), (50, 50)))
    assert spots(streak, 8, 5) == ()
    streak = goes_on(streak, odd((20, 20)))
    (spot,) = spots(streak, 8, 5)
    assert (round(spot.x), round(spot.y), round(spot.diameter_px), spot.brighter) == (20, 20, 10, False)
    assert spots(streak, 8, 12) == ()
    assert spots(goes_on(streak, odd()), 8, 5) == ()
    for _ in range(300):
        streak = goes_on(streak, odd((20, 20)))
    assert len(spots(streak, 50, 5)) == 1, "the count must not run over"


def test_a_moved_edge_of_two_pixels_is_no_dirt() -> None:
    line = np.zeros((64, 64), np.uint8)
    line[:, 30:32] = 1
    streak = begin(Odd(line, line))
    for _ in range(7):
        streak = goes_on(streak, Odd(line, line))
    assert spots(streak, 8, 5) == ()


def test_no_value_goes_into_what_it_was_given() -> None:
    one = np.ones((64, 64), np.uint8)
    first = begin(Odd(one, one))
    goes_on(first, Odd(np.zeros_like(one), one))
    assert first.darker.all()
    assert one.all()
    picture = textured().clip(0, 255).astype(np.uint8)
    copy = picture.copy()
    eye = Eye(reference_of([picture] * 5))
    eye.odd(picture, eye.measure(picture))
    assert np.array_equal(picture, copy)


@pytest.mark.parametrize("count", [0, 4, 51])
def test_a_reference_needs_several_pictures(count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} pictures for a reference, expected 5 to 50"):
        reference_of([np.zeros((64, 64), np.uint8)] * count)


def test_pictures_of_several_sizes_are_no_reference() -> None:
    with pytest.raises(ConfigError, match=r"\(64, 64\), \(64, 65\)"):
        reference_of([np.zeros((64, 64), np.uint8)] * 5 + [np.zeros((64, 65), np.uint8)])
    with pytest.raises(ValueError, match="a picture of"):
        Eye(reference_of([np.zeros((64, 64), np.uint8)] * 5)).measure(np.zeros((65, 64), np.uint8))


def test_a_black_camera_is_dark_and_breaks_nothing() -> None:
    picture = textured().clip(0, 255).astype(np.uint8)
    eye = Eye(reference_of([picture] * 5))
    found = last(eye, lambda: np.zeros((128, 128), np.uint8))
    assert found["brightness"].level == "alarm"
    dark = Eye(reference_of([np.zeros((128, 128), np.uint8)] * 5))
    assert dark.measure(picture).blocks.shape == (BLOCKS**2,)
    assert np.isnan(dark.measure(picture).blocks).all()


@pytest.mark.parametrize(
    ("pixels", "pixel_format"),
    [
        (np.full((64, 64), 100, np.uint8), "Mono8"),
        (np.full((64, 64), 1600, np.uint16), "Mono12"),
        (np.full((64, 64, 3), 100, np.uint8), "BGR8"),
        (np.full((64, 64, 3), 100, np.uint8), "RGB8"),
        (np.full((64, 64), 100, np.uint8), "BayerRG8"),
        (np.full((64, 64), 1600, np.uint16), "BayerGB12"),
    ],
)
def test_every_pixel_format_becomes_gray(pixels: Gray, pixel_format: PixelFormat) -> None:
    gray = gray8(pixels, pixel_format)
    assert gray.shape == (64, 64)
    assert gray.dtype == np.dtype(np.uint8)
    assert abs(int(gray[32, 32]) - 100) <= 1


def test_red_is_red_in_both_orders() -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[:, :, 0] = 255
    assert gray8(red, "RGB8")[0, 0] == 76, "0.299 of 255"
    assert gray8(red[:, :, ::-1].copy(), "BGR8")[0, 0] == 76


@pytest.mark.parametrize(
    ("pixels", "pixel_format", "said"),
    [
        (np.zeros((64, 64), np.uint16), "Mono8", "uint16"),
        (np.zeros((64, 64), np.uint8), "BGR8", "is not BGR8"),
        (np.zeros((63, 64), np.uint8), "Mono8", "64x63, expected 64 px"),
    ],
)
def test_a_picture_that_is_not_what_it_says_is_refused(pixels: Gray, pixel_format: PixelFormat, said: str) -> None:
    with pytest.raises(FrameError, match=said):
        gray8(pixels, pixel_format)


@pytest.mark.parametrize("count", [5, 10, 20, 50])
def test_the_spread_is_not_too_small_in_nineteen_of_twenty_samples(count: int) -> None:
    rng = np.random.default_rng(count)
    bounds = [spread_of(row) for row in rng.normal(7, 2, (1500, count))]
    assert 0.92 <= np.mean(np.array(bounds) >= 2) <= 0.97
