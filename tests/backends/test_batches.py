"""What holds for every backend that takes prepared pictures: each test runs on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import networks
import numpy as np
import pytest
from kserve_server import served
from onnx import helper
from small_nets import FREE, ONE, PLAN, batch, doubler, reciprocal, rows_of_bright_pixels, save

from edge_inspector.backends.batches import BatchModel
from edge_inspector.backends.onnxruntime import Config as OnnxRuntime
from edge_inspector.backends.onnxruntime import OnnxRuntimeBackend
from edge_inspector.backends.openvino import Config as OpenVino
from edge_inspector.backends.openvino import OpenVinoBackend
from edge_inspector.backends.triton import Config as Triton
from edge_inspector.backends.triton import TritonBackend
from edge_inspector.datatypes import Batch, Frame, InputSpec, Letterbox, PreparePlan, RawView, Roi
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.interfaces import Backend, ModelFile

WAIT_S = 30.0
Load = Callable[..., BatchModel]


@pytest.fixture(params=["onnxruntime", "openvino", "triton"])
def load(request: pytest.FixtureRequest) -> Iterator[Load]:
    """Loads a file on the backend of this test; `max_batch` as the station would."""
    with ExitStack() as closing:

        def loaded(file: ModelFile, plan: PreparePlan = PLAN, max_batch: int = 1) -> BatchModel:
            backend: Backend
            if request.param == "onnxruntime":
                backend = OnnxRuntimeBackend(OnnxRuntime(warm_up_runs=1))
            elif request.param == "openvino":
                backend = OpenVinoBackend(OpenVino(warm_up_runs=1))
            else:
                url = closing.enter_context(served(file.onnx_path)).url
                backend = TritonBackend(Triton(url=url, model="net", timeout_s=WAIT_S, warm_up_runs=1))
            model = backend.load(file, plan, max_batch)
            closing.callback(model.close)
            return model

        yield loaded


def doubled(model: BatchModel, given: Batch) -> list[float]:
    """The value of each tile of the answer."""
    array = model.collect(model.submit(given, 0), WAIT_S).by_name["doubled"]
    assert all((tile == tile.flat[0]).all() for tile in array)
    return [float(tile.flat[0]) for tile in array]


def test_each_ticket_gets_the_outputs_of_its_own_batch(load: Load, tmp_path: Path) -> None:
    model = load(doubler(tmp_path))
    first, second = model.submit(batch(1.0), 0), model.submit(batch(2.0), 1)
    assert (model.collect(first, WAIT_S).by_name["doubled"] == 2.0).all()
    third = model.submit(batch(3.0), 0)
    assert (model.collect(second, WAIT_S).by_name["doubled"] == 4.0).all()
    assert (model.collect(third, WAIT_S).by_name["doubled"] == 6.0).all()


def test_a_later_run_does_not_change_outputs_already_given(load: Load, tmp_path: Path) -> None:
    model = load(doubler(tmp_path))
    kept = model.collect(model.submit(batch(1.0), 0), WAIT_S)
    model.collect(model.submit(batch(9.0), 0), WAIT_S)
    model.collect(model.submit(batch(9.0), 1), WAIT_S)
    assert (kept.by_name["doubled"] == 2.0).all()


@pytest.mark.parametrize(
    ("shape", "max_batch"),
    [
        pytest.param(ONE, 1, id="a run for each tile"),
        pytest.param(ONE, 4, id="a network of one takes no more than one"),
        pytest.param(FREE, 1, id="a free network is given one, as it was proven"),
        pytest.param(FREE, 2, id="runs of two, and one of what is left"),
        pytest.param(FREE, 8, id="all in one run"),
    ],
)
def test_any_number_of_tiles_comes_back_in_order(load: Load, tmp_path: Path, shape, max_batch: int) -> None:
    model = load(doubler(tmp_path, shape), max_batch=max_batch)
    assert doubled(model, batch(1.0, 2.0, 3.0, 4.0, 5.0)) == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert doubled(model, batch(7.0)) == [14.0]


def test_two_views_of_many_tiles_are_on_their_way_at_once(load: Load, tmp_path: Path) -> None:
    model = load(doubler(tmp_path))
    first, second = model.submit(batch(1.0, 2.0, 3.0), 0), model.submit(batch(4.0, 5.0), 1)
    one = model.collect(first, WAIT_S).by_name["doubled"]
    two = model.collect(second, WAIT_S).by_name["doubled"]
    assert (one[:, 0, 0, 0].tolist(), two[:, 0, 0, 0].tolist()) == ([2.0, 4.0, 6.0], [8.0, 10.0])


@pytest.mark.parametrize(("max_batch", "shape"), [(1, (1, 1, 4, 6)), (3, (3, 1, 4, 6))])
def test_the_outputs_real_shapes_are_those_of_the_largest_run(load: Load, tmp_path: Path, max_batch, shape) -> None:
    assert load(doubler(tmp_path, FREE), max_batch=max_batch).output_shapes == {"doubled": shape}


@pytest.mark.parametrize("value", [1.0, float("nan")])
@pytest.mark.parametrize("tile", [0, 2])
def test_outputs_that_are_not_finite_are_refused_and_the_next_part_is_judged(
    load: Load, tmp_path: Path, value: float, tile: int
) -> None:
    model = load(reciprocal(tmp_path))
    blind = batch(0.5, 0.5, 0.5)
    blind.pixels[tile, 0, 2, 3] = value
    with pytest.raises(InferenceError, match=r"output.*NaN or infinity"):
        model.collect(model.submit(blind, 0), WAIT_S)
    assert (model.collect(model.submit(batch(0.5), 0), WAIT_S).by_name["output"] == 2.0).all()


def test_rows_that_cannot_be_told_apart_by_tile_are_refused(load: Load, tmp_path: Path) -> None:
    model = load(rows_of_bright_pixels(tmp_path))
    alone = model.collect(model.submit(batch(0.9), 0), WAIT_S).by_name["rows"]
    assert alone.shape == (24, 4)
    with pytest.raises(InferenceError, match=r"rows.*expected each tile's rows"):
        model.collect(model.submit(batch(0.9, 0.9), 0), WAIT_S)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (batch(0.0, chw=(1, 4, 5)), "(1, 1, 4, 5)"),
        (batch(0.0, chw=(3, 4, 6)), "(1, 3, 4, 6)"),
        (batch(0.0, dtype=np.float64), "float64"),
        (Batch(np.zeros((0, 1, 4, 6), np.float32), (), Roi(0, 0, 6, 4), ()), "(0, 1, 4, 6)"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_and_takes_no_slot(
    load: Load, tmp_path: Path, wrong: Batch, said: str
) -> None:
    model = load(doubler(tmp_path))
    with pytest.raises(InferenceError) as caught:
        model.submit(wrong, 0)
    assert said in str(caught.value)
    assert doubled(model, batch(1.0)) == [2.0]


def test_pictures_that_nobody_prepared_are_a_bug(load: Load, tmp_path: Path) -> None:
    frame = Frame("top", 1, 0, 0, np.zeros((4, 6), np.uint8), "Mono8")
    raw = RawView(frame, PLAN, (Letterbox(1.0, 0.0, 0.0),), Roi(0, 0, 6, 4), (Roi(0, 0, 6, 4),))
    with pytest.raises(TypeError, match="prepares_on_device"):
        load(doubler(tmp_path)).submit(raw, 0)


@pytest.mark.parametrize("slot", [0, 2, -1])
def test_a_slot_that_is_not_free_is_a_bug(load: Load, tmp_path: Path, slot: int) -> None:
    model = load(doubler(tmp_path))
    model.submit(batch(1.0), 0)
    with pytest.raises(ValueError, match="not free"):
        model.submit(batch(1.0), slot)


def test_collecting_twice_is_a_bug(load: Load, tmp_path: Path) -> None:
    model = load(doubler(tmp_path))
    ticket = model.submit(batch(1.0), 0)
    model.collect(ticket, WAIT_S)
    with pytest.raises(ValueError, match="not waiting"):
        model.collect(ticket, WAIT_S)


def test_a_ticket_of_before_does_not_take_what_is_in_its_slot_now(load: Load, tmp_path: Path) -> None:
    model = load(doubler(tmp_path))
    old = model.submit(batch(1.0), 0)
    model.collect(old, WAIT_S)
    new = model.submit(batch(2.0), 0)
    with pytest.raises(ValueError, match="not waiting"):
        model.collect(old, WAIT_S)
    assert (model.collect(new, WAIT_S).by_name["doubled"] == 4.0).all()


def test_a_model_that_never_gives_finite_outputs_is_refused_at_load(load: Load, tmp_path: Path) -> None:
    nodes = [helper.make_node("Log", ["images"], ["output"])]  # of the blank picture: -infinity
    with pytest.raises(BundleError, match=r"first .* infinity"):
        load(save(tmp_path / "model.onnx", nodes, {"output": ONE}))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 1, 4, 7), ["(1, 1, 4, 7)", "(1, 1, 4, 6)", "images"]),
        ((1, 3, 4, 6), ["(1, 3, 4, 6)"]),
        ((4, 6), ["(4, 6)"]),
        ((2, 1, 4, 6), ["(2, 1, 4, 6)", "free first dimension"]),
    ],
)
def test_an_input_that_is_not_the_plans_is_refused_at_load(load: Load, tmp_path: Path, shape, said) -> None:
    with pytest.raises(BundleError) as caught:
        load(doubler(tmp_path, shape))
    assert all(word in str(caught.value) for word in said)


def test_a_half_precision_input_is_refused_at_load(load: Load, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"images is .*16"):
        load(doubler(tmp_path, kind=10))


def test_a_model_with_two_inputs_is_refused(load: Load, tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["images", "sizes"], ["output"])]
    file = save(tmp_path / "m.onnx", nodes, {"output": ONE}, {"images": ONE, "sizes": ONE})
    with pytest.raises(BundleError, match=r"2 inputs \(images, sizes\)"):
        load(file)


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_every_family_gives_what_onnxruntime_gives(load: Load, tmp_path: Path, family: str) -> None:
    networks.write(family, tmp_path / "model.onnx", batch=1)
    file = ModelFile(str(tmp_path / "model.onnx"), "")
    plan = PreparePlan(InputSpec(64, 64, "gray", 1 / 255, (0.0,), (1.0,), 0))
    rng = np.random.default_rng(1)
    surfaces = [networks.picture(rng, 64, 1, spot)[0][:, :64] for spot in (None, 250, 6)]
    pixels = np.stack(surfaces)[:, None].astype(np.float32) / 255
    given = Batch(pixels, (Letterbox(1, 0, 0),) * 3, Roi(0, 0, 64, 64), (Roi(0, 0, 64, 64),) * 3)
    reference = OnnxRuntimeBackend(OnnxRuntime(warm_up_runs=1)).load(file, plan, 1)
    expected = reference.collect(reference.submit(given, 0), WAIT_S).by_name
    model = load(file, plan)
    found = model.collect(model.submit(given, 0), WAIT_S).by_name
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        for one, other in zip(found[name], array, strict=True):
            np.testing.assert_allclose(comparable(family, one), comparable(family, other), rtol=1e-3, atol=1e-3)


def comparable(family: str, tile: np.ndarray) -> np.ndarray:
    """End-to-end heads sort their rows, so that the last digit decides where two of the same score go."""
    return np.sort(tile[tile[:, 4] > 0.5], axis=0) if family == "end2end" else tile
