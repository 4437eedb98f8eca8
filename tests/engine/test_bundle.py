from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edge_inspector import plugins
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Criteria, InputSpec, Limits, PreparePlan
from edge_inspector.engine import bundle as module
from edge_inspector.engine.bundle import find_bundle, load_bundle
from edge_inspector.errors import BundleError

WEIGHTS = b"not read by load_bundle"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
MODEL_TOML = f"""\
schema = 1
name = "demo"
version = "1.0.0"
task = "detect"
decoder = "yolo"
classes = ["open", "short"]
score_floor = 0.05
nms_iou = 0.5
licence = "Apache-2.0"
sha256 = "{SHA256}"
description = "two defects"
[input]
width_px = 640
height_px = 480
color = "gray"
scale = 0.5
mean = [0.0]
std = [1.0]
pad_value = 114
[thresholds]
short = 0.4
open = 0.3
[metrics]
map50 = 0.9
[metrics.real]
parts = 100
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "demo"
    path.mkdir()
    (path / "model.onnx").write_bytes(WEIGHTS)
    (path / "model.toml").write_text(MODEL_TOML)
    return path


def test_a_sound_bundle_says_all_that_the_station_needs(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.spec == InputSpec(480, 640, "gray", 0.5, (0.0,), (1.0,), 114)
    assert bundle.classes == ("open", "short")
    assert bundle.default_thresholds == (0.3, 0.4)  # in the order of the classes, not of the file
    assert (bundle.score_floor, bundle.nms_iou, bundle.decoder) == (0.05, 0.5, "yolo")
    assert bundle.metrics == {"map50": 0.9, "real": {"parts": 100}}
    assert bundle.golden is None
    assert bundle.model_file().onnx_path == str(folder / "model.onnx")
    assert bundle.model_file().sha256 == SHA256


def test_the_models_hash_changes_with_the_thresholds(folder: Path) -> None:
    before = load_bundle(folder)
    (folder / "model.toml").write_text(MODEL_TOML.replace("open = 0.3", "open = 0.31"))
    after = load_bundle(folder)
    assert len(before.model_hash) == 64
    assert before.model_hash != after.model_hash
    assert before.sha256 == after.sha256


def test_the_models_hash_changes_with_the_weights(folder: Path) -> None:
    before = load_bundle(folder)
    (folder / "model.onnx").write_bytes(b"other")
    (folder / "model.toml").write_text(MODEL_TOML.replace(SHA256, hashlib.sha256(b"other").hexdigest()))
    assert load_bundle(folder).model_hash != before.model_hash


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema = 1", "schema = 2", ["schema = 2"]),
        ('name = "demo"\n', "", ["name is missing"]),
        ('name = "demo"', 'name = "my demo"', ["name = 'my demo'"]),
        ('name = "demo"', 'name = "demo"\nthreshold = 1', ["threshold = 1", "nobody reads"]),
        ("pad_value = 114", "pad_value = 114\nfill = 1", ["input.fill = 1"]),
        ("pad_value = 114", "pad_value = 256", ["input.pad_value = 256"]),
        ('task = "detect"', 'task = "guess"', ["task = 'guess'", "detect"]),
        ('task = "detect"', 'task = "segment"', ["decoder = 'yolo' cannot segment", "'detect'"]),
        ('task = "detect"', 'task = "classify"', ["decoder = 'yolo' cannot classify", "good is missing"]),
        ("score_floor", 'good = ["dent"]\nscore_floor', ["good names 'dent'", "open, short"]),
        ("score_floor", "decoder_options = {sigmoid = 1}\nscore_floor", ["decoder_options.sigmoid", "nobody reads"]),
        ("[metrics]", "[limits]\nopen = {low = 1, high = 2}\n[metrics]", ["limits is of no use for task = 'detect'"]),
        ('decoder = "yolo"', 'decoder = "ssd"', ["decoder = 'ssd'", "end2end, ", "yolo"]),
        (SHA256, "0" * 64, ["000000", SHA256, "damaged"]),
        ('["open", "short"]', '["open", "short", "open"]', ["open twice"]),
        ('["open", "short"]', '["open", "short", "spur"]', ["thresholds.spur is missing"]),
        ('["open", "short"]', '["open"]', ["thresholds.short = 0.4 is of no class"]),
        ('["open", "short"]', "[]", ["classes = []"]),
        ("open = 0.3", "open = 0.04", ["thresholds.open = 0.04", "score_floor = 0.05"]),
        ("open = 0.3", "open = 1.3", ["thresholds.open = 1.3"]),
        ("open = 0.3", "open = nan", ["thresholds.open"]),
        ("score_floor = 0.05", "score_floor = 0.0", ["score_floor = 0.0"]),
        ("mean = [0.0]", "mean = [0.0, 0.0, 0.0]", ["input.mean", "expected 1 numbers", "'gray'"]),
        ('color = "gray"', 'color = "rgb"', ["input.mean = [0.0], expected 3", "input.std = [1.0], expected 3"]),
        ("std = [1.0]", "std = [0.0]", ["input.std = [0.0]", "zero"]),
        ("std = [1.0]", "std = [inf]", ["input.std.0 = inf"]),
        ("map50 = 0.9", 'map50 = "good"', ["metrics.map50 is 'good'"]),
        (
            "[metrics.real]",
            '[golden]\nimages = "g"\ncoco = "g/c.json"\n[metrics.real]',
            ["golden.images", "golden.coco"],
        ),
        ("schema = 1", "schema =", ["not TOML"]),
    ],
)
def test_what_is_wrong_is_named_with_file_key_and_value(folder: Path, old: str, new: str, said: list[str]) -> None:
    assert old in MODEL_TOML
    (folder / "model.toml").write_text(MODEL_TOML.replace(old, new))
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert all(word in str(caught.value) for word in [*said, "model.toml"])


MEASURING_TOML = (
    MODEL_TOML[: MODEL_TOML.index("[thresholds]")].replace("detect", "measure").replace("yolo", "regression")
)
LIMITS = "[limits]\nopen = {low = 2.0, high = 3.0, unit = 'mm'}\nshort = {low = 0.0, high = 1.0}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MEASURING_TOML + LIMITS.replace("2.0", "4.0"), ["limits.open.low = 4 is above high = 3"]),
        (MEASURING_TOML + LIMITS.replace("open", "gap"), ["limits.open is missing", "limits.gap is of no value"]),
        (f'good = ["open"]\n{MEASURING_TOML}{LIMITS}', ["good is of no use for task = 'measure'"]),
    ],
)
def test_what_is_wrong_with_limits_is_named(folder: Path, text: str, said: list[str]) -> None:
    (folder / "model.toml").write_text(text)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert all(word in str(caught.value) for word in said)


def test_a_measuring_bundle_has_limits_in_the_order_of_its_values(folder: Path) -> None:
    (folder / "model.toml").write_text(MEASURING_TOML + LIMITS)
    assert load_bundle(folder).criteria == Criteria(
        ("open", "short"), frozenset(), (Limits(2.0, 3.0, "mm"), Limits(0.0, 1.0, ""))
    )


@pytest.mark.parametrize("name", ["model.toml", "model.onnx"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(folder)


def test_all_problems_are_told_at_once_a_line_each(folder: Path) -> None:
    wrong = MODEL_TOML.replace(SHA256, "0" * 64).replace("std = [1.0]", "std = [0.0]").replace("short = 0.4", "")
    (folder / "model.toml").write_text(wrong)
    with pytest.raises(module.DamagedBundleError) as caught:
        load_bundle(folder)
    assert [problem.split(": ", 1)[1].split(" ")[0] for problem in caught.value.problems] == [
        "sha256",
        "thresholds.short",
        "input.std",
    ]
    assert str(caught.value).count("\n- ") == 3


def test_damage_is_told_beside_keys_that_nobody_reads(folder: Path) -> None:
    (folder / "model.toml").write_text("extra = 1\n" + MODEL_TOML.replace(SHA256, "0" * 64))
    with pytest.raises(module.DamagedBundleError) as caught:
        load_bundle(folder)
    assert len(caught.value.problems) == 2


def test_golden_pictures_are_found_in_the_bundle(folder: Path) -> None:
    (folder / "golden").mkdir()
    (folder / "golden" / "coco.json").write_text("{}")
    (folder / "model.toml").write_text(MODEL_TOML + '[golden]\nimages = "golden"\ncoco = "golden/coco.json"\n')
    golden = load_bundle(folder).golden
    assert golden is not None
    assert golden.images == folder / "golden"
    assert golden.coco == folder / "golden" / "coco.json"


def test_a_folder_beside_the_station_file_is_found_first(folder: Path) -> None:
    assert find_bundle(Path("demo"), folder.parent) == folder
    assert find_bundle(folder, Path("/")) == folder


def test_a_folder_in_the_working_directory_is_found(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert find_bundle(Path("demo"), folder / "elsewhere") == folder


def test_a_shipped_bundle_is_found_by_its_bare_name(tmp_path: Path) -> None:
    shipped = next(path for root in module.SHIPPED if root.is_dir() for path in root.iterdir() if path.is_dir())
    assert find_bundle(Path(shipped.name), tmp_path) == shipped


def test_every_shipped_bundle_is_what_its_model_toml_says() -> None:
    folders = [path for root in module.SHIPPED if root.is_dir() for path in root.iterdir() if path.is_dir()]
    assert folders
    for folder in folders:
        bundle = load_bundle(folder)
        model = OnnxRuntimeBackend(Config(warm_up_runs=1)).load(bundle.model_file(), PreparePlan(bundle.spec), 1)
        plugins.load("decoder", bundle.decoder)().check(model.output_shapes, len(bundle.classes))


def test_a_bundle_that_is_nowhere_is_told_with_all_places(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        find_bundle(Path("nowhere"), tmp_path)
    for place in (tmp_path, Path.cwd(), *module.SHIPPED):
        assert str(place / "nowhere") in str(caught.value)


def test_a_path_with_folders_is_no_shipped_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        find_bundle(Path("engines/nowhere"), tmp_path)
    assert "bundles" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["schema = " + "9" * 5000, "a = " + "[" * 5000 + "]" * 5000, "schema = 1" + "0" * 4000]
)
def test_absurd_toml_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(BundleError, match=r"model\.toml"):
        load_bundle(tmp_path)
