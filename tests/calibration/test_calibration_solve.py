from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from board_renderer import Pose, pose, poses, project
from lenses import BARREL, FISHEYE, RATIONAL, Views

from edge_inspector.calibration.boards import object_points, parse_board
from edge_inspector.calibration.detect import as_gray, find_board
from edge_inspector.calibration.file import load_calibration
from edge_inspector.calibration.fit import CalibrationRefused
from edge_inspector.calibration.projection import camera_matrix, undistorted
from edge_inspector.calibration.records import LensChoice, Sighting, Solution
from edge_inspector.calibration.solve import FEWEST_VIEWS, solve
from edge_inspector.datatypes import Calibration

CHESSBOARD, CHARUCO, CIRCLES = "chessboard:9x6:25mm", "charuco:7x5:30mm:22mm:DICT_6X6_250", "circles:4x11:20mm"
MADE = "2026-11-22T10:00:00.000Z"
ExactViews = Callable[..., list[Sighting]]


def solved(sightings: list[Sighting] | tuple[Sighting, ...], text: str, lens: LensChoice) -> Solution:
    return solve(sightings, parse_board(text), lens, "40012345", lambda *_: None, MADE)


def bent(sighting: Sighting, noise_px: float) -> Sighting:
    """A view of which the corners are off."""
    noise = np.random.default_rng(7).normal(0, noise_px, sighting.points.shape)
    return replace(sighting, points=(sighting.points + noise).astype(np.float32))


def straightness_px(true: Calibration, found: Calibration, seen: np.ndarray) -> float:
    """How far from a line, at worst, straight lines in the scene are after undistortion by what was found.

    They join the outermost points that the boards reached.
    """
    worst = 0.0
    ends = [seen[pick] for pick in (*seen.argmin(axis=0), *seen.argmax(axis=0))]
    for start, end in itertools.combinations(ends, 2):
        # two pixels' rays span a plane; each straight line in it is seen where the plane is
        flat = (undistorted(np.array([start, end]), true) - true.matrix[2:]) / true.matrix[:2]
        near, far = np.column_stack([flat, np.ones(2)])
        line = np.linspace(near * 700, far * 900, 60)
        straight = undistorted(project(line, true, Pose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))), found)
        middle = straight - straight.mean(axis=0)
        worst = max(worst, float(abs(middle @ np.linalg.svd(middle)[2][1]).max()))
    return worst


@pytest.mark.parametrize(
    ("text", "true", "lens"),
    [
        pytest.param(CHESSBOARD, BARREL, "pinhole", id="chessboard"),
        pytest.param(CHARUCO, BARREL, "pinhole", id="charuco"),
        pytest.param(CIRCLES, BARREL, "pinhole", id="circles"),
        pytest.param(CHESSBOARD, RATIONAL, "rational", id="rational"),
        pytest.param(CHESSBOARD, FISHEYE, "fisheye", id="fisheye"),
    ],
)
def test_rendered_boards_give_back_the_camera(
    rendered_views: Views, text: str, true: Calibration, lens: LensChoice
) -> None:
    views = rendered_views(text, true)
    solution = solved(views, text, lens)
    assert solution.dropped == ()
    fx, fy, cx, cy = solution.calibration.matrix
    assert (fx, fy) == pytest.approx(true.matrix[:2], rel=0.002)
    assert (cx, cy) == pytest.approx(true.matrix[2:], abs=0.5)
    assert solution.rms_px <= solution.held_out_px <= 0.1
    assert straightness_px(true, solution.calibration, np.concatenate([v.points for v in views])) <= 0.3
    assert solution.coverage.share > 0.5


