"""From a bundle to an engine that is proven, in the process that calls; it yields to everything else that runs."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

from edge_inspector.datatypes import ThresholdState
from edge_inspector.engine import files, passport
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.fingerprint import Fingerprint, fingerprint, options_for
from edge_inspector.engine.invariants import load, quantised_by
from edge_inspector.engine.passport import Passport
from edge_inspector.engine.store import Engine, EngineStore
from edge_inspector.engine.typed import write_typed
from edge_inspector.engine.verify import is_of, prove
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Backend, EngineOptions, ModelFile

WAIT_S = 3600.0
"""How long another process's build may go on before this one gives up; a large network takes half an hour."""
TYPED, BUILT = 0.1, 0.8
"""Which share of the work has been done when the ONNX file is rewritten, and when the engine is built."""
Progress: TypeAlias = Callable[[float, str], None]


def build(
    bundle: Bundle,
    backend: Backend,
    store: EngineStore,
    progress: Progress,
    *,
    thresholds: Sequence[ThresholdState] = (),
    again: bool = False,
) -> Engine:
    """The bundle's engine for this backend and machine: what is there already, or a new one with its proof.

    A proof of another golden set, or not by all of `thresholds`, is made anew. `again` builds even where there is an
    engine.
    BundleError: the network cannot be built or loaded. ConfigError: the backend cannot run here or keeps no engines,
    the disk is full, or another process builds for more than `WAIT_S`.
    """
    if backend.proof != "kept":
        raise ConfigError(f"nothing is built for this backend: its models run as they are (proof = {backend.proof!r})")
    wanted = fingerprint(bundle, backend)
    engine = None if again else store.find(wanted)
    if engine is None:
        engine = _built(bundle, backend, store, wanted, progress, thresholds, again)
    if is_of(engine.passport.proof, bundle, thresholds):
        return engine
    return prove_again(bundle, backend, store, engine, progress, thresholds)


def prove_again(
    bundle: Bundle,
    backend: Backend,
    store: EngineStore,
    engine: Engine,
    progress: Progress,
    thresholds: Sequence[ThresholdState] = (),
) -> Engine:
    """The same engine with a new proof in its passport; latencies of other power modes stay. Raises as `build`."""
    model_file = replace(bundle.model_file(), engine_dir=engine.engine_dir)
    proof = prove(bundle, backend, model_file, thresholds=thresholds, progress=progress)
    latency = {**engine.passport.proof.latency, **proof.latency}
    return store.renew(engine, proof.model_copy(update={"latency": latency}))


def niced() -> None:
    """This process gets only what nobody else wants, and is the first to go when memory runs out."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    number = {"x86_64": 251, "aarch64": 30}.get(platform.machine())  # ioprio_set(2) has no wrapper in libc
    if number is not None:
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)
    with suppress(OSError):  # a container may keep it from being written
        Path("/proc/self/oom_score_adj").write_text("1000")


def tied_to_parent() -> None:
    """This process ends with the thread that has started it: an engine that nobody waits for is not built."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13  # class 3, ioprio_set(2)
_PR_SET_PDEATHSIG = 1


def _built(
    bundle: Bundle,
    backend: Backend,
    store: EngineStore,
    wanted: Fingerprint,
    progress: Progress,
    thresholds: Sequence[ThresholdState],
    again: bool,
) -> Engine:
    with store.building(wanted, WAIT_S, lambda text: progress(0.0, f"{text}; waiting for it")) as folder:
        found = None if again else store.find(wanted)
        if found is not None:
            return found  # another process has built it meanwhile
        begun = time.monotonic()
        report = _write(bundle, backend, folder, progress)
        sums = files.sums(folder)
        model_file = replace(bundle.model_file(), engine_dir=str(folder) if sums else "")
        proof = prove(bundle, backend, model_file, thresholds=thresholds, progress=_part(progress, BUILT, 1.0))
        made = Passport(
            digest=wanted.digest,
            facts=dict(wanted.facts),
            bundle=bundle.name,
            version=bundle.version,
            built_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            build_s=round(time.monotonic() - begun, 3),
            report=report,
            files=sums,
            proof=proof,
        )
        files.write_through(folder / passport.FILE, made.to_json())
    engine = store.find(wanted)
    if engine is None:
        raise ConfigError(
            f"the engine of {bundle.name} was damaged or removed as soon as it was written to {store.folder}; check "
            "that disk"
        )
    return engine


def _write(bundle: Bundle, backend: Backend, folder: Path, progress: Progress) -> dict[str, Any]:
    """The engine's files into `folder`; what the two steps report."""
    source, report = bundle.model_file(), {}
    options = options_for(bundle, backend)
    if options != EngineOptions():
        quantised_by(load(bundle.folder / "model.onnx").graph)  # refuses what quantises itself while it runs
        typed = folder.parent / "typed.onnx"
        report["onnx"] = write_typed(bundle, options, typed, _part(progress, 0.0, TYPED))
        source = ModelFile(str(typed), files.sha256(typed))
    built = backend.build(source, bundle.spec, folder, _part(progress, TYPED, BUILT))
    return {**report, **built}


def _part(progress: Progress, low: float, high: float) -> Progress:
    """A step's own 0..1 as its part of the whole."""
    return lambda share, text: progress(low + (high - low) * share, text)
