"""How surely golden defects are seen: by each camera, by the worst light and focus, and at their place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import networks
import numpy as np
import pytest

from edge_inspector import plugins
from edge_inspector.datatypes import Batch, Calibration, InputSpec, PreparePlan, RawView, Roi, Tensors, ThresholdState
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.engine.limits import BRIGHT, DIM, Seeing, golden_scores
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import EngineOptions, ModelFile, Ticket
from edge_inspector.settings import Recipe, View
from edge_inspector.stages.rules import with_rules

SIDE = 64
AT = (40.0, 32.0, 16.0, 16.0)
"""Where the fake model always sees something: middle and size, px."""
HERE = [32, 24, 16, 16]
"""The same as COCO has it."""


@dataclass
class Light:
    """A model that sees class "bright" as surely as the middle of the picture is bright, always at the same place."""

    memory_bytes: int = 1
    output_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"output0": (1, 7, 1)})
    seen: list[Batch] = field(default_factory=list)

    def submit(self, batch: Batch | RawView, slot: int) -> Ticket:
        assert isinstance(batch, Batch)
        self.seen.append(batch)
        return Ticket(slot, len(self.seen))

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        pixels = self.seen[ticket.number - 1].pixels
        score = float(pixels[0, 0, int(AT[1]), int(AT[0])])
        return Tensors({"output0": np.array([[[one] for one in (*AT, score, 0.0, 0.0)]], np.float32)})

    def rehearse(self, plan: PreparePlan) -> None: ...
    def keep_warm(self) -> None: ...
    def close(self) -> None: ...


class Backend:
    prepares_on_device = False
    proof = "none"
    max_batch = 1
    options = EngineOptions()

    def facts(self) -> Mapping[str, str]:
        return {}

    def build(
        self, model: ModelFile, spec: InputSpec, into: Path, progress: Callable[[float, str], None]
    ) -> Mapping[str, object]:
        return {}

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> Light:
        return Light()


@dataclass(frozen=True)
class Golden:
    """A bundle whose golden set the test draws."""

    folder: Path
    images: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)

    def picture(self, gray: int, *boxes: tuple[str, list[int]], **said: Any) -> Golden:
        """One picture of one gray, and its labels."""
        number = len(self.images) + 1
        cv2.imwrite(str(self.folder / "golden" / f"{number}.png"), np.full((SIDE, SIDE), gray, np.uint8))
        self.images.append({"id": number, "file_name": f"{number}.png", "height": SIDE, "width": SIDE, **said})
        for name, box in boxes:
            label = {"id": len(self.labels) + 1, "image_id": number, "bbox": box, "area": 1, "iscrowd": 0}
            self.labels.append({**label, "category_id": ["bright", "dark", "spare0"].index(name) + 1})
        return self

    def seeing(self, recipe: Recipe | None = None, plans: Mapping[str, PreparePlan] | None = None) -> Seeing:
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(("bright", "dark", "spare0"))]
        coco = {"images": self.images, "annotations": self.labels, "categories": categories}
        (self.folder / "golden" / "annotations_coco.json").write_text(json.dumps(coco))
        bundle = load_bundle(self.folder)
        criteria = bundle.criteria if recipe is None else with_rules(bundle.criteria, recipe, bundle.task)
        base = ThresholdState(bundle.default_thresholds)
        plans = {"cam": PreparePlan(bundle.spec)} if plans is None else plans
        return Seeing(bundle, criteria, plans, base, bundle.model_file(), Backend())  # type: ignore[arg-type]


@pytest.fixture
def golden(tmp_path: Path) -> Golden:
    networks.bundle("yolo", tmp_path / "b", golden=1)
    return Golden(tmp_path / "b")


def recipe(*rules: dict[str, Any], **changed: Any) -> Recipe:
    said = {"number": 1, "bundle": "b", "views": [View(camera="cam")], "rules": rules, **changed}
    return Recipe.model_validate(said)


def test_a_defect_counts_with_its_lowest_score_of_all_lights_and_a_good_part_as_it_is(golden: Golden) -> None:
    scores = golden_scores(golden.picture(150, ("bright", HERE)).picture(60).seeing())
    (defect,) = scores.defects
    assert defect.class_id == 0
    assert defect.scores == pytest.approx((150 * DIM / 255, 0, 0), abs=0.004)
    assert scores.goods == (pytest.approx((60 / 255, 0, 0), abs=0.0001),)
    assert BRIGHT > 1 > DIM


@pytest.mark.parametrize(
    ("box", "found"),
    [
        (HERE, True),
        ([28, 20, 16, 16], True),  # it overlaps by 0.39
        ([20, 12, 40, 40], True),  # a larger box around it: the middle lies inside
        ([50, 50, 10, 10], False),
        ([20, 12, 16, 16], False),  # it touches
    ],
)
def test_only_what_is_seen_at_its_place_is_a_defects_score(golden: Golden, box: list[int], found: bool) -> None:
    (defect,) = golden_scores(golden.picture(200, ("bright", box)).seeing()).defects
    assert (defect.scores[0] > 0.5) is found


def test_a_defect_that_is_seen_as_another_class_has_that_classes_score(golden: Golden) -> None:
    (defect,) = golden_scores(golden.picture(200, ("dark", HERE)).seeing()).defects
    assert defect.class_id == 1
    assert defect.scores[0] > 0.6
    assert defect.scores[1] == 0


def test_each_labelled_defect_is_one_also_two_on_one_picture(golden: Golden) -> None:
    scores = golden_scores(golden.picture(200, ("bright", HERE), ("bright", [2, 2, 10, 10]), ("dark", HERE)).seeing())
    assert [(one.class_id, one.scores[0] > 0.5) for one in scores.defects] == [(0, True), (0, False), (1, True)]
    assert scores.goods == ()


def test_what_the_recipe_tolerates_is_no_golden_defect(golden: Golden) -> None:
    tolerant = recipe({"kind": "tolerate", "name": "dark-is-fine", "classes": ["dark"]})
    scores = golden_scores(golden.picture(200, ("bright", HERE), ("dark", HERE)).seeing(tolerant))
    assert [one.class_id for one in scores.defects] == [0]
    small = recipe({"kind": "defect", "name": "long", "classes": ["bright"], "longer_than_px": 30})
    assert golden_scores(golden.seeing(small)).defects[0].class_id == 1, "16 px are no defect of class bright here"


def test_things_that_are_rejected_only_together_are_one_golden_defect(golden: Golden) -> None:
    two = recipe({"kind": "defect", "name": "two", "classes": ["bright"], "at_least": 2})
    golden.picture(200, ("bright", HERE), ("bright", [2, 2, 10, 10])).picture(200, ("bright", HERE))
    (defect,) = golden_scores(golden.seeing(two)).defects
    assert defect.scores[0] == 0, "the model sees one of the two"


def test_every_camera_must_see_it_unless_the_picture_names_its_own(golden: Golden) -> None:
    spec = load_bundle(golden.folder).spec
    plans = {"cam": PreparePlan(spec), "side": PreparePlan(spec, roi=Roi(0, 0, 16, 16))}  # it looks elsewhere
    both = recipe(views=[View(camera="cam"), View(camera="side")])
    looks: list[float] = []
    golden.picture(200, ("bright", HERE), camera="cam").picture(200, ("bright", HERE))
    scores = golden_scores(golden.seeing(both, plans), lambda share, text: looks.append(share))
    assert scores.defects[0].scores[0] == pytest.approx(200 * DIM / 255, abs=0.004)
    assert scores.defects[1].scores[0] == 0
    assert looks == sorted(looks)
    assert looks[-1] == 1


def test_a_picture_that_is_no_picture_of_the_camera_is_told(golden: Golden) -> None:
    spec = load_bundle(golden.folder).spec
    other = PreparePlan(spec, calibration=Calibration((480, 640), (500.0, 500.0, 320.0, 240.0), (0.0,) * 5))
    with pytest.raises(ConfigError, match=r"1\.png is no picture as camera cam of this recipe takes it: .*64"):
        golden_scores(golden.picture(200, ("bright", HERE)).seeing(plans={"cam": other}))


def test_without_a_golden_set_nobody_knows(golden: Golden, tmp_path: Path) -> None:
    networks.bundle("yolo", tmp_path / "none")
    with pytest.raises(ConfigError, match=r"little-yolo has no golden set \(\[golden\] in its model.toml\)"):
        golden_scores(replace(golden.seeing(), bundle=load_bundle(tmp_path / "none")))


def test_limits_of_measured_values_do_not_move(golden: Golden, tmp_path: Path) -> None:
    bundle = load_bundle(networks.bundle("regression", tmp_path / "measures", golden=1))
    with pytest.raises(ConfigError, match="measures values: it has limits, and no thresholds that could move"):
        golden_scores(replace(golden.seeing(), bundle=bundle))


@pytest.mark.parametrize("family", ["classifier", "segmentation", "anomaly"])
def test_it_works_for_every_kind_of_model_that_has_scores(tmp_path: Path, family: str) -> None:
    bundle = load_bundle(networks.bundle(family, tmp_path / "b", golden=4))
    backend = plugins.load("backend", "onnxruntime")(
        plugins.config_model("backend", "onnxruntime")(type="onnxruntime", threads=1)
    )
    base = ThresholdState(bundle.default_thresholds)
    plans = {"cam": PreparePlan(bundle.spec)}
    scores = golden_scores(Seeing(bundle, bundle.criteria, plans, base, bundle.model_file(), backend))
    assert len(scores.goods) == 4
    assert len(scores.defects) == 4
    for defect in scores.defects:
        others = [one for one in scores.goods if one[defect.class_id] >= defect.scores[defect.class_id]]
        assert others == [], "each defect is seen more surely than on any good part"
        assert [defect.scores[good] for good in bundle.criteria.good] == [0] * len(bundle.criteria.good)
