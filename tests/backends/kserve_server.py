"""A real gRPC server that speaks KServe v2 for one ONNX file, and can be made to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import onnxruntime
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

DATATYPES = {"tensor(float)": "FP32", "tensor(float16)": "FP16", "tensor(int64)": "INT64"}
MESSAGE_BYTES = 16 * 2**20


class OneModel(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Model "net". `spoil` changes an answer before it is sent; `hold` keeps all answers back while it is clear."""

    def __init__(self, onnx_path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(onnx_path, options, providers=["CPUExecutionProvider"])
        self.there = self.ready = True
        self.version = "1"
        self.asked_versions: list[str] = []
        self.spoil: Callable[[pb.ModelInferResponse], object] = lambda answer: None
        self.describe: Callable[[pb.ModelMetadataResponse], object] = lambda metadata: None
        self.hold = threading.Event()
        self.hold.set()
        self.arrived = threading.Semaphore(0)

    def ModelReady(self, request: pb.ModelReadyRequest, context: grpc.ServicerContext) -> pb.ModelReadyResponse:
        self._find(request.name, context)
        return pb.ModelReadyResponse(ready=self.ready)

    def ServerMetadata(self, request: Any, context: grpc.ServicerContext) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="one-model", version="0.1")

    def ModelMetadata(self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext) -> Any:
        self._find(request.name, context)
        metadata = pb.ModelMetadataResponse(name="net", versions=[self.version], platform="onnx")
        for listed, nodes in ((metadata.inputs, self.session.get_inputs()), (metadata.outputs, self._outputs())):
            for node in nodes:
                shape = [size if isinstance(size, int) else -1 for size in node.shape]
                listed.add(name=node.name, datatype=DATATYPES[node.type], shape=shape)
        self.describe(metadata)
        return metadata

    def ModelInfer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        self.asked_versions.append(request.model_version)
        self.arrived.release()
        self.hold.wait()
        self._find(request.model_name, context)
        (given,) = request.inputs
        pixels = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(list(given.shape))
        answer = pb.ModelInferResponse(model_name="net", model_version=self.version)
        for node, array in zip(self._outputs(), self.session.run(None, {given.name: pixels}), strict=True):
            answer.outputs.add(name=node.name, datatype=DATATYPES[node.type], shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        self.spoil(answer)
        return answer

    def _outputs(self) -> list[Any]:
        return self.session.get_outputs()

    def _find(self, name: str, context: grpc.ServicerContext) -> None:
        if name != "net" or not self.there:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {name}")


class Served:
    """Where `OneModel` is served: `stop` and `start` take the server away and bring it back at the same address."""

    def __init__(self, model: OneModel, credentials: grpc.ServerCredentials | None = None) -> None:
        self.model = model
        self.url = "127.0.0.1:0"
        self._credentials = credentials
        self.start()

    def start(self) -> None:
        self._workers = futures.ThreadPoolExecutor(4)
        sizes = [(f"grpc.max_{way}_message_length", MESSAGE_BYTES) for way in ("send", "receive")]
        self._server = grpc.server(self._workers, options=[*sizes, ("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self.model, self._server)
        if self._credentials is None:
            port = self._server.add_insecure_port(self.url)
        else:
            port = self._server.add_secure_port(self.url, self._credentials)
        self.url = f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()
        self.model.hold.set()
        self._workers.shutdown()


@contextmanager
def served(onnx_path: str, credentials: grpc.ServerCredentials | None = None) -> Iterator[Served]:
    server = Served(OneModel(onnx_path), credentials)
    try:
        yield server
    finally:
        server.stop()
