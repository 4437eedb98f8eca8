"""One model of a server that speaks KServe v2 over gRPC: requests, answers, and connections that die."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from typing import Any

from edge_inspector.backends.batches import NetworkInput, Outputs, network_input
from edge_inspector.datatypes import Floats, InputSpec
from edge_inspector.errors import BundleError, ConfigError, InferenceError

ASK_TIMEOUT_S = 10.0
"""For what a server says of itself, without computing."""


class Server:
    """One model of one server, and what its answers look like.

    After a failure the next request has a connection of its own: an old one waits out gRPC's back-off, and one to a
    machine that lost its power looks alive for minutes.
    """

    def __init__(
        self, url: str, model: str, version: str, credentials: Any, max_answer_bytes: int, timeout_s: float
    ) -> None:
        self.timeout_s = timeout_s
        self.name = f"model {model} of {url}"
        self._url = url
        self._model = model
        self._version = version
        self._answered_by: str | None = version or None
        self._credentials = credentials
        self._max_answer_bytes = max_answer_bytes
        self._connection: _Connection | None = None
        self._input_name = ""
        self._outputs: dict[str, tuple[str, list[int]]] = {}

    def about(self) -> tuple[Any, Any]:
        """What the server says of itself and of the model. ConfigError when either is not there."""
        from tritonclient.utils import InferenceServerException

        client = self._connected().client
        asked, timeout = (self._model, self._version), {"client_timeout": ASK_TIMEOUT_S}
        try:
            if client.is_model_ready(*asked, **timeout):
                return client.get_server_metadata(**timeout), client.get_model_metadata(*asked, **timeout)
        except InferenceServerException as exc:
            raise ConfigError(
                f"{self.name} cannot be asked ({_said(exc)}); start the server and load the model there, or correct "
                "url, model, model_version and tls in [backend]"
            ) from exc
        raise ConfigError(f"{self.name} is not ready; load it there, or correct model and model_version in [backend]")

    def expect(self, spec: InputSpec, max_batch: int) -> NetworkInput:
        """Take from the server what to send and what will come. BundleError when that does not fit the plan."""
        _, model = self.about()
        inputs = [(i.name, {"FP32": "float32"}.get(i.datatype, i.datatype), _shape(i.shape)) for i in model.inputs]
        given = network_input(self.name, inputs, spec, max_batch)
        self._input_name = given.name
        self._outputs = {o.name: (o.datatype, list(o.shape)) for o in model.outputs}
        if not self._outputs:
            raise BundleError(f"{self.name} names no outputs; write them into its settings on the server")
        return given

    def start(self, pixels: Floats) -> _Run:
        from tritonclient.grpc import InferInput
        from tritonclient.utils import InferenceServerException

        picture = InferInput(self._input_name, pixels.shape, "FP32")
        picture.set_data_from_numpy(pixels)
        connection = self._connected()
        answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        try:
            call = connection.client.async_infer(
                self._model,
                [picture],
                lambda result, error: answers.put((result, error)),  # on a thread of gRPC's own
                model_version=self._version,
                client_timeout=self.timeout_s,
            )
        except InferenceServerException as exc:
            self.drop(connection)
            raise InferenceError(f"{self.name} cannot be asked: {_said(exc)}") from exc
        connection.calls += 1
        return _Run(self, connection, call, answers)

    def read(self, result: Any) -> Outputs:
        """The answer's arrays. InferenceError when it is not what the model answered before."""
        answer = result.get_response()
        if self._answered_by is None:
            self._version = self._answered_by = answer.model_version  # from now on it is asked for by name
        if answer.model_version != self._answered_by:
            raise InferenceError(
                f"{self.name} answered with version {answer.model_version!r}, expected {self._answered_by!r} as at the "
                "station's start; restart the station to look at the new one"
            )
        given = {o.name: (o.datatype, list(o.shape)) for o in answer.outputs}
        for name, (datatype, shape) in self._outputs.items():
            if name not in given or given[name][0] != datatype or not _fits(given[name][1], shape):
                raise InferenceError(
                    f"{self.name} answered {name} as {given.get(name, 'nothing')}, but promised {datatype} {shape}; "
                    "the model was exchanged on the server: restart the station"
                )
        try:
            return {name: result.as_numpy(name) for name in self._outputs}
        except ValueError as exc:  # fewer bytes than its shape says
            raise InferenceError(f"{self.name} gave a damaged answer: {exc}") from exc

    def drop(self, connection: _Connection) -> None:
        """Use it no more; it is closed when its last call is over."""
        if self._connection is connection:
            self._connection = None
        connection.dropped = True
        connection.close_if_over()

    def close(self) -> None:
        if self._connection is not None:
            self.drop(self._connection)

    def _connected(self) -> _Connection:
        if self._connection is None:
            self._connection = _Connection(self._url, self._credentials, self._max_answer_bytes)
        return self._connection


class _Connection:
    """A gRPC channel and how many calls are on it."""

    def __init__(self, url: str, credentials: Any, max_answer_bytes: int) -> None:
        from tritonclient.grpc import InferenceServerClient

        self.calls = 0
        self.dropped = False
        self.client = InferenceServerClient(
            url,
            creds=credentials,
            channel_args=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", max_answer_bytes),
                ("grpc.use_local_subchannel_pool", 1),  # else a new channel inherits the old one's back-off
            ],
        )

    def call_over(self) -> None:
        self.calls -= 1
        self.close_if_over()

    def close_if_over(self) -> None:
        if self.dropped and not self.calls:
            self.client.close()


class _Run:
    """One request on its way."""

    def __init__(self, server: Server, connection: _Connection, call: Any, answers: queue.SimpleQueue[Any]) -> None:
        self._server = server
        self._connection = connection
        self._call = call
        self._answers = answers

    def outputs(self, timeout_s: float) -> Outputs:
        try:
            result, error = self._answers.get(timeout=timeout_s)
        except queue.Empty as exc:
            self._server.drop(self._connection)
            raise InferenceError(f"{self._server.name} gave no answer within {timeout_s:.3g} s") from exc
        if error is not None:
            self._server.drop(self._connection)
            raise InferenceError(f"{self._server.name} failed: {_said(error)}") from error
        outputs = self._server.read(result)
        self._connection.call_over()
        return outputs

    def cancel(self) -> None:
        self._call.cancel()
        self._connection.call_over()


def _said(error: Any) -> str:
    return f"{str(error.status()).removeprefix('StatusCode.').lower()}: {error.message()}"


def _shape(shape: Iterable[int]) -> list[object]:
    """A free dimension is -1 there."""
    return [size if size >= 0 else "free" for size in shape]


def _fits(shape: list[int], promised: list[int]) -> bool:
    return len(shape) == len(promised) and all(p in (-1, s) for s, p in zip(shape, promised, strict=True))
