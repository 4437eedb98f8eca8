"""The ONNX file that a backend builds an engine from: fewer candidates, 8 bits and half precision where asked for."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.compact import add_top_rows
from edge_inspector.engine.half import to_half
from edge_inspector.engine.invariants import check_invariants, load, quantised_by
from edge_inspector.engine.quantize import Method, quantize
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import EngineOptions

METHOD: Method = "minmax"
"""Measured in docs/reference/int8.md."""


def write_typed(
    bundle: Bundle, options: EngineOptions, target: Path, progress: Callable[[float, str], None]
) -> Mapping[str, object]:
    """Write the bundle's network as `options` ask, inputs and outputs float32; the report (JSON) says what became what.

    `progress` takes 0..1. ConfigError: int8 without pictures. BundleError: the network cannot be changed so, and why.
    """
    report: dict[str, object] = {"precision": options.precision, "compact_rows": options.compact_rows}
    network = bundle.folder / "model.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".typed-", dir=target.parent) as name:
        work = Path(name)
        if options.compact_rows:
            progress(0.0, f"best {options.compact_rows} candidates")
            add_top_rows(
                network,
                work / "compact.onnx",
                bundle.decoder,
                len(bundle.classes),
                options.compact_rows,
                bundle.decoder_options,
            )
            network = work / "compact.onnx"
        if options.precision == "int8":
            report["quantized"] = _in_8_bits(
                bundle, network, work / "int8.onnx", options, lambda done, text: progress(0.05 + 0.85 * done, text)
            )
            network = work / "int8.onnx"
        if options.precision != "fp32":
            progress(0.9, "half precision")
            report["half"] = to_half(network, work / "half.onnx", bundle.spec)
            network = work / "half.onnx"
            if options.precision == "int8":
                check_invariants(network)
        shutil.copyfile(network, work / "whole.onnx")
        os.replace(work / "whole.onnx", target)
    progress(1.0, "network written")
    return report


def _in_8_bits(
    bundle: Bundle, network: Path, target: Path, options: EngineOptions, progress: Callable[[float, str], None]
) -> Mapping[str, object]:
    if quantised_by(load(network).graph):
        check_invariants(network)
        shutil.copyfile(network, target)
        return {"kept": "the bundle holds its 8-bit scales"}
    if not options.calibration_dir:
        raise ConfigError(
            f"bundle {bundle.name} in int8 needs pictures to scale it by; set calibration (--calibration) to a folder "
            "of pictures that the station has taken, or quantise it once with edge-inspector engine quantize"
        )
    return quantize(network, target, bundle.spec, Path(options.calibration_dir), METHOD, progress)
