from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
from kserve_server import Served, served
from pydantic import ValidationError
from small_nets import FREE, PLAN, batch, doubler
from tritonclient.grpc import service_pb2 as pb

from edge_inspector import plugins
from edge_inspector.backends.batches import BatchModel
from edge_inspector.backends.triton import Config, TritonBackend
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import ModelFile

WAIT_S = 30.0
NO_FILE = ModelFile("is-not-read.onnx", "")
Load = Callable[..., BatchModel]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(doubler(tmp_path, FREE).onnx_path) as running:
        yield running


@pytest.fixture
def load(server: Served) -> Iterator[Load]:
    """Loads the doubler of `server`, with these settings."""
    with ExitStack() as closing:

        def loaded(max_batch: int = 1, **settings: object) -> BatchModel:
            config = Config(**{"url": server.url, "model": "net", "warm_up_runs": 1, "timeout_s": WAIT_S, **settings})
            model = TritonBackend(config).load(NO_FILE, PLAN, max_batch)
            closing.callback(model.close)
            return model

        yield loaded


def answer(model: BatchModel, value: float, slot: int = 0) -> float:
    doubled = model.collect(model.submit(batch(value), slot), WAIT_S).by_name["doubled"]
    assert doubled.shape == (1, 1, 4, 6)
    assert (doubled == doubled.flat[0]).all()
    return float(doubled.flat[0])


def test_the_name_triton_leads_here() -> None:
    assert plugins.load("backend", "triton") is TritonBackend
    assert plugins.config_model("backend", "triton") is Config


def test_the_second_picture_is_at_the_server_before_the_first_is_answered(server: Served, load: Load) -> None:
    model = load()
    while server.model.arrived.acquire(blocking=False):
        pass
    server.model.hold.clear()
    tickets = [model.submit(batch(value), slot) for slot, value in enumerate((1.0, 2.0))]
    assert all(server.model.arrived.acquire(timeout=WAIT_S) for _ in tickets)
    server.model.hold.set()
    found = [model.collect(ticket, WAIT_S).by_name["doubled"].flat[0] for ticket in tickets]
    assert found == [2.0, 4.0]


def test_an_answer_that_takes_too_long_costs_its_own_part_alone(server: Served, load: Load) -> None:
    model = load()
    server.model.hold.clear()
    late, next_one = model.submit(batch(1.0), 0), model.submit(batch(2.0), 1)
    with pytest.raises(InferenceError, match=r"model net of 127\.0\.0\.1:\d+ gave no answer within 0\.02 s"):
        model.collect(late, 0.02)
    server.model.hold.set()
    assert model.collect(next_one, WAIT_S).by_name["doubled"].flat[0] == 4.0
    assert answer(model, 3.0) == 6.0


def test_timeout_s_bounds_the_wait_where_the_station_would_wait_longer(server: Served, load: Load) -> None:
    model = load(timeout_s=0.05)
    server.model.hold.clear()
    with pytest.raises(InferenceError, match="deadline_exceeded"):
        model.collect(model.submit(batch(1.0), 0), WAIT_S)


def test_a_server_that_comes_back_answers_the_very_next_part(server: Served, load: Load) -> None:
    model = load()
    for _ in range(3):
        server.stop()
        for slot in (0, 1):
            with pytest.raises(InferenceError, match="unavailable"):
                model.collect(model.submit(batch(1.0), slot), WAIT_S)
        server.start()
        assert answer(model, 2.0) == 4.0


def test_a_server_that_dies_with_pictures_in_hand_costs_those_parts(server: Served, load: Load) -> None:
    model = load()
    server.model.hold.clear()
    tickets = [model.submit(batch(1.0, 2.0), slot) for slot in (0, 1)]
    server.stop()
    for ticket in tickets:
        with pytest.raises(InferenceError, match=r"unavailable|cancelled"):
            model.collect(ticket, WAIT_S)
    server.start()
    assert answer(model, 2.0) == 4.0


def test_a_model_that_is_unloaded_and_loaded_again_costs_the_parts_between(server: Served, load: Load) -> None:
    model = load()
    server.model.there = False
    with pytest.raises(InferenceError, match="not_found: unknown model net"):
        answer(model, 1.0)
    server.model.there = True
    assert answer(model, 1.0) == 2.0


def infinite(answer: pb.ModelInferResponse) -> None:
    answer.raw_output_contents[0] = np.full(24, np.inf, np.float32).tobytes()


def wrong_shape(answer: pb.ModelInferResponse) -> None:
    answer.outputs[0].shape[:] = [1, 1, 6, 4]


def short(answer: pb.ModelInferResponse) -> None:
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:-4]


def cut_inside_a_number(answer: pb.ModelInferResponse) -> None:
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:-3]


def other_type(answer: pb.ModelInferResponse) -> None:
    answer.outputs[0].datatype = "INT32"


def other_name(answer: pb.ModelInferResponse) -> None:
    answer.outputs[0].name = "tripled"


def nothing(answer: pb.ModelInferResponse) -> None:
    answer.ClearField("outputs")
    answer.ClearField("raw_output_contents")


def not_raw(answer: pb.ModelInferResponse) -> None:
    answer.ClearField("raw_output_contents")
    answer.outputs[0].contents.fp32_contents.extend([1.0] * 24)


def another_version(answer: pb.ModelInferResponse) -> None:
    answer.model_version = "2"


