from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import networks
import numpy as np
import pytest
from evaluate_rig import boxes, picture, seen, subject, truth
from typer.testing import CliRunner

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.cli.main import app
from edge_inspector.datatypes import Calibration
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.engine.evaluate import bundle_alone, evaluated
from edge_inspector.engine.evaluate.assess import assess
from edge_inspector.engine.evaluate.page import report_html
from edge_inspector.engine.evaluate.pictures import worst
from edge_inspector.engine.truth import read_truth

BACKEND = OnnxRuntimeBackend(Config(threads=1, warm_up_runs=1))
GOLDEN = 3


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory):
    """Bundles of little networks by family, each made once; the pictures of their golden sets are judged rightly."""
    folder, made = tmp_path_factory.mktemp("bundles"), {}

    def bundle(family: str) -> Path:
        if family not in made:
            made[family] = networks.bundle(family, folder / family, golden=0 if family == "regression" else GOLDEN)
        return made[family]

    return bundle


def run(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


def figures(bundle: Path, *words: object, into: Path) -> dict:
    """The JSON report of the bundle on its golden set."""
    golden = bundle / "golden"
    code, out, err = run(bundle, "--truth", golden / "annotations_coco.json", "--report", into / "out.json", *words)
    assert code == 0, out + err
    return json.loads((into / "out.json").read_text())


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("yolo", {"whole": None, "masks": None, "task": "detect"}),
        ("yolo_seg", {"whole": None, "task": "segment"}),
        ("anomaly", {"whole": None, "boxes": {}, "confusion": None, "task": "anomaly"}),
        ("classifier", {"boxes": {}, "masks": None, "map50": None, "task": "classify"}),
    ],
)
def test_every_task_has_its_figures(bundles, tmp_path: Path, family: str, expected: dict) -> None:
    made = figures(bundles(family), "--wanted-escapes", 0.3, into=tmp_path)
    assert {key: made[key] for key in expected} == expected
    assert (made["escapes"]["count"], made["escapes"]["total"]) == (0, GOLDEN)
    assert (made["overkill"]["count"], made["overkill"]["total"]) == (0, GOLDEN)
    assert (made["auroc"], made["average_precision"]) == (1.0, 1.0)
    assert made["wanted"]["common"]["threshold"] is not None
    assert made["wrong"] == []
    if family == "classifier":
        assert made["whole"]["accuracy"] == 1.0
        assert made["whole"]["top_k"]["1"] == 1.0
        assert made["confusion"]["counts"] == [[3, 0, 0], [0, 1, 0], [0, 0, 2]]
    if family == "yolo":
        assert made["map50"] > 0.2


def test_outlines_are_compared_where_they_are_drawn(bundles, tmp_path: Path) -> None:
    """The same labels with round outlines in place of boxes alone: figures for pixels appear."""
    bundle = bundles("segmentation")
    golden = bundle / "golden"
    told = json.loads((golden / "annotations_coco.json").read_text())
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    for label in told["annotations"]:
        x, y, side, _ = label["bbox"]
        ring = np.stack([x + side / 2 + np.cos(angles) * side / 2, y + side / 2 + np.sin(angles) * side / 2], axis=1)
        label["segmentation"] = [ring.ravel().tolist()]
    (tmp_path / "drawn.json").write_text(json.dumps(told))
    labels = read_truth(tmp_path / "drawn.json", golden)
    made = evaluated(bundle_alone(load_bundle(bundle)), BACKEND, labels).report
    assert made.masks is not None
    assert made.masks.mean_iou is not None
    assert 0.2 < made.masks.mean_iou < 1
    assert made.classes[1].mask_iou is not None
    plain = evaluated(bundle_alone(load_bundle(bundle)), BACKEND, read_truth(golden / "annotations_coco.json")).report
    assert plain.masks is None
    assert "Not every label is drawn as a polygon: there are no figures for outlines." in plain.notes


