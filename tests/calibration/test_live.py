"""Which pictures of a moving board are kept, without a camera; and the loop with a scripted one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType

import cv2
import numpy as np
import pytest
from board_renderer import Pose, poses, project, render

from edge_inspector.calibration.boards import object_points, parse_board
from edge_inspector.calibration.detect import Gray, find_board
from edge_inspector.calibration.live import WIDEST_EDGE_PX, Selection, edge_width_px, watch
from edge_inspector.calibration.records import Board, Sighting
from edge_inspector.datatypes import Calibration, CameraStatistics, FeatureValue, Frame, TriggerMode
from edge_inspector.errors import CameraError, FrameError

LENS = Calibration((480, 640), (560.0, 561.0, 322.3, 237.8), (-0.2, 0.06, 0.0008, -0.0005, 0.01))
CHESSBOARD = parse_board("chessboard:9x6:25mm")
CHARUCO = parse_board("charuco:5x7:30mm:22mm:DICT_6X6_250")
SHARP = 2.5


def seen(board: Board, pose: Pose, name: str = "view") -> Sighting:
    points = project(object_points(board), LENS, pose).astype(np.float32)
    return Sighting(name, LENS.image_hw, np.arange(len(points), dtype=np.int64), points)


def moved(sighting: Sighting, share: float) -> Sighting:
    """By this share of the board's size, to the right."""
    size = np.sqrt(cv2.contourArea(cv2.convexHull(sighting.points)))
    return replace(sighting, points=sighting.points + np.float32([share * size, 0]))


@pytest.fixture
def many() -> list[Sighting]:
    return [seen(CHESSBOARD, pose) for pose in poses(CHESSBOARD, LENS, 24)]


def test_a_board_that_has_not_moved_is_not_taken_twice(many: list[Sighting]) -> None:
    selection = Selection(CHESSBOARD, 20)
    assert selection.offer(many[0], SHARP).kept
    for share, kept in ((0.0, False), (0.07, False), (0.09, True)):
        answer = selection.offer(moved(many[0], share), SHARP)
        assert answer.kept is kept, share
        assert kept or answer.text.startswith("seen already; move or tilt the board")


def test_a_board_that_comes_back_to_an_earlier_place_is_not_taken_again(many: list[Sighting]) -> None:
    selection = Selection(CHESSBOARD, 20)
    assert all(selection.offer(view, SHARP).kept for view in many[:4])
    assert not selection.offer(moved(many[1], 0.02), SHARP).kept


def test_a_chessboard_found_from_its_other_end_has_not_moved(many: list[Sighting]) -> None:
    selection = Selection(CHESSBOARD, 20)
    selection.offer(many[0], SHARP)
    assert not selection.offer(replace(many[0], points=many[0].points[::-1].copy()), SHARP).kept


def test_two_parts_of_a_board_without_a_common_point_are_two_views() -> None:
    whole = seen(CHARUCO, next(poses(CHARUCO, LENS, 1)))
    selection = Selection(CHARUCO, 20)
    assert selection.offer(replace(whole, ids=whole.ids[:12], points=whole.points[:12]), SHARP).kept
    assert selection.offer(replace(whole, ids=whole.ids[12:], points=whole.points[12:]), SHARP).kept


def test_one_row_of_a_board_is_no_view() -> None:
    whole = seen(CHARUCO, next(poses(CHARUCO, LENS, 1)))
    column = np.flatnonzero(whole.ids % 4 == 1)
    selection = Selection(CHARUCO, 20)
    answer = selection.offer(replace(whole, ids=whole.ids[column], points=whole.points[column]), SHARP)
    assert (answer.kept, answer.text) == (False, "only one row of the board in the picture")


def test_beyond_the_wanted_number_a_flat_board_does_not_stand_in_for_a_tilted_one() -> None:
    """Four flat views leave "only 0 of 4 are tilted"; a fifth would make that "0 of 5"."""
    middle = object_points(CHESSBOARD).mean(axis=0).astype(float)
    flat = [
        Pose((0.0, 0.0, 0.0), tuple((np.array([x, y, 620.0]) - middle).tolist()))
        for x in (-90.0, 0.0, 90.0)
        for y in (-60.0, 60.0)
    ]
    selection = Selection(CHESSBOARD, 4)
    assert [selection.offer(seen(CHESSBOARD, pose), SHARP).kept for pose in flat] == [True] * 4 + [False] * 2
    assert any("only 0 of 4" in text for text in selection.missing)


def test_a_tilt_in_place_is_a_new_view() -> None:
    """Seen by 20 degrees from the side, the middle of the board where it was."""
    middle = object_points(CHESSBOARD).mean(axis=0).astype(float)
    views = []
    for degrees in (0.0, 20.0):
        turn = cv2.Rodrigues(np.array([0.0, np.radians(degrees), 0.0]))[0]
        shift = np.array([0.0, 0.0, 450.0]) - turn @ middle
        views.append(seen(CHESSBOARD, Pose((0.0, float(np.radians(degrees)), 0.0), tuple(shift.tolist()))))
    selection = Selection(CHESSBOARD, 20)
    assert [selection.offer(view, SHARP).kept for view in views] == [True, True]