def huge(answer: pb.ModelInferResponse) -> None:
    answer.raw_output_contents[0] = bytes(2 * 2**20)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (infinite, "NaN or infinity"),
        (wrong_shape, r"\[1, 1, 6, 4\].*promised FP32 \[-1, 1, 4, 6\]"),
        (short, "damaged answer"),
        (cut_inside_a_number, "damaged answer"),
        (other_type, r"INT32.*promised FP32"),
        (other_name, "answered doubled as nothing"),
        (nothing, "answered doubled as nothing"),
        (not_raw, "damaged answer"),
        (another_version, r"version '2', expected '1'"),
        (huge, "resource_exhausted"),
    ],
)
def test_a_spoilt_answer_costs_its_part_and_the_next_is_judged(
    server: Served, load: Load, spoil: Callable[[pb.ModelInferResponse], None], said: str
) -> None:
    model = load(max_answer_mb=1)
    server.model.spoil = spoil
    with pytest.raises(InferenceError, match=said):
        model.collect(model.submit(batch(1.0), 0), WAIT_S)
    server.model.spoil = lambda answer: None
    assert answer(model, 1.0) == 2.0


def test_the_version_of_the_start_is_asked_for_by_name_from_then_on(server: Served, load: Load) -> None:
    answer(load(), 1.0)
    assert server.model.asked_versions == ["", "1"]


def test_tiles_go_in_requests_of_at_most_max_batch(server: Served, load: Load) -> None:
    model = load(max_batch=2)
    warm_up = len(server.model.asked_versions)
    model.collect(model.submit(batch(1.0, 2.0, 3.0), 0), WAIT_S)
    assert len(server.model.asked_versions) - warm_up == 2


def unknown_model(server: Served) -> str:
    server.model.there = False
    return r"not_found: unknown model net.*correct url, model"


def unready_model(server: Served) -> str:
    server.model.ready = False
    return "is not ready; load it there"


def dead_server(server: Served) -> str:
    server.stop()
    return "unavailable: .*start the server"


@pytest.mark.parametrize("harm", [unknown_model, unready_model, dead_server])
def test_what_is_not_there_at_the_start_is_told_with_the_remedy(
    server: Served, load: Load, harm: Callable[[Served], str]
) -> None:
    said = harm(server)
    with pytest.raises(ConfigError, match=said):
        load()


def no_outputs(metadata: pb.ModelMetadataResponse) -> None:
    metadata.ClearField("outputs")


def strings(metadata: pb.ModelMetadataResponse) -> None:
    metadata.inputs[0].datatype = "BYTES"


def other_outputs(metadata: pb.ModelMetadataResponse) -> None:
    metadata.outputs[0].name = "boxes"


@pytest.mark.parametrize(
    ("describe", "said"),
    [
        (no_outputs, "names no outputs"),
        (strings, r"input images is BYTES .*asks for float32"),
        (other_outputs, "answered boxes as nothing"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_at_load(
    server: Served, load: Load, describe: Callable[[pb.ModelMetadataResponse], None], said: str
) -> None:
    server.model.describe = describe
    with pytest.raises(BundleError, match=said):
        load()


def test_facts_are_the_servers_own_words(server: Served) -> None:
    backend = TritonBackend(Config(url=server.url, model="net"))
    assert backend.facts() == {
        "server": "one-model 0.1",
        "url": server.url,
        "model": "net",
        "model_version": "1",
        "max_batch": "1",
    }
    assert backend.proof == "each_start"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities that sign themselves, each for 127.0.0.1: ours and other, .pem and .key."""
    folder = tmp_path_factory.mktemp("pki")
    for name in ("ours", "other"):
        subprocess.run(
            shlex.split(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
                f"-subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.pem"
            ),
            cwd=folder,
            check=True,
            capture_output=True,
        )
    return folder


def test_tls_answers_to_who_holds_the_certificates(pki: Path, tmp_path: Path) -> None:
    pair = [(pki / f"ours.{end}").read_bytes() for end in ("key", "pem")]
    credentials = grpc.ssl_server_credentials([tuple(pair)], pair[1], require_client_auth=True)
    own = {"certificate_file": pki / "ours.pem", "key_file": pki / "ours.key"}
    stranger = {"certificate_file": pki / "other.pem", "key_file": pki / "other.key"}
    with served(doubler(tmp_path).onnx_path, credentials) as server:

        def load(**settings: object) -> BatchModel:
            config = Config(url=server.url, model="net", warm_up_runs=1, timeout_s=WAIT_S, **settings)
            return TritonBackend(config).load(NO_FILE, PLAN, 1)

        model = load(tls=True, ca_file=pki / "ours.pem", **own)
        assert answer(model, 1.0) == 2.0
        model.close()
        for wrong in (
            {"tls": True, "ca_file": pki / "other.pem", **own},
            {"tls": True, "ca_file": pki / "ours.pem", **stranger},
            {"tls": True, "ca_file": pki / "ours.pem"},
            {"tls": False},
        ):
            with pytest.raises(ConfigError, match="unavailable"):
                load(**wrong)


def test_a_certificate_that_cannot_be_read_is_named(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.pem cannot be read \(No such file"):
        load(tls=True, ca_file=tmp_path / "missing.pem")


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "https://host:8001"},
        {"url": "host"},
        {"url": "host:port"},
        {"model": ""},
        {"ca_file": "ca.pem"},
        {"tls": True, "key_file": "a.key"},
        {"tls": True, "certificate_file": "a.pem"},
        {"timeout_s": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config(**{"url": "host:8001", "model": "net", **settings})


def test_an_ipv6_address_is_an_address() -> None:
    assert Config(url="[fd00::1]:8001", model="net").url == "[fd00::1]:8001"


def test_without_tritonclient_the_command_that_installs_it_is_told(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    with pytest.raises(ConfigError, match=r'pip install "edge-inspector\[triton\]"'):
        load()