def test_measured_values_are_compared_by_a_table(bundles, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = ["file,value.bright,value.dark,value.spare0"]
    for i in range(4):
        pixels, _ = networks.picture(rng, 64, 1, 250 if i == 3 else None)
        cv2.imwrite(str(tmp_path / f"{i}.png"), pixels)
        rows.append(f"{i}.png,{9 if i == 3 else 0},0,0")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    code, text, err = run(bundles("regression"), "--truth", tmp_path / "labels.csv", "--report", out, "--report", page)
    assert code == 0, err
    made = json.loads(out.read_text())
    assert [one["name"] for one in made["values"]] == ["bright", "dark", "spare0"]
    assert made["values"][0]["pictures"] == 4
    assert (made["escapes"]["total"], made["overkill"]["total"]) == (1, 3)
    assert "bright: mean absolute error" in text
    assert "bright: measured against labelled" in page.read_text()


def test_progress_is_told_picture_by_picture(bundles) -> None:
    bundle, told = load_bundle(bundles("yolo")), []
    labels = read_truth(bundle.golden.coco)
    evaluated(bundle_alone(bundle), BACKEND, labels, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 2 * GOLDEN) for i in range(1, 2 * GOLDEN + 1)]


def test_folders_of_classes_need_no_option(bundles, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for name, spot in (("good", None), ("bright", 250)):
        (tmp_path / name).mkdir()
        for i in range(2):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), networks.picture(rng, 64, 1, spot)[0])
    code, text, err = run(bundles("classifier"), "--truth", tmp_path)
    assert code == 0, err
    assert "accuracy 1.000" in text
    assert "escapes: 0 of 2 parts" in text
    assert "No part has a label of dark" in text


def test_another_threshold_changes_the_verdicts(bundles, tmp_path: Path) -> None:
    before = figures(bundles("anomaly"), into=tmp_path)
    after = figures(bundles("anomaly"), "--threshold", "anomaly=1.0", into=tmp_path)
    assert (before["escapes"]["count"], before["thresholds"]) == (0, {"anomaly": 0.5})
    assert after["thresholds"] == {"anomaly": 1.0}
    assert after["escapes"]["count"] > 0
    assert after["wrong"][0]["kind"] == "escape"


def test_pictures_of_one_part_are_put_together(bundles, tmp_path: Path) -> None:
    parts = tmp_path / "parts.csv"
    names = [f"{kind}_{i:03d}.png" for kind in ("good", "bad") for i in range(GOLDEN)]
    parts.write_text("file,part\n" + "".join(f"{name},{name[-5]}\n" for name in names))
    made = figures(bundles("yolo"), "--parts", parts, into=tmp_path)
    assert (made["parts"], made["bad_parts"], made["escapes"]["count"]) == (GOLDEN, GOLDEN, 0)
    assert "No part is good: nothing can be said of overkill." in made["notes"]


STATION = """\
schema = 1
[station]
name = "cell1"
recipe = "wheel"
[cameras.top]
type = "folder"
path = "."
[backend]
type = "onnxruntime"
[recipes.wheel]
number = 1
bundle = "BUNDLE"
thresholds = { bright = 0.6 }
views = [{ camera = "top" }]
[[recipes.wheel.rules]]
kind = "tolerate"
name = "glare"
classes = ["bright"]
[plc.line]
type = "opcua_server"
[publishers.plant]
type = "mqtt"
username = "cell1"
password_file = "not-on-this-machine"
"""


def test_a_recipe_judges_by_its_rules_and_thresholds(bundles, tmp_path: Path) -> None:
    """Bright spots are tolerated there: parts with one are good, and pass. Credentials are not needed."""
    bundle = bundles("yolo")
    station = tmp_path / "station.toml"
    station.write_text(STATION.replace("BUNDLE", str(bundle)))
    out = tmp_path / "out.json"
    labels = ("--truth", bundle / "golden" / "annotations_coco.json", "--report", out)
    code, text, err = run("--station", station, "--recipe", "wheel", *labels)
    assert code == 0, err
    made = json.loads(out.read_text())
    assert made["recipe"] == "wheel"
    assert made["thresholds"]["bright"] == 0.6
    assert (made["bad_parts"], made["parts"]) == (2, 2 * GOLDEN)  # dark, bright, dark
    assert (made["escapes"]["count"], made["overkill"]["count"]) == (0, 0)
    assert "by recipe wheel" in text
    assert any(sentence.startswith("glare: ") for sentence in made["judged_by"])