def test_the_solution_says_what_it_was_made_of(exact_views: ExactViews) -> None:
    views = exact_views(BARREL, 7)
    solution = solved(views, CHESSBOARD, "pinhole")
    assert (solution.calibration.serial, solution.made_utc, solution.lens) == ("40012345", MADE, "pinhole")
    assert solution.calibration.image_hw == (600, 800)
    assert solution.board == parse_board(CHESSBOARD)
    assert [view.sighting for view in solution.views] == views
    assert list(solution.deviations) == ["fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3"]
    truth = list(poses(solution.board, BARREL, 7))
    for view, real in zip(solution.views, truth, strict=True):
        assert view.rotation == pytest.approx(real.rotation, abs=0.005)
        assert view.translation_mm == pytest.approx(real.translation_mm, abs=3)
        normal = np.asarray(cv2.Rodrigues(np.array(real.rotation))[0])[:, 2]
        assert view.tilt_deg == pytest.approx(math.degrees(math.acos(normal[2])), abs=0.3)
        assert view.rms_px == pytest.approx(math.sqrt((view.residuals**2).sum() / 54))


def test_the_same_views_give_the_same_answer(exact_views: ExactViews) -> None:
    one, other = (solved(exact_views(FISHEYE, 9), CHESSBOARD, "fisheye") for _ in range(2))
    assert one.calibration == other.calibration
    assert one.held_out_px == other.held_out_px


def test_held_out_views_are_measured_by_a_camera_that_has_not_seen_them(exact_views: ExactViews) -> None:
    """Against OpenCV's plain functions: leave out every fifth view, solve, place the others alone."""
    views = exact_views(BARREL, 10, noise_px=0.3)
    mm = object_points(parse_board(CHESSBOARD))
    squares = []
    for part in range(5):
        rest = [v.points for i, v in enumerate(views) if i % 5 != part]
        _, matrix, distortion, _, _ = cv2.calibrateCamera([mm] * len(rest), rest, (800, 600), np.eye(3), np.zeros(5))
        for view in views[part::5]:
            _, rotation, translation = cv2.solvePnP(mm, view.points, matrix, distortion)
            rotation, translation = cv2.solvePnPRefineLM(mm, view.points, matrix, distortion, rotation, translation)
            projected, _ = cv2.projectPoints(mm, rotation, translation, matrix, distortion)
            squares.append(((projected[:, 0] - view.points) ** 2).sum(axis=1))
    solution = solved(views, CHESSBOARD, "pinhole")
    assert solution.held_out_px == pytest.approx(math.sqrt(np.concatenate(squares).mean()), rel=0.002)
    assert solution.held_out_px > solution.rms_px


def test_with_too_few_views_to_hold_one_out_there_is_no_such_figure(exact_views: ExactViews) -> None:
    assert math.isnan(solved(exact_views(BARREL, 5), CHESSBOARD, "pinhole").held_out_px)
    assert solved(exact_views(BARREL, 6), CHESSBOARD, "pinhole").held_out_px > 0


@pytest.mark.parametrize(("true", "lens"), [(BARREL, "pinhole"), (FISHEYE, "fisheye")])
def test_standard_deviations_are_those_of_repeated_solves(
    exact_views: ExactViews, true: Calibration, lens: LensChoice
) -> None:
    found, claimed = [], []
    for seed in range(24):
        solution = solved(exact_views(true, 6, noise_px=0.2, seed=seed), CHESSBOARD, lens)
        found.append([*solution.calibration.matrix, solution.calibration.distortion[0]])
        claimed.append([solution.deviations[name] for name in ("fx", "fy", "cx", "cy", "k1")])
    # 24 solves know a deviation to about 15 %
    ratio = np.std(found, axis=0, ddof=1) / np.mean(claimed, axis=0)
    assert (abs(np.log(ratio)) < math.log(1.7)).all(), ratio


