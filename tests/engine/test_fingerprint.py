"""What makes two engines the same, and what two different ones."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import networks
import numpy as np
import pytest

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.engine import fingerprint as module
from edge_inspector.engine.bundle import Bundle, load_bundle
from edge_inspector.engine.fingerprint import Fingerprint, backend_name, fingerprint, options_for
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import EngineOptions


class Device(OnnxRuntimeBackend):
    """A backend of which facts and options are given."""

    def __init__(self, options: EngineOptions | None = None, **facts: str) -> None:
        super().__init__(Config(max_batch=2))
        self.options = options or EngineOptions()
        self._facts = facts

    def facts(self) -> Mapping[str, str]:
        return {name.replace("__", "."): value for name, value in self._facts.items()}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(networks.bundle("yolo", tmp_path / "yolo"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((8, 8), 10 + i, np.uint8))
    return folder


def test_the_digest_is_the_sha_256_of_the_facts_as_canonical_json() -> None:
    text = '{"a":"1","b":"\\u00b5"}'
    assert Fingerprint({"b": "µ", "a": "1"}).digest == hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(text) == {"a": "1", "b": "µ"}


def test_it_holds_the_model_the_way_it_was_changed_and_the_device(bundle: Bundle) -> None:
    facts = fingerprint(bundle, Device(EngineOptions("fp16", 300), gpu="Orin", option__workspace_mb="64")).facts
    assert facts.keys() == {
        "onnx_sha256", "model_hash", "decoder", "backend", "builder.version", "builder.precision",
        "builder.calibration", "builder.compact_rows", "library.onnx", "library.onnxruntime", "gpu",
        "option.workspace_mb",
    }  # fmt: skip
    assert facts["onnx_sha256"] == hashlib.sha256((bundle.folder / "model.onnx").read_bytes()).hexdigest()
    assert (facts["builder.precision"], facts["builder.compact_rows"], facts["gpu"]) == ("fp16", "300", "Orin")


def test_the_same_bundle_and_device_give_the_same_digest_wherever_the_bundle_lies(
    bundle: Bundle, tmp_path: Path
) -> None:
    shutil.copytree(bundle.folder, tmp_path / "copy")
    copy = load_bundle(tmp_path / "copy")
    assert fingerprint(copy, Device(gpu="Orin")).digest == fingerprint(bundle, Device(gpu="Orin")).digest


def test_every_fact_counts(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {fingerprint(bundle, Device(gpu="Orin")).digest}
    others = [
        (bundle, Device(gpu="Xavier")),
        (bundle, Device(gpu="Orin", cuda="12.6")),
        (bundle, Device(gpu="Orin", option__workspace_mb="64")),
        (bundle, Device(EngineOptions("fp16"), gpu="Orin")),
        (bundle, Device(EngineOptions("fp32", 300), gpu="Orin")),
        (replace(bundle, sha256="0" * 64), Device(gpu="Orin")),
        (replace(bundle, model_hash="0" * 64), Device(gpu="Orin")),
        (replace(bundle, decoder="yolov5"), Device(gpu="Orin")),
        (bundle, OnnxRuntimeBackend(Config())),
        (bundle, OnnxRuntimeBackend(Config(max_batch=2))),
    ]
    for one, backend in others:
        seen.add(fingerprint(one, backend).digest)
    monkeypatch.setattr(module, "WRITER", "another")
    seen.add(fingerprint(bundle, Device(gpu="Orin")).digest)
    assert len(seen) == len(others) + 2


def test_the_content_of_the_calibration_pictures_counts_for_int8_alone(bundle: Bundle, pictures: Path) -> None:
    def digest(precision: str) -> str:
        return fingerprint(bundle, Device(EngineOptions(precision, 0, str(pictures)))).digest  # type: ignore[arg-type]

    before = {precision: digest(precision) for precision in ("fp16", "int8")}
    (pictures / "0.png").rename(pictures / "other.png")
    assert digest("int8") == before["int8"], "names do not count"
    cv2.imwrite(str(pictures / "other.png"), np.zeros((8, 8), np.uint8))
    assert (digest("fp16") == before["fp16"], digest("int8") == before["int8"]) == (True, False)


def test_calibration_pictures_that_are_not_there_are_told(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        fingerprint(bundle, Device(EngineOptions("int8", 0, str(tmp_path / "none"))))


def test_a_family_without_a_compact_form_is_built_with_its_own_outputs(bundle: Bundle) -> None:
    asked = Device(EngineOptions("fp16", 300))
    assert options_for(bundle, asked) == EngineOptions("fp16", 300)
    assert options_for(replace(bundle, decoder="classifier"), asked) == EngineOptions("fp16", 0)


def test_a_backend_that_takes_our_names_is_a_bug(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="names that are ours: model_hash"):
        fingerprint(bundle, Device(model_hash="x"))


def test_a_backend_is_called_as_in_the_station_file_and_else_by_its_class() -> None:
    assert backend_name(OnnxRuntimeBackend(Config())) == "onnxruntime"
    assert backend_name(Device()) == f"{__name__}:Device"