def test_an_empty_folder_of_good_pictures_is_told(bundles, tmp_path: Path) -> None:
    bundle = bundles("yolo")
    code, _, err = run(bundle, "--truth", bundle / "golden" / "annotations_coco.json", "--good", tmp_path)
    assert code == 2
    assert "holds no picture; give a folder of pictures of good parts" in err


def test_a_picture_of_a_calibrated_camera_is_shown_undistorted(tmp_path: Path) -> None:
    """A column of light beside the edge: the lens shows it nearer to the middle than it is."""
    pixels = np.zeros((100, 100), np.uint8)
    pixels[:, 83:86] = 255
    file = tmp_path / "bent.png"
    cv2.imwrite(str(file), pixels)
    bent = Calibration((100, 100), (100.0, 100.0, 49.5, 49.5), (-0.9, 0.0, 0.0, 0.0))
    one, of = seen(picture("bent", path=file), boxes((0, 0.9))), subject(["a"])
    columns = []
    for lens in (None, bent):
        looked = replace(of, plans={"": replace(of.plans[""], calibration=lens)})
        source = worst(assess([one], truth([one.picture]), looked), 1)[0].source.partition(",")[2]
        shown = cv2.imdecode(np.frombuffer(base64.b64decode(source), np.uint8), cv2.IMREAD_GRAYSCALE)
        columns.append(float(np.average(np.arange(100), weights=shown[50].astype(float))))
    assert columns[0] == pytest.approx(84, abs=0.5)
    assert columns[1] > 87


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["BUNDLE"], "--truth is missing"),
        (["--truth", "LABELS"], "nothing to evaluate; give a bundle, or --station and --recipe"),
        (["BUNDLE", "--truth", "LABELS", "--report", "out.pdf"], "is neither .json nor .html"),
        (["BUNDLE", "--truth", "LABELS", "--report", "no/where/out.json", "--report", "no/where/out.json"], "twice"),
        (["BUNDLE", "--truth", "LABELS", "--recipe", "a"], "--station and --recipe go together"),
        (["BUNDLE", "--truth", "LABELS", "--station", "STATION", "--recipe", "wheel"], "leave out"),
        (["--truth", "LABELS", "--station", "STATION", "--recipe", "x"], "has no recipe 'x'; it has wheel"),
        (["--truth", "LABELS", "--station", "STATION", "--recipe", "wheel", "--roi", "0,0,9,9"], "leave out --cal"),
        (["BUNDLE", "--truth", "LABELS", "--threshold", "bright"], "'bright' is not CLASS=X"),
        (["BUNDLE", "--truth", "LABELS", "--threshold", "bright=nan"], "'bright=nan' is not CLASS=X"),
        (["BUNDLE", "--truth", "LABELS", "--threshold", "glare=0.5"], "glare=0.5 is of no class"),
        (["BUNDLE", "--truth", "LABELS", "--wanted-escapes", "2"], "above 0 and below 1"),
        (["BUNDLE", "--truth", "LABELS", "--format", "voc"], "is not a folder, expected one of VOC labels"),
        (["BUNDLE", "--truth", "LABELS", "--images", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(
    bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = bundles("yolo")
    (tmp_path / "station.toml").write_text(STATION.replace("BUNDLE", str(bundle)))
    places = {"BUNDLE": bundle, "LABELS": bundle / "golden" / "annotations_coco.json", "STATION": "station.toml"}
    code, _, err = run(*(places.get(word, word) for word in words))
    assert code == 2
    assert told in err
    assert "Traceback" not in err


# --- the page ---------------------------------------------------------------------------------------------------------

EVIL = '<script>alert("1")</script>&$x$\x1b[31m'


class Page(HTMLParser):
    """Tags that are open, and what a page asks for."""

    VOID = ("meta", "img", "br", "image", "polygon")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


@pytest.fixture(scope="module")
def evil_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of two pictures whose names and classes mean harm."""
    file = tmp_path_factory.mktemp("evil") / "evil.png"
    cv2.imwrite(str(file), np.full((100, 100, 3), 80, np.uint8))
    one = picture(EVIL, EVIL, "划痕", path=file)
    other = picture("plain.png", path=file)
    looks = [seen(one, boxes((1, 0.9))), seen(other, boxes((0, 0.7), (1, 0.6)))]
    of = subject([EVIL, "划痕"])
    return report_html(assess(looks, truth([one, other]), of, 0.2))


def test_names_from_outside_stay_text_on_the_page(evil_page: str) -> None:
    page = Page(evil_page)
    assert page.open == []
    assert page.of("script") == []
    assert "\x1b" not in evil_page
    assert "&lt;script&gt;" in evil_page


def test_the_page_needs_nothing_else_and_may_load_nothing(evil_page: str) -> None:
    page = Page(evil_page)
    sources = [one["src"] for one in page.of("img")] + [one["href"] for one in page.of("image")]
    assert len(sources) >= 6
    assert all(source is not None and source.startswith("data:image/") for source in sources)
    assert "http" not in re.sub(r"data:image/[^\"]*", "", evil_page).replace("http-equiv", "")
    policy = [one for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    svg = base64.b64decode(str(page.of("img")[0]["src"]).partition(",")[2])
    assert b"<script" not in svg


def test_the_plots_have_names_in_every_script(evil_page: str) -> None:
    drawn = [base64.b64decode(str(one["src"]).partition(",")[2]).decode() for one in Page(evil_page).of("img")]
    assert sum("划痕" in svg for svg in drawn) >= 4  # histogram, two curves, confusion
    assert all("\x1b" not in svg for svg in drawn)


def test_worst_pictures_show_what_was_labelled_and_what_was_found(evil_page: str) -> None:
    page = Page(evil_page)
    kinds = [one["class"] for one in page.of("polygon")]
    assert (kinds.count("truth"), kinds.count("seen")) == (2, 3)
    assert [one["width"] for one in page.of("image")] == ["100", "100"]


def test_so_many_pictures_are_shown_as_are_asked_for(tmp_path: Path) -> None:
    """Escapes first, then overkill, then boxes that were missed in parts that were judged rightly."""
    file = tmp_path / "gray.png"
    cv2.imwrite(str(file), np.full((100, 100), 80, np.uint8))
    looks = [
        seen(picture("right", "a", path=file), boxes((0, 0.9))),
        seen(picture("one missed", "a", "b", path=file), boxes((0, 0.9))),
        seen(picture("two missed", "a", "b", "b", path=file), boxes((0, 0.9))),
        seen(picture("overkill", path=file), boxes((0, 0.9))),
        seen(picture("escape", "a", path=file), boxes((0, 0.2))),
    ]
    made = assess(looks, truth([one.picture for one in looks]), subject(["a", "b"]))
    names = ["escape", "overkill", "two missed", "one missed"]
    for count in (0, 2, 4, 50):
        assert [one.name for one in worst(made, count)] == names[:count]
    assert worst(made, 1)[0].lines == ("labelled: a", "seen: 0 at the thresholds, strongest a 0.200")
    assert worst(made, 1)[0].verdict == "escape: a bad part was judged OK"


def test_control_characters_do_not_reach_the_terminal(bundles, tmp_path: Path) -> None:
    name = "a\x1b]0;x\x07[red].png"
    cv2.imwrite(str(tmp_path / "a.png"), networks.picture(np.random.default_rng(5), 64, 1, 250)[0])
    (tmp_path / "a.png").rename(tmp_path / name)
    (tmp_path / "labels.csv").write_text(f"file,good\n{name},yes\n")
    code, text, err = run(bundles("yolo"), "--truth", tmp_path / "labels.csv")
    assert code == 0, err
    assert "overkill: a?]0;x?[red].png: NOT_OK" in text
    assert "\x1b" not in text