@pytest.mark.parametrize(("true", "lens"), [(BARREL, "pinhole"), (BARREL, "rational"), (FISHEYE, "fisheye")])
def test_a_bad_view_is_dropped_and_named_and_does_no_harm(
    exact_views: ExactViews, true: Calibration, lens: LensChoice
) -> None:
    views = exact_views(true, 12)
    views[3], views[8] = bent(views[3], 1.5), bent(views[8], 8.0)
    solution = solved(views, CHESSBOARD, lens)
    assert sorted(one.name for one in solution.dropped) == ["view03.png", "view08.png"]
    reason = re.compile(r"reprojection error [1-9]\d*\.\d\d px RMS, the other views allow \d\.\d\d px")
    assert all(reason.fullmatch(one.reason) for one in solution.dropped), solution.dropped
    assert [v.sighting.name for v in solution.views] == [v.name for i, v in enumerate(views) if i not in (3, 8)]
    assert solution.calibration.matrix == pytest.approx(true.matrix, abs=0.8)


@pytest.mark.parametrize("bad", [2, 5])
def test_a_view_that_breaks_the_fisheye_solver_is_found_and_named(exact_views: ExactViews, bad: int) -> None:
    views = exact_views(FISHEYE, 9)
    views[bad] = replace(views[bad], points=np.random.default_rng(1).permutation(views[bad].points))
    solution = solved(views, CHESSBOARD, "fisheye")
    assert [one.name for one in solution.dropped] == [f"view{bad:02}.png"]
    assert solution.calibration.matrix == pytest.approx(FISHEYE.matrix, abs=1)


def test_a_view_at_the_rim_of_a_fisheye_is_used_although_opencv_cannot_place_it(exact_views: ExactViews) -> None:
    """74 degrees off the axis, towards a corner: the solver's guess of the lens ends nearer, and it complains."""
    turn = np.asarray(cv2.Rodrigues(np.radians(74) * np.array([-0.6, 0.8, 0.0]))[0])
    points = object_points(parse_board(CHESSBOARD))
    seen = project(points, FISHEYE, pose(turn, turn @ (np.array([0, 0, 600]) - points.mean(axis=0)))).astype(np.float32)
    views = [*exact_views(FISHEYE, 8), Sighting("rim.png", FISHEYE.image_hw, np.arange(54), seen)]
    solution = solved(views, CHESSBOARD, "fisheye")
    assert solution.dropped == ()
    assert solution.calibration.matrix == pytest.approx(FISHEYE.matrix, abs=0.5)
    assert solution.views[-1].rms_px < 0.1


@pytest.mark.parametrize("seed", range(6))
def test_a_rational_lens_has_no_pole_in_the_picture(exact_views: ExactViews, seed: int) -> None:
    """Left alone, two of these six solves tear a ring of 18 and 41 px into the picture, at an RMS of 0.07 px."""
    camera = solved(exact_views(RATIONAL, 12, seed=seed), CHESSBOARD, "rational").calibration
    radii = np.linspace(0, 0.9, 4000)
    rays = np.column_stack([radii, np.zeros(4000), np.ones(4000)])
    steps = np.diff(project(rays, camera, Pose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))[:, 0])
    truth = np.diff(project(rays, RATIONAL, Pose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))[:, 0])
    seen = radii[1:] < 0.6
    assert steps.min() > 0
    assert steps[seen] == pytest.approx(truth[seen], rel=0.05)


def test_pictures_of_many_other_things_are_refused_by_the_fisheye_solver(exact_views: ExactViews) -> None:
    shuffle = np.random.default_rng(1).permutation
    views = [replace(v, points=shuffle(v.points)) for v in exact_views(FISHEYE, 8)]
    with pytest.raises(CalibrationRefused, match=r"cannot solve for a fisheye lens|views do not fit the others"):
        solved(views, CHESSBOARD, "fisheye")


def test_views_that_differ_only_by_their_noise_are_all_kept(exact_views: ExactViews) -> None:
    views = [bent(v, 0.5 + 0.1 * (i % 4)) for i, v in enumerate(exact_views(BARREL, 12))]
    assert solved(views, CHESSBOARD, "pinhole").dropped == ()


