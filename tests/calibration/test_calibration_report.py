"""The calibration report: what it says, that it needs nothing else, and the figures behind it."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from lenses import BARREL, FISHEYE, RATIONAL

from edge_inspector.calibration import plots
from edge_inspector.calibration.accuracy import budget, covariance, distorted, expected_error_px, lines, straightness
from edge_inspector.calibration.boards import parse_board
from edge_inspector.calibration.plane import fit_plane
from edge_inspector.calibration.projection import undistorted
from edge_inspector.calibration.records import Dropped, LensChoice, PlaneFit, Sighting, Solution
from edge_inspector.calibration.report import report_html, shown_view
from edge_inspector.calibration.solve import solve
from edge_inspector.calibration.summary import rows
from edge_inspector.datatypes import Calibration
from edge_inspector.errors import ConfigError

for _package in ("matplotlib", "jinja2"):
    pytest.importorskip(_package, reason="the report is of the extra calibrate")

BOARD = parse_board("chessboard:9x6:25mm")
HOSTILE = '<script>alert("x")</script>.png'
Exact = Callable[..., list[Sighting]]


def solved(sightings: list[Sighting], lens: LensChoice = "pinhole", board: str = "chessboard:9x6:25mm") -> Solution:
    return solve(sightings, parse_board(board), lens, "40123456", lambda *step: None, "2026-11-22T10:00:00.000Z")


@pytest.fixture(scope="module")
def solution(exact_views: Exact) -> Solution:
    return solved(exact_views(BARREL))


@pytest.fixture(scope="module")
def plane(solution: Solution) -> PlaneFit:
    return fit_plane(solution.views[0].sighting, BOARD, solution.calibration)


@pytest.fixture(scope="module")
def gray() -> np.ndarray:
    return np.tile(np.linspace(0, 255, 800).astype(np.uint8), (600, 1))


@pytest.fixture(scope="module")
def page(solution: Solution, plane: PlaneFit, gray: np.ndarray) -> str:
    dropped = (Dropped(HOSTILE, "no board & no light"), Dropped("view99.png", "reprojection error 3.20 px"))
    return report_html(replace(solution, dropped=dropped), plane, lambda name: gray)


class Page(HTMLParser):
    """Every element, and the text a reader sees."""

    VOID = ("meta", "img", "image", "polyline", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_needs_no_network_and_runs_no_script(page: str) -> None:
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.elements}
    asked = [value for _, found in parsed.elements for name, value in found.items() if name in ("src", "href")]
    assert len(asked) == 9
    assert all(str(value).startswith("data:image/") for value in asked)
    assert "url(" not in page
    assert "@import" not in page
    policy = next(meta["content"] for meta in parsed.of("meta") if "http-equiv" in meta)
    assert str(policy).startswith("default-src 'none'")


def test_what_comes_from_file_names_is_escaped(page: str) -> None:
    assert HOSTILE not in page
    assert HOSTILE in Page(page).text
    assert "no board & no light" in Page(page).text


def test_the_summary_says_the_figures(page: str, solution: Solution, plane: PlaneFit) -> None:
    text = Page(page).text
    fx, fy, cx, cy = solution.calibration.matrix
    for said in (
        "40123456", "800 x 600 px", "pinhole, k1 k2 p1 p2 k3", "chessboard:9x6:25mm (250 x 175 mm)",
        "12 used, 2 dropped", "2026-11-22T10:00:00.000Z", f"{solution.rms_px:.3f} px", f"{solution.held_out_px:.3f} px",
        f"{fx:.3f}", f"{fy:.3f}", f"{cx:.3f}", f"{cy:.3f}", f"± {solution.deviations['cx']:.3f}",
        f"{plane.mm_per_px:.4f} mm per px", "view99.png", "reprojection error 3.20 px", cv2.__version__,
    ):  # fmt: skip
        assert said in text, said


def test_advice_is_at_the_top(solution: Solution, gray: np.ndarray) -> None:
    perfect = replace(solution, coverage=replace(solution.coverage, advice=()))
    assert "Worth mending" not in Page(report_html(perfect, None, lambda name: gray)).text
    advice = "no view reaches the lower left corner"
    mended = replace(solution, coverage=replace(solution.coverage, advice=(advice,)))
    assert advice in Page(report_html(mended, None, lambda name: gray)).text.partition("Straight lines")[0]


def test_every_figure_has_words_for_those_who_cannot_see_it(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.of("img")) == 7
    assert all(len(str(image["alt"])) > 20 for image in parsed.of("img"))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in parsed.of("svg"))
    assert len(parsed.of("figcaption")) == len(parsed.of("figure")) == 9
    assert parsed.of("html")[0]["lang"] == "en"
    labelled = {section["aria-labelledby"] for section in parsed.of("section")}
    assert labelled == {heading["id"] for heading in parsed.of("h2")}
    assert all(header["scope"] in ("col", "row") for header in parsed.of("th"))


def test_every_plot_is_a_drawing_and_every_photo_a_picture_of_the_view(page: str) -> None:
    parsed = Page(page)
    sources = [str(image["src"]) for image in parsed.of("img")] + [str(image["href"]) for image in parsed.of("image")]
    kinds = [source.partition(";")[0] for source in sources]
    assert kinds.count("data:image/svg+xml") == 7
    for source in sources:
        content = base64.b64decode(source.partition(",")[2])
        if source.startswith("data:image/svg+xml"):
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
            assert decoded.shape == (600, 800)


def test_a_large_picture_is_made_smaller_but_its_lines_stay_in_its_pixels(exact_views: Exact) -> None:
    large = Calibration((1200, 1600), (1400.0, 1404.0, 810.6, 593.6), BARREL.distortion)
    found = Page(report_html(solved(exact_views(large)), None, lambda name: np.zeros((1200, 1600), np.uint8)))
    photo = next(image for image in found.of("image"))
    packed = base64.b64decode(str(photo["href"]).partition(",")[2])
    assert cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_GRAYSCALE).shape == (900, 1200)
    assert found.of("svg")[0]["viewbox"] == "0 0 1600 1200"
    ends = [float(v) for line in found.of("polyline") for v in re.split("[ ,]", str(line["points"]))]
    assert max(ends) > 1200


@pytest.mark.parametrize(
    ("board", "lens", "camera"),
    [
        pytest.param("chessboard:9x6:25mm", "rational", RATIONAL, id="rational"),
        pytest.param("chessboard:9x6:25mm", "fisheye", FISHEYE, id="fisheye"),
        pytest.param("charuco:5x7:30mm:22mm:DICT_6X6_250", "pinhole", BARREL, id="charuco"),
        pytest.param("circles:4x11:20mm", "pinhole", BARREL, id="circles"),
    ],
)
def test_every_lens_and_board_has_a_report(
    exact_views: Exact, gray: np.ndarray, board: str, lens: LensChoice, camera: Calibration
) -> None:
    found = solved(exact_views(camera, count=14, text=board), lens, board)
    said = Page(report_html(found, None, lambda name: gray)).text
    assert f"{lens}, k1" in said
    assert board in said
    assert "nan" not in said


def test_too_few_views_for_a_held_out_error_are_said_in_words(solution: Solution, gray: np.ndarray) -> None:
    said = Page(report_html(replace(solution, held_out_px=float("nan")), None, lambda name: gray)).text
    assert "too few views" in said
    assert "nan" not in said


def test_one_picture_is_asked_for_and_it_is_the_one_with_the_largest_board(
    solution: Solution, gray: np.ndarray
) -> None:
    asked: list[str] = []

    def picture_of(name: str) -> Any:
        asked.append(name)
        return gray

    report_html(solution, None, picture_of)
    areas = {v.sighting.name: cv2.contourArea(cv2.convexHull(v.sighting.points)) for v in solution.views}
    assert asked == [max(areas, key=lambda name: areas[name])] == [shown_view(solution).sighting.name]


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_its_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, solution: Solution, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package}, which is not installed.*'edge-inspector\[calibrate\]'"):
        report_html(solution, None, lambda name: np.zeros((600, 800), np.uint8))


@pytest.mark.parametrize(
    ("changes", "name", "rating"),
    [
        ({"rms_px": 0.3}, "RMS reprojection error", "good"),
        ({"rms_px": 0.31}, "RMS reprojection error", "fair"),
        ({"rms_px": 0.61}, "RMS reprojection error", "poor"),
        ({"rms_px": 0.1, "held_out_px": 0.12}, "Held-out error", "good"),
        ({"rms_px": 0.1, "held_out_px": 0.2}, "Held-out error", "poor"),
    ],
)
def test_figures_are_rated_as_the_page_says(
    solution: Solution, changes: dict[str, Any], name: str, rating: str
) -> None:
    changed = replace(solution, **changes)
    found = {row.name: row.rating for row in rows(changed, None, budget(changed, None))}
    assert found[name] == rating


def test_arrows_are_enlarged_by_a_round_number_that_is_said(page: str, solution: Solution) -> None:
    with plots.style():
        times = plots.residual_vectors(solution)[1]
    assert re.fullmatch("[125]0*", str(times))
    assert f"arrows {times} times enlarged" in Page(page).text


def test_the_deviations_of_the_covariance_are_the_solvers(solution: Solution) -> None:
    """OpenCV computes its standard deviations from its own Jacobians."""
    ours = np.sqrt(np.diag(covariance(solution)))
    assert ours == pytest.approx(list(solution.deviations.values()), rel=1e-3)


def test_the_expected_error_is_what_solving_again_scatters(exact_views: Exact) -> None:
    """Forty solves with other noise: a ray's place scatters by as much, once the camera's turn is taken up."""
    spots = np.array([[400.0, 300.0], [200.0, 150.0], [600.0, 450.0]])
    found = [solved(exact_views(BARREL, noise_px=0.1, seed=seed)) for seed in range(40)]
    said = np.mean([expected_error_px(one, spots) for one in found], axis=0)
    seen = np.concatenate([view.sighting.points for view in found[0].views]).astype(np.float64)
    off = []
    for one in found:
        truth, solved_rays = (_rays(np.concatenate([seen, spots]), camera) for camera in (BARREL, one.calibration))
        turn = _best_turn(solved_rays[: len(seen)], truth[: len(seen)])
        back = solved_rays[len(seen) :] @ turn.T
        off.append((back[:, :2] / back[:, 2:] - truth[len(seen) :, :2] / truth[len(seen) :, 2:]) * BARREL.matrix[:2])
    scattered = np.sqrt((np.array(off) ** 2).sum(axis=2).mean(axis=0))
    assert scattered == pytest.approx(said, rel=0.4)  # 40 solves know a deviation to some 11 % (one sigma)


def test_the_corner_is_less_certain_than_where_the_board_was(solution: Solution, plane: PlaneFit) -> None:
    made = budget(solution, plane)
    assert made.centre_px < made.covered_px < made.corner_px
    worst_px = expected_error_px(solution, plane.sighting.points.astype(np.float64)).max()
    assert made.plane_mm == pytest.approx(np.hypot(worst_px * plane.mm_per_px, plane.rms_mm))


def test_lines_of_the_board_are_bent_before_and_straight_after(solution: Solution) -> None:
    before, after = straightness(solution)
    assert before.rms_px > 0.2
    assert after.rms_px < 0.08  # the noise of the points is 0.05 px in x and in y
    assert after.worst_px < 0.3


def test_the_lines_of_a_partly_hidden_board_are_its_rows_and_columns(exact_views: Exact) -> None:
    """5x7 squares have 4 x 6 corners: without the last two rows 4 rows of 4 and 4 columns of 4 are left."""
    board = parse_board("charuco:5x7:30mm:22mm:DICT_6X6_250")
    whole = exact_views(BARREL, count=1, text="charuco:5x7:30mm:22mm:DICT_6X6_250")[0]
    part = replace(whole, ids=whole.ids[:16], points=whole.points[:16])
    found = list(lines(part, board))
    assert [len(line) for line in found] == [4] * 8
    assert np.array_equal(found[0], whole.points[:4])
    assert np.array_equal(found[4], whole.points[[0, 4, 8, 12]])


@pytest.mark.parametrize("camera", [BARREL, RATIONAL, FISHEYE], ids=["pinhole", "rational", "fisheye"])
def test_distorting_undoes_undistorting(camera: Calibration) -> None:
    pixels = np.random.default_rng(1).uniform((50, 50), (750, 550), (50, 2))
    assert distorted(undistorted(pixels, camera), camera) == pytest.approx(pixels, abs=1e-4)


def _rays(pixels: np.ndarray, camera: Calibration) -> np.ndarray:
    fx, fy, cx, cy = camera.matrix
    flat = np.column_stack([(undistorted(pixels, camera) - (cx, cy)) / (fx, fy), np.ones(len(pixels))])
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True))


def _best_turn(of: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Kabsch: the rotation that brings unit vectors nearest to others."""
    left, _, right = np.linalg.svd(onto.T @ of)
    return np.asarray(left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right)


@pytest.mark.realdata
def test_a_report_on_real_pictures(real: Path) -> None:
    from edge_inspector.calibration.pictures import picture_files, read_gray, seen_in

    files = picture_files([str(real / "checkerboard_9x6" / "left0*.jpg")])
    sightings, dropped = seen_in(files, BOARD, lambda *step: None)
    found = solved(sightings)
    by_name = {path.name: path for path in files}
    said = Page(report_html(found, None, lambda name: read_gray(by_name[name]))).text
    assert (len(found.views), dropped) == (9, [])
    assert "640 x 480 px" in said
    after = straightness(found)[1]
    assert after.rms_px < 0.15
