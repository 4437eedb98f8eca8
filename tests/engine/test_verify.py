"""The gate at work: engines that are right, and engines that are wrong in every way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import networks
import numpy as np
import pytest
from doctored import Change, Doctored, Outputs

from edge_inspector import plugins
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.backends.openvino import Config as OpenVinoConfig
from edge_inspector.backends.openvino import OpenVinoBackend
from edge_inspector.datatypes import Classification, Detections, Measurement, Tensors, ThresholdState
from edge_inspector.engine import latency
from edge_inspector.engine.bundle import Bundle, load_bundle
from edge_inspector.engine.differences import FindingDifferences, TensorDifferences, matched
from edge_inspector.engine.golden import golden_pictures, golden_sum
from edge_inspector.engine.passport import Proof
from edge_inspector.engine.verify import is_of, prove
from edge_inspector.errors import BundleError, ConfigError, DeviceLostError, InferenceError

GOOD, BAD = 20, 20
FIRST_BAD = GOOD
"""The golden set is looked at in the order of its COCO file: good ones first."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.bundle("yolo", tmp_path_factory.mktemp("bundles") / "yolo", golden=GOOD)


@pytest.fixture
def bundle(shared: Path, tmp_path: Path) -> Bundle:
    shutil.copytree(shared, tmp_path / "yolo")
    return load_bundle(tmp_path / "yolo")


def proven(bundle: Bundle, change: Change, **how: object) -> Proof:
    backend = Doctored(change, **how)  # type: ignore[arg-type]
    proof = prove(bundle, backend, bundle.model_file())
    assert backend.open_models == 0, "the model was closed"
    return proof


def at(number: int, change: Callable[[np.ndarray], object]) -> Change:
    """Only the outputs of that picture are changed, in place."""

    def changed(run: int, outputs: Outputs) -> None:
        if run == number:
            change(outputs["output0"])

    return changed


def sees_nothing(output: np.ndarray) -> None:
    output[:, 4:] = 0


def sees_a_defect(output: np.ndarray) -> None:
    output[0, :, 0] = (32, 32, 16, 16, 0.9, 0, 0)


def test_onnx_runtime_is_equal_to_itself(bundle: Bundle) -> None:
    proof = proven(bundle, lambda number, outputs: None)
    assert (proof.outcome, proof.good, proof.bad, proof.pictures) == ("passed", GOOD, BAD, GOOD + BAD)
    assert (proof.flips, proof.overkill, proof.unanswered) == ((), 0, ())
    assert proof.tensors["output0"]["largest_difference"] == 0
    assert proof.detections["worst_iou"] == pytest.approx(1)
    assert (proof.detections["only_in_reference"], proof.detections["only_in_engine"]) == (0, 0)
    assert proof.detections["matched"] >= BAD
    assert proof.golden == golden_sum(bundle)
    assert proof.reference.startswith("onnxruntime ")
    assert proof.latency["default"].runs == latency.RUNS
    assert 0 < proof.latency["default"].median_ms <= proof.latency["default"].p99_ms


def test_an_engine_that_misses_one_defect_fails_and_the_picture_is_named(bundle: Bundle) -> None:
    proof = proven(bundle, at(FIRST_BAD + 5, sees_nothing))
    assert proof.outcome == "failed"
    (flip,) = proof.flips
    assert (flip.picture, flip.label, flip.escape) == ("bad_005.png", "bad", True)
    assert (flip.reference, flip.engine, flip.engine_text) == ("NOT_OK", "OK", "nothing found")
    assert flip.reference_text.endswith("in bad_005.png")
    assert "bad_005.png" in proof.text
    assert proof.detections["only_in_reference"] >= 1


def test_a_score_that_falls_below_its_threshold_is_shown_beside_it(bundle: Bundle) -> None:
    def fainter(output: np.ndarray) -> None:
        output[:, 4:] = np.minimum(output[:, 4:], 0.48)

    (flip,) = proven(bundle, at(FIRST_BAD, fainter)).flips
    assert flip.engine_text == "bright 0.480 of 0.50"


def test_an_engine_that_sees_a_defect_on_a_good_picture_fails(bundle: Bundle) -> None:
    proof = proven(bundle, at(3, sees_a_defect))
    assert (proof.outcome, proof.overkill) == ("failed", 1)
    assert [(flip.picture, flip.engine, flip.escape) for flip in proof.flips] == [("good_003.png", "NOT_OK", False)]
    assert proof.detections["only_in_engine"] == 1


