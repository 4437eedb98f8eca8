"""TensorRT on an NVIDIA GPU: build an engine from a typed ONNX file, and run it."""

from __future__ import annotations

from edge_inspector.backends.tensorrt.backend import TensorRtBackend
from edge_inspector.backends.tensorrt.config import Config

__all__ = ["Config", "TensorRtBackend"]