def test_views_of_which_no_pose_can_be_had_are_dropped_with_a_reason(exact_views: ExactViews) -> None:
    views = exact_views(BARREL, 8)
    row = np.arange(9)
    views[2] = replace(views[2], ids=row, points=views[2].points[row])
    views[5] = replace(views[5], ids=row[:5], points=views[5].points[:5])
    solution = solved(views, CHESSBOARD, "pinhole")
    assert {one.name: one.reason for one in solution.dropped} == {
        "view02.png": "its 9 points lie on one line of the board",
        "view05.png": "5 points of the board, at least 6 needed",
    }


def test_partial_views_count_by_their_own_points(exact_views: ExactViews) -> None:
    views = [replace(v, ids=v.ids[n % 20 :], points=v.points[n % 20 :]) for n, v in enumerate(exact_views(FISHEYE, 10))]
    solution = solved(views, CHESSBOARD, "fisheye")
    assert [len(v.residuals) for v in solution.views] == [54 - n for n in range(10)]
    assert solution.calibration.matrix == pytest.approx(FISHEYE.matrix, abs=1)


@pytest.mark.parametrize("lens", ["pinhole", "rational", "fisheye"])
def test_too_few_views_are_refused_with_the_number_that_is_needed(exact_views: ExactViews, lens: LensChoice) -> None:
    views = exact_views(FISHEYE if lens == "fisheye" else BARREL, FEWEST_VIEWS[lens] - 1)
    reason = f"{len(views)} usable views of the board, a {lens} lens needs at least {FEWEST_VIEWS[lens]}"
    with pytest.raises(CalibrationRefused, match=reason):
        solved(views, CHESSBOARD, lens)


def test_too_few_views_after_a_bad_one_names_it(exact_views: ExactViews) -> None:
    views = exact_views(BARREL, 5)
    views[1] = bent(views[1], 6.0)
    with pytest.raises(CalibrationRefused, match=r"4 usable views .*; dropped view01.png: reprojection error"):
        solved(views, CHESSBOARD, "pinhole")


def test_when_many_views_do_not_fit_nobody_can_say_which_are_wrong(exact_views: ExactViews) -> None:
    views = [bent(v, 9.0) if i in (1, 2, 4, 7, 8) else v for i, v in enumerate(exact_views(BARREL, 12))]
    with pytest.raises(CalibrationRefused, match=r"5 of 12 views do not fit the others.*chessboard:9x6:25mm"):
        solved(views, CHESSBOARD, "pinhole")


def test_no_view_at_all_is_refused_with_what_to_look_at() -> None:
    with pytest.raises(CalibrationRefused, match=r"found in none of the pictures; compare --board"):
        solved([], CHESSBOARD, "pinhole")


def test_pictures_of_two_sizes_are_refused_by_name(exact_views: ExactViews) -> None:
    views = exact_views(BARREL, 6)
    views[4] = replace(views[4], image_hw=(480, 640))
    with pytest.raises(CalibrationRefused, match=r"view00.png is 800x600 and view04.png is 640x480"):
        solved(views, CHESSBOARD, "pinhole")


def flat_views(true: Calibration, tilt_deg: float, away_mm: float, noise_px: float) -> list[Sighting]:
    """The board shifted, raised and turned about the optical axis, always in parallel planes."""
    points, random, views = object_points(parse_board(CHESSBOARD)), np.random.default_rng(3), []
    tilted = cv2.Rodrigues(np.array([math.radians(tilt_deg), 0.0, 0.0]))[0]
    for n in range(12):
        rotation = tilted @ cv2.Rodrigues(np.array([0.0, 0.0, 0.3 * n]))[0]
        middle = np.array([60 * math.cos(2 * n), 40 * math.sin(2 * n), away_mm * (1 + 0.1 * (n % 3))])
        pixels = project(points, true, pose(rotation, middle - rotation @ points.mean(axis=0)))
        pixels += random.normal(0, noise_px, pixels.shape)
        views.append(Sighting(f"view{n:02}.png", true.image_hw, np.arange(54), pixels.astype(np.float32)))
    return views


