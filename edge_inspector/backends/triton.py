"""A shared inference server that speaks KServe v2 over gRPC: Triton, MLServer, OpenVINO Model Server."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from edge_inspector.backends.batches import BatchModel
from edge_inspector.backends.kserve import Server
from edge_inspector.datatypes import InputSpec, PreparePlan
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import EngineOptions, ModelFile
from edge_inspector.settings import LocalPath, PluginConfig

WARM_UP_TIMEOUT_S = 60.0
"""For one answer at the station's start: a server may load a model when it is first asked."""
MB = 2**20  # bytes


class Config(PluginConfig):
    """Which model of which server."""

    type: Literal["triton"] = "triton"
    url: Annotated[str, StringConstraints(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$")] = Field(
        description="host:port of its gRPC service, without https://."
    )
    model: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="The model's name there; it must be the bundle's network."
    )
    model_version: str = Field("", description="Empty = the version that the server chooses at the station's start.")
    timeout_s: float = Field(2.0, gt=0, le=60, description="How long after a picture was sent its answer must be here.")
    max_answer_mb: int = Field(64, ge=1, le=2047, description="A larger answer is refused.")
    max_batch: int = Field(1, ge=1, le=16, description="Pictures in one request, tiles and views alike.")
    warm_up_runs: int = Field(3, ge=1, le=1000, description="Requests with a blank picture before the model is ready.")
    tls: bool = Field(False, description="Speak TLS.")
    ca_file: LocalPath | None = Field(None, description="PEM file of who signed the server's certificate.")
    certificate_file: LocalPath | None = Field(None, description="PEM file of this station's own certificate.")
    key_file: LocalPath | None = Field(None, description="PEM file of that certificate's key.")

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Config:
        if not self.tls and (self.ca_file or self.certificate_file or self.key_file):
            raise ValueError("ca_file, certificate_file and key_file are of use only with tls = true")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file are given together or not at all")
        return self


class TritonBackend:
    """Asks one model of one server."""

    prepares_on_device = False
    proof: Literal["none", "kept", "each_start"] = "each_start"
    options = EngineOptions()

    def __init__(self, config: Config) -> None:
        self._config = config
        self.max_batch = config.max_batch

    def facts(self) -> Mapping[str, str]:
        config = self._config
        with closing(self._server()) as server:
            about, model = server.about()
        return {
            "server": f"{about.name} {about.version}",
            "url": config.url,
            "model": config.model,
            "model_version": config.model_version or ", ".join(model.versions),
            "max_batch": str(config.max_batch),
        }

    def build(
        self, model: ModelFile, spec: InputSpec, into: Path, progress: Callable[[float, str], None]
    ) -> Mapping[str, object]:
        """Nothing: the server has the model already."""
        return {}

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> BatchModel:
        """Ask the server for its model and warm up; the bundle's file is not read.

        ConfigError: the server or its model is not there. BundleError: its input or its answer is not the plan's.
        """
        with ExitStack() as undo:
            server = self._server()
            undo.callback(server.close)
            loaded = BatchModel(server.expect(plan.input, max_batch), server.start, memory_bytes=0, close=server.close)
            try:
                loaded.warm_up(self._config.warm_up_runs, WARM_UP_TIMEOUT_S)
            except InferenceError as exc:
                raise BundleError(f"the first answer is of no use: {exc}; mend the model on the server") from exc
            server.timeout_s = self._config.timeout_s
            undo.pop_all()
        return loaded

    def _server(self) -> Server:
        config = self._config
        return Server(
            config.url,
            config.model,
            config.model_version,
            _credentials(config),
            config.max_answer_mb * MB,
            WARM_UP_TIMEOUT_S,
        )


def _credentials(config: Config) -> Any:
    """None = no TLS. ConfigError: a file cannot be read, or the package is missing."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its findings come as exceptions, the station's log stays ours
    try:
        import grpc
        import tritonclient.grpc  # noqa: F401
    except ImportError as exc:
        raise ConfigError(
            'backend triton needs packages that are missing: pip install "edge-inspector[triton]"'
        ) from exc
    if not config.tls:
        return None
    files = (config.ca_file, config.key_file, config.certificate_file)
    try:
        return grpc.ssl_channel_credentials(*(None if file is None else file.read_bytes() for file in files))
    except OSError as exc:
        raise ConfigError(f"[backend] {exc.filename} cannot be read ({exc.strerror}); correct its path") from exc
