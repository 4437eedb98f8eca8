"""What an engine depends on, and the one number that stands for all of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_inspector import plugins
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.calibration_set import calibration_hash
from edge_inspector.engine.compact import COMPACTABLE
from edge_inspector.interfaces import Backend, EngineOptions

WRITER = "1"
"""Raised when this software changes what it writes for the same facts: every engine is then built anew."""
MODEL_FACTS = ("onnx_sha256", "model_hash", "decoder")
CHOSEN = ("option.", "builder.", "library.")
"""What somebody chose for the backend, how the ONNX file was changed before, and by which libraries.

Another choice gives another engine, and both run on the same machine.
"""
_LIBRARIES = ("onnx", "onnxruntime")
"""Of which typed ONNX files are made: another version may write another file."""


@dataclass(frozen=True)
class Fingerprint:
    """Facts by name; engines whose facts are all the same are interchangeable."""

    facts: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the facts, hexadecimal."""
        return hashlib.sha256(canonical(dict(self.facts))).hexdigest()

    def same_model(self, other: Fingerprint) -> bool:
        """Whether both are of the same network read in the same way: same weights and same model.toml."""
        return all(self.facts.get(name) == other.facts.get(name) for name in MODEL_FACTS)

    def runs_where(self, other: Fingerprint) -> bool:
        """Whether an engine of `other` runs where this one does: only what somebody chose may differ."""
        return self._device() == other._device()

    def _device(self) -> dict[str, str]:
        return {
            name: value for name, value in self.facts.items() if name not in MODEL_FACTS and not name.startswith(CHOSEN)
        }


def fingerprint(bundle: Bundle, backend: Backend) -> Fingerprint:
    """Of the engine that `backend` builds here from `bundle`.

    ConfigError: the backend cannot run on this machine, or the calibration pictures cannot be read.
    """
    options = options_for(bundle, backend)
    ours = {
        "onnx_sha256": bundle.sha256,
        "model_hash": bundle.model_hash,
        "decoder": bundle.decoder,
        "backend": backend_name(backend),
        "builder.version": WRITER,
        "builder.precision": options.precision,
        "builder.calibration": _calibration(options),
        "builder.compact_rows": str(options.compact_rows),
        **_libraries(options),
    }
    theirs = backend.facts()
    twice = sorted(ours.keys() & theirs.keys())
    if twice:
        raise ValueError(f"backend {ours['backend']} tells facts of names that are ours: {', '.join(twice)}")
    return Fingerprint({**ours, **theirs})


def options_for(bundle: Bundle, backend: Backend) -> EngineOptions:
    """The backend's, less what the bundle's family has no form for: a compact output."""
    return backend.options if bundle.decoder in COMPACTABLE else replace(backend.options, compact_rows=0)


def backend_name(backend: Backend) -> str:
    """The name by which station files know the backend; its class where they do not."""
    made = type(backend)
    for name, place in plugins.names("backend").items():
        module, _, attribute = place.partition(":")
        if attribute == made.__qualname__ and f"{made.__module__}.".startswith(f"{module}."):
            return name
    return f"{made.__module__}:{made.__qualname__}"


def canonical(document: Any) -> bytes:
    """The one way to write a JSON document: sorted keys, no blanks. ValueError for NaN and infinity."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _calibration(options: EngineOptions) -> str:
    """Empty where no picture scales anything."""
    if options.precision != "int8" or not options.calibration_dir:
        return ""
    return calibration_hash(Path(options.calibration_dir))


def _libraries(options: EngineOptions) -> dict[str, str]:
    return {} if options == EngineOptions() else {f"library.{name}": _version(name) for name in _LIBRARIES}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "none"