@pytest.mark.parametrize("noise_px", [0.02, 0.2])
@pytest.mark.parametrize("tilt_deg", [0, 25])
@pytest.mark.parametrize(("true", "lens", "away_mm"), [(BARREL, "pinhole", 600), (FISHEYE, "fisheye", 320)])
def test_parallel_boards_are_refused_because_they_leave_the_focal_length_open(
    true: Calibration, lens: LensChoice, away_mm: float, tilt_deg: float, noise_px: float
) -> None:
    with pytest.raises(CalibrationRefused, match=r"leaves? the focal length open.*tilted"):
        solved(flat_views(true, tilt_deg, away_mm, noise_px), CHESSBOARD, lens)


def test_the_same_picture_many_times_is_refused(exact_views: ExactViews) -> None:
    first = exact_views(BARREL, 1)[0]
    with pytest.raises(CalibrationRefused, match="almost the same way in all 8 views"):
        solved([replace(first, name=f"{n}.png") for n in range(8)], CHESSBOARD, "pinhole")


def test_progress_goes_forward_and_reaches_its_end(exact_views: ExactViews) -> None:
    told: list[tuple[str, int, int]] = []
    views = exact_views(BARREL, 12)
    views[3] = bent(views[3], 2.0)
    solve(views, parse_board(CHESSBOARD), "pinhole", "", lambda *step: told.append(step), MADE)
    assert told == [
        *[("solving", 0, 1), ("solving", 1, 2), ("solving", 2, 2)],
        *[("leaving views out", n, 5) for n in range(6)],
    ]


def real_views(folder: Path, side: str) -> list[Sighting]:
    board = parse_board(CHESSBOARD)
    files = sorted((folder / "checkerboard_9x6").glob(f"{side}*.jpg"))
    found = [find_board(as_gray(np.asarray(cv2.imread(str(file))), "BGR8"), board, file.name) for file in files]
    return [sighting for sighting in found if sighting]


@pytest.mark.realdata
def test_opencvs_left_pictures_agree_with_its_reference(real: Path) -> None:
    views = real_views(real, "left")
    assert len(views) == 13
    solution = solved(views, CHESSBOARD, "pinhole")
    assert solution.dropped == ()
    assert solution.rms_px <= 0.25
    assert solution.held_out_px <= 0.25
    reference = load_calibration(real / "checkerboard_9x6" / "left_intrinsics.yml")
    assert solution.calibration.matrix == pytest.approx(reference.matrix, rel=0.01)
    seen = np.concatenate([view.points for view in views])
    ours, theirs = undistorted(seen, solution.calibration), undistorted(seen, reference)
    assert np.quantile(np.linalg.norm(ours - theirs, axis=1), 0.9) <= 0.5
    # the rest is the half percent of focal length and the pixel of principal point by which the two cameras differ,
    # and the turn that makes up for it: a homography. What bends lines differs by less.
    plane, _ = cv2.findHomography(ours, theirs)
    aligned = cv2.perspectiveTransform(ours[:, None], plane)[:, 0]
    assert np.linalg.norm(aligned - theirs, axis=1).max() <= 0.5


@pytest.mark.realdata
def test_opencvs_right_pictures_agree_with_calibrate_camera(real: Path) -> None:
    views = real_views(real, "right")
    assert len(views) == 13
    solution = solved(views, CHESSBOARD, "pinhole")
    mm = object_points(parse_board(CHESSBOARD))
    rms, matrix, _, _, _ = cv2.calibrateCamera(
        [mm] * 13, [view.points for view in views], (640, 480), np.eye(3), np.zeros(5)
    )
    assert camera_matrix(solution.calibration) == pytest.approx(matrix, rel=0.001)
    assert solution.rms_px == pytest.approx(rms, rel=0.001)


@pytest.mark.realdata
def test_a_rational_lens_and_a_fisheye_solve_the_real_pictures_too(real: Path) -> None:
    views = real_views(real, "left")
    for lens in ("rational", "fisheye"):
        assert solved(views, CHESSBOARD, lens).held_out_px <= 0.25