def test_an_engine_that_gives_nan_on_a_good_picture_fails(bundle: Bundle) -> None:
    proof = proven(bundle, at(4, lambda output: output.fill(np.nan)))
    assert (proof.outcome, proof.overkill) == ("failed", 1)
    assert [flip.engine for flip in proof.flips] == ["UNDEFINED"]
    assert "good_004.png: engine: " in proof.unanswered[0]
    assert proof.tensors["output0"]["largest_difference"] == 0, "of the pictures that were answered"


def test_an_engine_that_dies_halfway_fails(bundle: Bundle) -> None:
    def dies(number: int, outputs: Outputs) -> None:
        if number >= GOOD // 2:
            raise InferenceError("the context is lost")

    proof = proven(bundle, dies)
    assert (proof.outcome, proof.overkill) == ("failed", GOOD // 2)
    assert len(proof.unanswered) == GOOD // 2 + BAD
    assert all("the context is lost" in text for text in proof.unanswered)
    assert proof.latency == {}


def test_an_engine_that_rejects_all_bad_ones_without_an_answer_is_not_proven(bundle: Bundle) -> None:
    def silent(number: int, outputs: Outputs) -> None:
        if FIRST_BAD <= number < FIRST_BAD + BAD:
            raise InferenceError("no answer")

    proof = proven(bundle, silent)
    assert (proof.outcome, proof.bad) == ("unverified", 0)


def test_a_lost_device_says_nothing_of_the_engine(bundle: Bundle) -> None:
    def lost(number: int, outputs: Outputs) -> None:
        if number == GOOD:
            raise DeviceLostError("the driver was reset")

    with pytest.raises(DeviceLostError, match="driver was reset"):
        proven(bundle, lost)


def test_what_differs_by_the_thresholds_of_a_recipe_differs(bundle: Bundle) -> None:
    def fainter(output: np.ndarray) -> None:
        output[:, 4:] = np.minimum(output[:, 4:], 0.7)

    strict = ThresholdState((0.9, 0.9, 0.9))
    assert proven(bundle, at(FIRST_BAD, fainter)).outcome == "passed"
    proof = prove(bundle, Doctored(at(FIRST_BAD, fainter)), bundle.model_file(), thresholds=[strict])
    assert (proof.outcome, proof.thresholds) == ("failed", (strict.by_class,))
    assert [(flip.picture, flip.engine_text) for flip in proof.flips] == [("bad_000.png", "bright 0.700 of 0.90")]


def test_a_proof_is_of_the_golden_set_and_the_thresholds_that_it_was_made_with(bundle: Bundle) -> None:
    strict, own = ThresholdState((0.9, 0.9, 0.9)), ThresholdState(bundle.default_thresholds)
    plain = prove(bundle, Doctored(), bundle.model_file())
    wide = prove(bundle, Doctored(), bundle.model_file(), thresholds=[strict, strict])
    assert [is_of(plain, bundle, wanted) for wanted in ([], [own], [strict])] == [True, True, False]
    assert [is_of(wide, bundle, wanted) for wanted in ([], [own], [own, strict])] == [True, True, True]
    edited(bundle, lambda coco: coco["annotations"].pop())
    assert not is_of(wide, bundle, [])


def test_what_is_edited_while_it_is_looked_at_is_not_proven(bundle: Bundle) -> None:
    def edits(number: int, outputs: Outputs) -> None:
        if number == FIRST_BAD:
            edited(bundle, lambda coco: coco["annotations"].pop())

    before = golden_sum(bundle)
    proof = proven(bundle, edits)
    assert (proof.golden, is_of(proof, bundle, [])) == (before, False)


def test_the_answer_to_the_picture_before_is_found_out(bundle: Bundle) -> None:
    before: list[Outputs] = []

    def late(number: int, outputs: Outputs) -> Outputs:
        before.append(outputs)
        return before[max(0, number - 1)]

    proof = proven(bundle, late)
    assert proof.outcome == "failed"
    assert [flip.picture for flip in proof.flips if flip.escape] == ["bad_000.png"]


def test_an_engine_with_other_outputs_is_compared_by_what_it_finds(bundle: Bundle) -> None:
    def with_an_empty_row(number: int, outputs: Outputs) -> Outputs:
        return {"output0": np.pad(outputs["output0"], [(0, 0), (0, 0), (0, 1)])}

    proof = proven(bundle, with_an_empty_row)
    assert proof.outcome == "passed"
    assert proof.tensors["output0"] == "not comparable: (1, 7, 84) in the reference, (1, 7, 85) in the engine"


def test_batch_sizes_are_those_at_which_no_verdict_changes(bundle: Bundle) -> None:
    def wrong_in_threes(number: int, outputs: Outputs) -> None:
        if len(outputs["output0"]) == 3:
            sees_nothing(outputs["output0"][1:2])

    proof = proven(bundle, wrong_in_threes, max_batch=4)
    assert (proof.outcome, proof.batch_sizes) == ("passed", (1, 2)), "not four: a view in seven tiles needs a run of 3"


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("wrong", ["two change places", "all are the first", "one is blind"])
def test_an_engine_that_mixes_up_the_pictures_of_a_run_gets_no_runs_of_several(
    bundle: Bundle, size: int, wrong: str
) -> None:
    """The golden set has all good pictures first: neighbours have the same verdict."""

    def mixed_up(number: int, outputs: Outputs) -> None:
        output = outputs["output0"]
        if len(output) != size:
            return
        if wrong == "two change places":
            output[[0, size - 1]] = output[[size - 1, 0]]
        elif wrong == "all are the first":
            output[1:] = output[:1]
        else:
            sees_nothing(output[:1])

    assert proven(bundle, mixed_up, max_batch=4).batch_sizes == tuple(range(1, size))


def test_a_device_that_is_lost_while_it_is_timed_has_proven_nothing(bundle: Bundle) -> None:
    def lost(number: int, outputs: Outputs) -> None:
        if number == GOOD + BAD + 3:
            raise DeviceLostError("the driver was reset")

    with pytest.raises(DeviceLostError, match="driver was reset"):
        proven(bundle, lost)


def test_one_picture_a_run_is_all_that_a_failed_engine_may(bundle: Bundle) -> None:
    assert proven(bundle, at(3, sees_a_defect), max_batch=2).batch_sizes == (1,)


def test_a_backend_that_prepares_pictures_itself_is_given_them_raw_and_one_at_a_time(bundle: Bundle) -> None:
    proof = proven(bundle, lambda number, outputs: None, prepares_on_device=True, max_batch=4)
    assert (proof.outcome, proof.batch_sizes) == ("passed", (1,))
    assert proof.latency["default"].runs == latency.RUNS
    assert proven(bundle, at(FIRST_BAD, sees_nothing), prepares_on_device=True).outcome == "failed"


def test_too_small_a_golden_set_proves_nothing_but_may_fail(tmp_path: Path) -> None:
    small = load_bundle(networks.bundle("yolo", tmp_path / "small", golden=3))
    proof = proven(small, lambda number, outputs: None, max_batch=2)
    assert (proof.outcome, proof.good, proof.bad, proof.batch_sizes) == ("unverified", 3, 3, (1,))
    assert "17 more good and 17 more bad pictures" in proof.text
    assert proven(small, at(4, sees_nothing)).outcome == "failed"


def test_no_golden_set_proves_nothing_but_the_engine_is_loaded_and_timed(tmp_path: Path) -> None:
    bare = load_bundle(networks.bundle("yolo", tmp_path / "bare"))
    proof = proven(bare, lambda number, outputs: None)
    assert (proof.outcome, proof.golden, proof.pictures) == ("unverified", "", 0)
    assert proof.latency["default"].runs == latency.RUNS


def test_an_engine_whose_outputs_are_not_the_familys_is_refused(bundle: Bundle) -> None:
    other = replace(bundle, decoder="classifier", task="classify")
    with pytest.raises(BundleError):
        prove(bundle, Doctored(), replace(bundle.model_file(), onnx_path=str(bundle.folder / "model.toml")))
    with pytest.raises(BundleError):
        prove(other, Doctored(), other.model_file())


def test_any_folder_of_pictures_can_be_compared_without_labels(bundle: Bundle) -> None:
    assert bundle.golden is not None
    backend = Doctored(at(0, sees_nothing))  # by name, bad_000.png comes first
    proof = prove(bundle, backend, bundle.model_file(), images=bundle.golden.images)
    assert (proof.outcome, proof.pictures, proof.golden) == ("failed", GOOD + BAD, "")
    assert [(flip.picture, flip.label) for flip in proof.flips] == [("bad_000.png", "")]
    proof = prove(bundle, Doctored(), bundle.model_file(), images=bundle.golden.images)
    assert (proof.outcome, proof.good, proof.bad) == ("passed", GOOD, BAD)


def test_a_folder_without_pictures_is_told(bundle: Bundle, tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="give a folder of pictures"):
            prove(bundle, Doctored(), bundle.model_file(), images=folder)


def test_a_picture_that_cannot_be_read_is_told(bundle: Bundle) -> None:
    assert bundle.golden is not None
    (bundle.golden.images / "good_007.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"good_007\.png"):
        prove(bundle, Doctored(), bundle.model_file())


def test_another_bundle_can_be_the_reference(bundle: Bundle, tmp_path: Path) -> None:
    original = load_bundle(networks.bundle("yolo", tmp_path / "original", seed=7))
    proof = prove(bundle, Doctored(), bundle.model_file(), against=original)
    assert proof.golden == "", "it is no proof of this bundle's own engine"
    assert proof.tensors["output0"]["largest_difference"] > 0
    assert proof.reference.endswith(", little-yolo 1.0.0")
    strange = load_bundle(networks.bundle("yolo", tmp_path / "strange", classes=2))
    with pytest.raises(ConfigError, match="compare bundles of the same classes"):
        prove(bundle, Doctored(), bundle.model_file(), against=strange)


@pytest.mark.parametrize("family", sorted(plugins.names("decoder")))
def test_every_family_can_be_proven_and_can_fail(family: str, tmp_path: Path) -> None:
    one = load_bundle(networks.bundle(family, tmp_path / family, golden=GOOD))
    backend = OnnxRuntimeBackend(Config(max_batch=2, warm_up_runs=1))
    proof = prove(one, backend, one.model_file())
    assert (proof.outcome, proof.batch_sizes, proof.flips) == ("passed", (1, 2), ())
    first: list[Outputs] = []

    def always_the_first(number: int, outputs: Outputs) -> Outputs:
        first.append(outputs)
        return first[0]

    proof = prove(one, Doctored(always_the_first), one.model_file())
    assert (proof.outcome, sum(flip.escape for flip in proof.flips)) == ("failed", BAD)


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino, which has no wheel for this Python yet")
def test_real_boards_have_the_same_verdicts_in_openvino(tmp_path: Path) -> None:
    boards = load_bundle(Path(__file__).parents[2] / "engines" / "pcb-demo")
    some = golden_pictures(boards)[::6]
    for picture in some:
        shutil.copy(picture.path, tmp_path)
    proof = prove(boards, OpenVinoBackend(OpenVinoConfig(warm_up_runs=1)), boards.model_file(), images=tmp_path)
    assert {picture.label for picture in some} == {"good", "bad"}
    assert (proof.outcome, proof.flips, proof.good + proof.bad) == ("unverified", (), len(some))
    assert 0 < proof.tensors["output0"]["largest_difference"] < 0.01  # px; another runtime, but float32
    assert proof.detections["worst_score_difference"] < 1e-4


# --- differences and the golden set


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def test_boxes_match_within_their_class_and_the_most_confident_chooses_first() -> None:
    a = boxes((0, 0, 10, 10, 0.5, 0), (0, 0, 10, 8, 0.9, 0), (50, 50, 60, 60, 0.9, 1))
    b = boxes((0, 0, 10, 8, 0.7, 0), (50, 50, 60, 60, 0.9, 2))
    assert matched(a, b) == [(1, 0, pytest.approx(1.0))]
    assert matched(a, boxes()) == []


def test_only_what_reaches_its_threshold_counts_as_a_finding() -> None:
    found = FindingDifferences((0.5, 0.8))
    found.add(
        boxes((0, 0, 10, 10, 0.6, 0), (20, 0, 30, 10, 0.4, 0), (40, 0, 50, 10, 0.79, 1)),
        boxes((0, 0, 10, 8, 0.45, 0), (60, 0, 70, 10, 0.81, 1)),
    )
    assert found.figures() == {
        "matched": 1,
        "worst_iou": pytest.approx(0.8),
        "worst_score_difference": pytest.approx(0.15),
        "only_in_reference": 0,
        "only_in_engine": 1,
    }


def test_scores_and_values_are_compared() -> None:
    found = FindingDifferences((0.5, 0.5))
    found.add(Classification(np.array([0.6, 0.4], np.float32)), Classification(np.array([0.45, 0.55], np.float32)))
    assert found.figures() == {"worst_score_difference": pytest.approx(0.15), "other_best_class": 1}
    values = FindingDifferences((1.0, 1.0))
    values.add(Measurement((1.0, 2.0)), Measurement((1.5, 2.25)))
    assert values.figures() == {"worst_value_difference": 0.5}


def test_tensors_of_half_precision_are_compared_in_double() -> None:
    found = TensorDifferences()
    found.add(Tensors({"a": np.array([1.0, -3.0], np.float32)}), Tensors({"a": np.array([1.5, -3.0], np.float16)}))
    found.add(Tensors({"a": np.array([0.0, 0.0], np.float32)}), Tensors({"a": np.array([0.25, 0.25], np.float16)}))
    assert found.figures() == {"a": {"largest_difference": 0.5, "mean_difference": 0.25, "largest_value": 3.0}}


def test_what_is_in_one_of_the_two_or_no_number_cannot_be_compared() -> None:
    found = TensorDifferences()
    nan = np.array([np.nan], np.float32)
    found.add(Tensors({"a": nan, "b": nan}), Tensors({"b": nan, "c": nan}))
    assert found.figures() == {
        "a": "not comparable: only the reference has this output",
        "b": "not comparable: it holds NaN or infinity",
        "c": "not comparable: only the engine has this output",
    }


def edited(bundle: Bundle, change: Callable[[dict], object]) -> Bundle:
    assert bundle.golden is not None
    coco = json.loads(bundle.golden.coco.read_text())
    change(coco)
    bundle.golden.coco.write_text(json.dumps(coco))
    return bundle


def test_the_sum_of_a_golden_set_changes_with_a_picture_and_with_a_label(bundle: Bundle) -> None:
    assert bundle.golden is not None
    sums = {golden_sum(bundle)}
    cv2.imwrite(str(bundle.golden.images / "good_000.png"), np.zeros((64, 96), np.uint8))
    sums.add(golden_sum(bundle))
    sums.add(golden_sum(edited(bundle, lambda coco: coco["annotations"].pop())))
    assert len(sums) == 3


def test_a_label_of_a_good_class_makes_no_bad_picture(tmp_path: Path) -> None:
    one = load_bundle(networks.bundle("classifier", tmp_path / "one", golden=2))
    assert one.criteria.good == {0}
    label = {"id": 99, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}
    edited(one, lambda coco: coco["annotations"].append(label))
    assert [picture.label for picture in golden_pictures(one)] == ["good", "good", "bad", "bad"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda coco: coco.pop("images"), "not a COCO file"),
        (lambda coco: coco["annotations"][0].update(image_id=999), "images that it does not list"),
        (lambda coco: coco["annotations"][0].update(category_id=999), "not a COCO file"),
        (lambda coco: coco["categories"][0].update(name="scratch"), "'scratch', expected bright, dark, spare0"),
        (lambda coco: coco["images"][0].update(file_name="lost.png"), r"missing in .*golden: lost\.png"),
        (lambda coco: coco["images"].append(coco["images"][0]), "listed twice"),
        (lambda coco: coco["images"][1].update(file_name="good_000.png"), "listed twice"),
    ],
)
def test_a_golden_set_that_is_wrong_is_told(bundle: Bundle, change: Callable[[dict], object], told: str) -> None:
    with pytest.raises(BundleError, match=told):
        golden_pictures(edited(bundle, change))


def test_the_power_mode_is_asked_of_nvpmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert latency.power_mode() == "default"
    said = tmp_path / "nvpmodel"
    said.write_text('#!/bin/sh\necho "NV Power Mode: MAXN_SUPER"\necho 2\n')
    said.chmod(0o755)
    assert latency.power_mode() == "MAXN_SUPER"
    said.write_text("#!/bin/sh\nexit 1\n")
    assert latency.power_mode() == "unknown"
