"""ONNX Runtime as a tool: what it refuses is the network's fault and told so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edge_inspector.errors import BundleError, ConfigError


@contextlib.contextmanager
def refusals_told(network: Path) -> Iterator[None]:
    """BundleError when ONNX Runtime refuses `network` inside. ConfigError: it is missing."""
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as exc:
        raise ConfigError('changing a network needs onnxruntime: pip install "edge-inspector[engine]"') from exc
    # its exceptions have no common base of their own
    refusals = tuple(e for e in vars(state).values() if isinstance(e, type) and issubclass(e, Exception))
    try:
        yield
    except refusals as exc:
        raise BundleError(
            f"{network} cannot be run by ONNX Runtime with model.toml's [input]: {exc}; correct [input], or export it "
            "again"
        ) from exc