def test_it_says_what_is_missing_until_nothing_is(many: list[Sighting]) -> None:
    selection = Selection(CHESSBOARD, 20)
    first = selection.offer(many[0], SHARP)
    assert "kept 1 of 20" in first.text
    assert "no view reaches the" in first.text
    for view in many:
        selection.offer(view, SHARP)
        assert selection.complete is (len(selection.kept) == 20)
    assert selection.missing == ()


def test_beyond_the_wanted_number_only_what_is_missing_is_taken(many: list[Sighting]) -> None:
    selection = Selection(CHESSBOARD, 2)
    in_the_middle = many[0]
    assert selection.offer(in_the_middle, SHARP).kept
    assert selection.offer(moved(in_the_middle, 0.1), SHARP).kept
    assert not selection.complete
    assert selection.offer(moved(in_the_middle, -0.1), SHARP).text.startswith("brings nothing new")
    before = selection.missing
    taken = [view for view in many[1:] if selection.offer(view, SHARP).kept]
    assert taken
    assert selection.missing != before
    assert selection.complete
    assert len(selection.kept) < len(many)


def test_no_board_and_blur_are_told_and_not_kept(many: list[Sighting]) -> None:
    selection = Selection(CHESSBOARD, 20)
    assert selection.offer(None, 0.0).text == "no board in the picture"
    blurred = selection.offer(many[0], WIDEST_EDGE_PX + 1)
    assert (blurred.kept, blurred.text.partition(":")[0]) == (False, "blurred")
    assert selection.kept == []


@pytest.mark.parametrize("text", ["chessboard:9x6:25mm", "charuco:5x7:30mm:22mm:DICT_6X6_250", "circles:4x11:20mm"])
@pytest.mark.parametrize("kernel", [(9, 1), (1, 9)], ids=["across", "down"])
def test_a_moved_picture_is_told_from_a_sharp_one_whichever_way_it_moved(text: str, kernel: tuple[int, int]) -> None:
    board = parse_board(text)
    gray = render(board, LENS, next(poses(board, LENS, 1)), noise=1.0)
    sighting = find_board(gray, board, "view")
    assert sighting is not None
    assert edge_width_px(gray, sighting) < WIDEST_EDGE_PX - 1
    assert edge_width_px(cv2.blur(gray, kernel), sighting) > WIDEST_EDGE_PX + 1


class ScriptedCamera:
    """Plays pictures and raises errors, in the order given."""

    serial = "40123456"
    image_hw = LENS.image_hw
    statistics = CameraStatistics()

    def __init__(self, script: Sequence[Gray | Exception | None], trigger_mode: TriggerMode = "software") -> None:
        self.trigger_mode: TriggerMode = trigger_mode
        self.triggers = 0
        self.held = 0
        self._script = list(script)

    def __enter__(self) -> ScriptedCamera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def apply(self, features: Mapping[str, FeatureValue]) -> None: ...

    def trigger(self) -> None:
        self.triggers += 1

    def retain(self) -> None:
        self.held += 1

    def release(self) -> None:
        self.held -= 1

    def grab(self, timeout_s: float) -> Frame | None:
        now = self._script.pop(0)
        if isinstance(now, Exception):
            raise now
        if now is None:
            return None
        self.retain()
        return Frame("top", 0, 0, 0, now, "Mono8", self)


def watched(camera: ScriptedCamera, wanted: int = 2) -> tuple[list[str], list[str]]:
    """The names that were kept, and what was said, until the script ended in a CameraError."""
    kept: list[str] = []
    said: list[str] = []

    def keep(name: str, gray: Gray) -> None:
        kept.append(name)

    with pytest.raises(CameraError, match="gone"):
        watch(camera, Selection(CHESSBOARD, wanted), CHESSBOARD, keep, said.append, 0.1)
    return kept, said


@pytest.fixture(scope="module")
def picture() -> Gray:
    return render(CHESSBOARD, LENS, next(poses(CHESSBOARD, LENS, 1)))


def test_damaged_and_missing_pictures_are_told_once_and_survived(picture: Gray) -> None:
    script = [
        FrameError("picture 3 is damaged"),
        FrameError("picture 3 is damaged"),
        None,
        picture,
        CameraError("gone"),
    ]
    kept, said = watched(ScriptedCamera(script))
    assert kept == ["view-001.png"]
    assert said[:2] == ["picture 3 is damaged", "no picture came within 0.1 s (software trigger)"]
    assert len(said) == 3


def test_every_buffer_goes_back_to_the_camera(picture: Gray) -> None:
    camera = ScriptedCamera([picture, np.zeros_like(picture), CameraError("gone")])
    watched(camera)
    assert camera.held == 0


@pytest.mark.parametrize(("mode", "triggers"), [("software", 2), ("free", 0), ("line", 0)])
def test_only_a_software_triggered_camera_is_triggered(picture: Gray, mode: TriggerMode, triggers: int) -> None:
    camera = ScriptedCamera([picture, CameraError("gone")], mode)
    watched(camera)
    assert camera.triggers == triggers


def test_watching_ends_when_the_selection_is_complete(rendered: Callable[[int], list[Gray]]) -> None:
    selection = Selection(CHESSBOARD, 5)
    watch(ScriptedCamera(rendered(12)), selection, CHESSBOARD, lambda name, gray: None, lambda text: None)
    assert selection.complete


@pytest.fixture
def rendered() -> Callable[[int], list[Gray]]:
    return lambda count: [render(CHESSBOARD, LENS, pose) for pose in poses(CHESSBOARD, LENS, count)]
