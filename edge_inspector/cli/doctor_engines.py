"""What `edge-inspector doctor` finds out about the backend, and whether a proven engine fits this machine."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote

from edge_inspector import config, plugins
from edge_inspector.config import Draft, StationConfig
from edge_inspector.engine.bundle import find_bundle, load_bundle
from edge_inspector.engine.fingerprint import Fingerprint, backend_name, fingerprint
from edge_inspector.engine.passport import Outcome
from edge_inspector.engine.store import EngineStore, Stored
from edge_inspector.errors import ConfigError
from edge_inspector.health.asking import ask
from edge_inspector.health.finding import Finding, Level, judged
from edge_inspector.health.jetson import Program
from edge_inspector.interfaces import Backend

ASKED_S = 60.0
"""The first call of CUDA after a start takes some seconds, proofs of many bundles some more."""
_MARK = "== findings "
_LATER = "The station builds it before it becomes READY: minutes, in which no part is inspected."

_LEVELS: Mapping[Outcome, Level] = {"passed": "ok", "failed": "fail", "unverified": "warn"}


def program(draft: Draft | None) -> Program:
    """What runs this command, and so the station."""
    needed = draft is not None and draft.station is not None and draft.station.backend.type == "tensorrt"
    return Program(sys.version_info[:2], importlib.util.find_spec("tensorrt") is not None, needed)


def engines_asked(file: Path, limit_s: float = ASKED_S, python: str = sys.executable) -> Iterator[Finding]:
    """`engine_findings` of a program of its own: a GPU that hangs, or a driver that crashes, takes that one along."""
    code = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import tell; tell(sys.argv[2])"
    try:
        # as this program finds its modules, and not in the folder where root happens to be
        status, out, err = ask([python, "-I", "-c", code, json.dumps(sys.path), str(file)], limit_s)
        found = [Finding(**one) for one in json.loads(out.rpartition(_MARK)[2])] if status == 0 else []
    except (TimeoutError, ValueError) as exc:
        status, err, found = 1, str(exc), []
    yield from found
    if status:
        last = (err.strip().splitlines() or ["it said nothing"])[-1]
        died = f"it was ended by signal {-status}; " if status < 0 else ""
        why = "A GPU or a driver that does not answer: the station would hang as well."
        mend = "sudo dmesg --level=err,warn | tail -n 30 # and restart the machine when it names the GPU (nvgpu, NVRM)"
        yield judged("engine.backend", "", "fail", f"{died}{last}", f"an answer within {limit_s:g} s", why, mend)


def tell(file: str) -> None:
    """Print the findings on a station file, as JSON behind a mark: libraries print what they like."""
    station = config.draft(Path(file)).station
    found = () if station is None else engine_findings(Path(file), station)
    print(_MARK + json.dumps([asdict(one) for one in found]))


def engine_findings(file: Path, settings: StationConfig) -> Iterator[Finding]:
    """The station's backend on this machine, and the engine of each bundle. Reads the GPU's facts, loads no model."""
    backend: Backend = plugins.load("backend", settings.backend.type)(settings.backend)
    name = backend_name(backend)
    try:
        facts = backend.facts()
    except ConfigError as exc:
        why = "No model can be loaded."
        mend = "do what the message says; which versions belong together: docs/how-to/build-an-engine.md"
        yield judged("engine.backend", name, "fail", str(exc), "it runs on this machine", why, mend)
        return
    told = ", ".join(f"{key} {value}" for key, value in facts.items() if not key.startswith("option."))
    yield judged("engine.backend", name, "ok", told)
    if backend.proof != "kept":
        return
    store = EngineStore(settings.station.state_dir / "engines")
    seen: set[str] = set()
    for recipe in settings.recipes.values():
        try:
            bundle = load_bundle(find_bundle(recipe.bundle, file.resolve().parent))
            wanted = fingerprint(bundle, backend)
        except ConfigError:  # station.file has said it
            continue
        if wanted.digest not in seen:
            seen.add(wanted.digest)
            build = f"edge-inspector engine build {quote(str(recipe.bundle))} --station {quote(str(file))}"
            yield engine_finding(f"{bundle.name} {bundle.version}", wanted, store.list(), build)


def engine_finding(subject: str, wanted: Fingerprint, stored: Sequence[Stored], build: str) -> Finding:
    """Whether one of the engines was built from the bundle `subject` for just this machine, and is proven."""
    expected = "an engine for this machine, proven"
    mine = next((one for one in stored if one.folder.name == wanted.digest), None)
    if mine is None:
        others = [one.passport.fingerprint for one in stored if one.passport is not None]
        mine_elsewhere = next((one for one in others if wanted.same_model(one)), None)
        found = (
            "none is built"
            if mine_elsewhere is None
            else f"built for another one: {_difference(wanted, mine_elsewhere)}"
        )
        return judged("engine.match", subject, "warn", found, expected, _LATER, build)
    if mine.passport is None:
        return judged(
            "engine.match", subject, "warn", f"{mine.folder.name[:12]}: {mine.problem}", expected, _LATER, build
        )
    proof = mine.passport.proof
    found = f"{mine.folder.name[:12]}, built {mine.passport.built_utc}, {proof.outcome}: {proof.text}"
    why = "It gives other verdicts than the ONNX file, or too few pictures show that it does not."
    return judged("engine.match", subject, _LEVELS[proof.outcome], found, expected, why, f"{build} --again")


def _difference(wanted: Fingerprint, other: Fingerprint) -> str:
    names = sorted(name for name in {**wanted.facts, **other.facts} if wanted.facts.get(name) != other.facts.get(name))
    return "; ".join(f"{one} {other.facts.get(one) or '-'}, here {wanted.facts.get(one) or '-'}" for one in names)
