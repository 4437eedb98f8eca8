"""Our figures against pycocotools and scikit-learn, each fed by itself from the same files."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from evaluate_rig import guessed, picture, seen, subject, truth
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn import metrics

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Classification, Criteria, Detections, Limits, Measurement
from edge_inspector.engine.bundle import find_bundle, load_bundle
from edge_inspector.engine.evaluate import bundle_alone, evaluated, with_good
from edge_inspector.engine.evaluate.assess import assess
from edge_inspector.engine.evaluate.coco import coco_figures
from edge_inspector.engine.evaluate.curves import auroc, average_precision, curve
from edge_inspector.engine.evaluate.looking import Seen
from edge_inspector.engine.truth import Truth, read_truth

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CLOSE = 1e-6
realdata = pytest.mark.realdata


def folder(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not on this machine")
    return DATA / name


def cocos_word(ground_truth: dict, found: list[dict], kind: str) -> list[float]:
    """AP and AP50 of all, then AP50 of each category in the order of its id, as pycocotools is meant to be used."""
    with contextlib.redirect_stdout(io.StringIO()):
        ours = COCO()
        ours.dataset = json.loads(json.dumps(ground_truth))
        ours.createIndex()
        for row in found:
            if "segmentation" in row:
                row["segmentation"] = ours.annToRLE(row)
        run = COCOeval(ours, ours.loadRes(found), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][0, :, :, 0, -1]
    return [*run.stats[:2], *(float(column[column > -1].mean()) for column in precision.T)]


def as_results(looks: list[Seen], ids: dict[str, int], category: dict[int, int], outlines: bool = False) -> list[dict]:
    rows = []
    for one in looks:
        for i in range(len(one.findings)):
            x1, y1, x2, y2 = (float(v) for v in one.findings.xyxy[i])
            row = {
                "image_id": ids[one.picture.name],
                "category_id": category[int(one.findings.class_id[i])],
                "score": float(one.findings.confidence[i]),
            }
            if outlines:
                row["segmentation"] = [one.findings.regions[i].outline.ravel().tolist()]
            else:
                row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            rows.append(row)
    return rows


def compared_parts(made, looks: list[Seen]) -> None:
    """Part figures against scikit-learn, from scores collected anew; a class is told from good parts."""
    for c, figures in enumerate(made.classes):
        rows = [
            (figures.name in names, one.findings.confidence[one.findings.class_id == c].max(initial=0))
            for one in looks
            if figures.name in (names := {thing.class_name for thing in one.picture.things}) or not names
        ]
        assert 0 < sum(row[0] for row in rows) < len(rows)
        assert figures.auroc == pytest.approx(metrics.roc_auc_score(*zip(*rows, strict=True)), abs=CLOSE)
    bad = [bool(one.picture.things) for one in looks]
    scores = [float(one.findings.confidence.max(initial=0)) for one in looks]
    assert made.auroc == pytest.approx(metrics.roc_auc_score(bad, scores), abs=CLOSE)
    assert made.average_precision == pytest.approx(metrics.average_precision_score(bad, scores), abs=CLOSE)


@realdata
@pytest.mark.parametrize("every", [24, pytest.param(1, marks=pytest.mark.heavy)])
def test_the_demo_model_on_real_boards(tmp_path: Path, every: int) -> None:
    pcb = folder("pcb") / "test"
    told = json.loads((pcb / "annotations_coco.json").read_text())
    told["images"] = told["images"][::every]
    kept = {image["id"] for image in told["images"]}
    told["annotations"] = [label for label in told["annotations"] if label["image_id"] in kept]
    (tmp_path / "some.json").write_text(json.dumps(told))
    labels = with_good(
        read_truth(tmp_path / "some.json", pcb / "images"), sorted((pcb / "templates").iterdir())[::every]
    )
    bundle = load_bundle(find_bundle(Path("pcb-demo"), tmp_path))
    made = evaluated(bundle_alone(bundle), OnnxRuntimeBackend(Config(threads=1, warm_up_runs=1)), labels)
    looks = [one for part in made.parts for one in part.seen]
    ids = {image["file_name"]: image["id"] for image in told["images"]}
    for one in looks:
        if one.picture.name not in ids:
            ids[one.picture.name] = max(ids.values()) + 1
            told["images"].append({"id": ids[one.picture.name], "file_name": one.picture.name})
    by_name = {category["name"]: category["id"] for category in told["categories"]}
    category = {c: by_name[name] for c, name in enumerate(bundle.classes)}
    theirs = cocos_word(told, as_results(looks, ids, category), "bbox")
    assert made.report.map50_95 == pytest.approx(theirs[0], abs=CLOSE)
    assert made.report.map50 == pytest.approx(theirs[1], abs=CLOSE)
    in_order = [bundle.classes.index(c["name"]) for c in sorted(told["categories"], key=lambda c: c["id"])]
    assert [made.report.classes[c].ap50 for c in in_order] == pytest.approx(theirs[2:], abs=CLOSE)
    assert made.report.map50 > 0.7  # the real model, not an empty list against an empty list
    compared_parts(made.report, looks)


@realdata
def test_a_poor_guess_at_real_steel() -> None:
    """VOC labels, read once by us and once by a few lines of regular expressions."""
    steel = folder("steel")
    labels = read_truth(steel / "annotations_voc", steel / "images")
    pictures = labels.pictures[::6]
    rng = np.random.default_rng(7)
    looks = [seen(one, guessed(one, labels.classes, (200, 200), rng, False), (200, 200)) for one in pictures]
    looks += [seen(picture(f"empty {i}"), Detections.none(), (200, 200)) for i in range(5)]
    of = subject(labels.classes)
    made = assess(looks, Truth(labels.source, "voc", labels.classes, tuple(one.picture for one in looks)), of).report
    ids = {one.picture.name: i for i, one in enumerate(looks, start=1)}
    told: dict = {"images": [{"id": i} for i in ids.values()], "categories": [], "annotations": []}
    told["categories"] = [{"id": i, "name": name} for i, name in enumerate(sorted(labels.classes), start=1)]
    for one in pictures:
        text = (steel / "annotations_voc" / one.name).with_suffix(".xml").read_text()
        things = re.findall(r"<object>.*?</object>", text, re.DOTALL)
        for thing in things:
            name = re.search(r"<name>(.*?)</name>", thing)[1]
            x1, y1, x2, y2 = (int(re.search(rf"<{c}>(\d+)<", thing)[1]) for c in ("xmin", "ymin", "xmax", "ymax"))
            width, height = x2 - x1 + 1, y2 - y1 + 1
            told["annotations"].append({
                "id": len(told["annotations"]) + 1,
                "image_id": ids[one.name],
                "category_id": sorted(labels.classes).index(name) + 1,
                "bbox": [x1 - 1, y1 - 1, width, height],
                "area": width * height,
                "iscrowd": 0,
            })  # fmt: skip
    category = {c: sorted(labels.classes).index(name) + 1 for c, name in enumerate(labels.classes)}
    theirs = cocos_word(told, as_results(looks, ids, category), "bbox")
    assert [made.map50_95, made.map50] == pytest.approx(theirs[:2], abs=CLOSE)
    assert 0.05 < theirs[1] < 0.95
    compared_parts(made, looks)


@realdata
def test_the_classes_of_real_steel() -> None:
    """Each file is named after its class; the scores are drawn, and lean to the truth."""
    steel = folder("steel")
    rng = np.random.default_rng(3)
    names = sorted({path.name.rpartition("_")[0] for path in (steel / "images").iterdir()})
    pictures = [
        picture(path.name, classes=(path.name.rpartition("_")[0],), things=None)
        for path in sorted((steel / "images").iterdir())
    ]
    classes = [names.index(one.classes[0]) for one in pictures]
    logits = rng.normal(0, 1, (len(pictures), len(names)))
    logits[np.arange(len(pictures)), classes] += 1.0
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    looks = [seen(one, Classification(row)) for one, row in zip(pictures, scores, strict=True)]
    made = assess(looks, truth(pictures), subject(names, task="classify", good=[0])).report
    whole, best = made.whole, scores.argmax(axis=1)
    assert whole is not None
    assert made.confusion is not None
    assert whole.accuracy == pytest.approx(metrics.accuracy_score(classes, best), abs=CLOSE)
    assert whole.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(classes, best), abs=CLOSE)
    assert whole.macro_f1 == pytest.approx(metrics.f1_score(classes, best, average="macro"), abs=CLOSE)
    for k in (2, 3, 5):
        theirs = metrics.top_k_accuracy_score(classes, scores, k=k)
        assert whole.top_k[str(k)] == pytest.approx(theirs, abs=CLOSE)
    assert np.array_equal(made.confusion.counts, metrics.confusion_matrix(classes, best))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(classes, best)
    for c, one in enumerate(whole.classes):
        assert (one.precision, one.recall, one.f1) == pytest.approx((precision[c], recall[c], f1[c]), abs=CLOSE)
        own = metrics.roc_auc_score(np.array(classes) == c, scores[:, c])
        assert one.auroc == pytest.approx(own, abs=CLOSE)
    assert 0.2 < whole.accuracy < 0.9


@realdata
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11 under NumPy 2
def test_a_poor_guess_at_the_outlines_of_real_wear(tmp_path: Path) -> None:
    wear = folder("ballscrew")
    told: dict = {"images": [], "categories": [{"id": 1, "name": "Pitting"}], "annotations": []}
    for number, path in enumerate(sorted((wear / "labels_labelme").glob("*.json"))[:3], start=1):
        drawn = json.loads(path.read_text())
        size = {"height": drawn["imageHeight"], "width": drawn["imageWidth"]}
        told["images"].append({"id": number, "file_name": drawn["imagePath"], **size})
        for shape in drawn["shapes"]:
            points = np.array(shape["points"]).clip(0, [size["width"], size["height"]])
            x, y = points.min(axis=0)
            w, h = points.max(axis=0) - (x, y)
            told["annotations"].append({
                "id": len(told["annotations"]) + 1,
                "image_id": number,
                "category_id": 1,
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": 0,
                "segmentation": [points.ravel().tolist()],
            })  # fmt: skip
    (tmp_path / "wear.json").write_text(json.dumps(told))
    labels = read_truth(tmp_path / "wear.json", wear / "images")
    rng = np.random.default_rng(5)
    looks = [seen(one, guessed(one, labels.classes, one.hw, rng, True), one.hw) for one in labels.pictures if one.hw]
    made = assess(looks, labels, subject(labels.classes, task="segment")).report
    ids = {image["file_name"]: image["id"] for image in told["images"]}
    assert made.masks is not None
    theirs = cocos_word(told, as_results(looks, ids, {0: 1}, outlines=True), "segm")
    assert [made.masks.map50_95, made.masks.map50] == pytest.approx(theirs[:2], abs=CLOSE)
    theirs = cocos_word(told, as_results(looks, ids, {0: 1}), "bbox")
    assert [made.map50_95, made.map50] == pytest.approx(theirs[:2], abs=CLOSE)
    flat: tuple[list, list] = ([], [])
    for one in looks:
        loud = one.findings.pick(one.findings.confidence >= np.float32(0.5))
        for pixels, polygons in (
            (flat[0], [p for thing in one.picture.things for p in thing.polygons]),
            (flat[1], [region.outline for region in loud.regions]),
        ):
            pixels.append(filled(polygons, one.hw).ravel())
    labelled, found = (np.concatenate(pixels) for pixels in flat)
    assert made.masks.mean_iou == pytest.approx(metrics.jaccard_score(labelled, found), abs=CLOSE)
    assert made.masks.mean_dice == pytest.approx(metrics.f1_score(labelled, found), abs=CLOSE)
    assert 0.1 < made.masks.mean_iou < 0.95


def filled(polygons: list, hw: tuple[int, int]) -> np.ndarray:
    """As COCO fills them, each by itself."""
    owner = COCO()
    owner.imgs = {1: {"height": hw[0], "width": hw[1]}}
    pixels = np.zeros(hw, np.uint8)
    for polygon in polygons:
        flat = np.asarray(polygon, np.float64).ravel().tolist()
        pixels |= owner.annToMask({"image_id": 1, "segmentation": [flat]})
    return pixels


def test_scores_with_ties_are_ranked_as_scikit_learn_ranks_them() -> None:
    rng = np.random.default_rng(11)
    for _ in range(20):
        scores = rng.integers(0, 6, 40) / 5
        bad = rng.random(40) < 0.4
        bad[:2] = True, False
        assert auroc(scores, bad) == pytest.approx(metrics.roc_auc_score(bad, scores), abs=CLOSE)
        theirs = metrics.average_precision_score(bad, scores)
        assert average_precision(scores, bad) == pytest.approx(theirs, abs=CLOSE)


def test_one_kind_alone_has_no_auroc() -> None:
    scores = np.array([0.1, 0.9])
    assert auroc(scores, np.array([True, True])) is None
    assert auroc(scores, np.array([False, False])) is None
    assert average_precision(scores, np.array([False, False])) is None


def test_the_curve_of_a_class_is_scikit_learns() -> None:
    """Every label is found by some detection, and so recall counts the same in both."""
    rng = np.random.default_rng(13)
    scores = rng.random(150).round(2)
    right = rng.random(150) < 0.5
    made = curve(scores, right, int(right.sum()))
    assert made is not None
    drawn, best, at = made
    precision, recall, thresholds = metrics.precision_recall_curve(right, scores)
    assert drawn.confidence == pytest.approx(thresholds[::-1], abs=CLOSE)
    assert drawn.precision == pytest.approx(precision[-2::-1], abs=CLOSE)
    assert drawn.recall == pytest.approx(recall[-2::-1], abs=CLOSE)
    assert best == pytest.approx(metrics.f1_score(right, scores >= at), abs=CLOSE)
    assert best == pytest.approx(max(metrics.f1_score(right, scores >= t) for t in thresholds), abs=CLOSE)


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    scores = np.linspace(0.1, 0.9, 1000)
    drawn, _, _ = curve(scores, scores > 0.5, 600)
    assert len(drawn.confidence) == 200
    assert (drawn.confidence[0], drawn.confidence[-1]) == pytest.approx((0.9, 0.1))


def test_the_errors_of_values_are_scikit_learns() -> None:
    rng = np.random.default_rng(17)
    labelled = rng.normal(5, 2, 60)
    measured = labelled + rng.normal(0.2, 0.5, 60)
    of = subject(["gap"], task="measure", criteria=Criteria(("gap",), limits=(Limits(3, 7, "mm"),)))
    looks = [
        seen(picture(str(i), values={"gap": one}, things=None), Measurement((value,)))
        for i, (one, value) in enumerate(zip(labelled.tolist(), measured.tolist(), strict=True))
    ]
    made = assess(looks, truth([one.picture for one in looks]), of).report
    (gap,) = made.values
    assert gap.mae == pytest.approx(metrics.mean_absolute_error(labelled, measured), abs=CLOSE)
    assert gap.rmse == pytest.approx(metrics.mean_squared_error(labelled, measured) ** 0.5, abs=CLOSE)
    assert gap.worst == pytest.approx(metrics.max_error(labelled, measured), abs=CLOSE)
    assert gap.r2 == pytest.approx(metrics.r2_score(labelled, measured), abs=CLOSE)
    bad = (labelled < 3) | (labelled > 7)
    rejected = (measured < 3) | (measured > 7)
    kept, missed, over = (int(n) for n in (metrics.confusion_matrix(bad, rejected).ravel())[[0, 2, 1]])
    assert (made.escapes.count, made.overkill.count) == (missed, over)
    assert kept + over == made.overkill.total


def test_only_detections_of_ones_own_class_are_in_a_curve() -> None:
    """Worked by hand: of class a one label is found and one missed, and one detection is wrong."""
    looks = [
        seen(picture("1", "a", "b"), Detections(*_rows(([0, 0, 8, 8], 0.9, 0), ([10, 0, 18, 8], 0.8, 1)))),
        seen(picture("2", "a"), Detections(*_rows(([50, 50, 58, 58], 0.7, 0)))),
    ]
    figures = coco_figures(looks, subject(["a", "b"]).bundle, "bbox")
    assert figures.labelled == (2, 1)
    assert figures.scores[0].tolist() == pytest.approx([0.9, 0.7])
    assert figures.right[0].tolist() == [True, False]
    assert figures.right[1].tolist() == [True]


def test_confusion_tells_what_was_taken_for_what() -> None:
    looks = [
        seen(picture("1", "a", "a", "b"), Detections(*_rows(([0, 0, 8, 8], 0.9, 0), ([10, 0, 18, 8], 0.8, 1)))),
        seen(picture("2"), Detections(*_rows(([50, 50, 58, 58], 0.7, 1), ([70, 50, 78, 58], 0.2, 0)))),
        seen(picture("3", "b"), Detections(*_rows(([0, 4, 8, 12], 0.9, 1)))),  # IoU 1/3 is not the same thing
        seen(picture("4", "a"), Detections(*_rows(([0, 0, 8, 8], 0.9, 0), ([0, 0, 8, 8], 0.8, 1)))),  # one is too many
    ]
    made = assess(looks, truth([one.picture for one in looks]), subject(["a", "b"])).report
    assert made.confusion is not None
    assert made.confusion.names == ("a", "b", "nothing")
    assert made.confusion.counts == ((2, 1, 0), (0, 0, 2), (0, 3, 0))


def _rows(*rows: tuple[list[float], float, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([row[0] for row in rows], np.float32),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64),
    )
