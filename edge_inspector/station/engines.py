"""Which engine a recipe's model runs on, and whether it may: on the GPU thread."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import structlog

from edge_inspector.datatypes import ThresholdState
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.fingerprint import fingerprint
from edge_inspector.engine.passport import Proof
from edge_inspector.engine.store import Engine, EngineStore
from edge_inspector.engine.verify import is_of
from edge_inspector.interfaces import Backend, ModelFile

log = structlog.get_logger()


@dataclass(frozen=True)
class Chosen:
    """What to load. `warning` says what is not as it should be; `outdated` that a better engine must be built.

    `batch_sizes` are those at which verdicts are known to be the same.
    """

    model_file: ModelFile
    warning: str = ""
    outdated: bool = False
    batch_sizes: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Missing:
    """There is no engine that this station could run: it must be built, or proven, first."""


@dataclass(frozen=True)
class Refused:
    """There is an engine, and no verdict of it may be used."""

    text: str


class Engines:
    """Chooses; builds nothing. `bundles` by recipe; `accepted` are those that may run though nothing proves them."""

    def __init__(
        self, backend: Backend, store: EngineStore, bundles: Mapping[str, Bundle], accepted: frozenset[str]
    ) -> None:
        self._backend = backend
        self._store = store
        self._bundles = bundles
        self._accepted = accepted
        self._reported: dict[str, tuple[Proof, str]] = {}

    def renew(self, bundles: Mapping[str, Bundle], outdated: Collection[str]) -> None:
        """These bundles from now on; what was built and proven for `outdated` recipes counts no more."""
        self._bundles = bundles
        for recipe in outdated:
            self._reported.pop(recipe, None)

    def report(self, recipe: str, proof: Proof, digest: str) -> None:
        """What the proof of the engine of this fingerprint that was built just now has said; any thread."""
        self._reported[recipe] = proof, digest

    def choose(self, recipe: str, model_file: ModelFile, thresholds: ThresholdState) -> Chosen | Missing | Refused:
        """ConfigError when the backend cannot run on this machine."""
        if self._backend.proof == "none":
            return Chosen(model_file)
        bundle = self._bundles[recipe]
        if self._backend.proof == "each_start":
            proof, digest = self._reported.get(recipe, (None, ""))
            # the file that the child has read, or the server, may be another by now
            if (
                proof is None
                or digest != fingerprint(bundle, self._backend).digest
                or not is_of(proof, bundle, [thresholds])
            ):
                return self._missing(recipe, bundle)
            return self._judged(bundle, proof, model_file)
        wanted = fingerprint(bundle, self._backend)
        engine = self._store.find(wanted)
        if engine is not None and not is_of(engine.passport.proof, bundle, [thresholds]):
            # golden set or thresholds have changed: what was proven is not what is asked for now
            return self._missing(recipe, bundle)
        choice = None if engine is None else self._judged(bundle, engine.passport.proof, _of(engine, model_file))
        if isinstance(choice, Chosen):
            return choice
        older = self._store.last_good(wanted, lambda proof: is_of(proof, bundle, [thresholds]))
        if older is None:
            return self._missing(recipe, bundle) if choice is None else choice
        why = "a new one is being built" if choice is None else choice.text
        text = f"bundle {bundle.name} runs on its engine of {older.passport.built_utc}: {why}"
        log.warning("older_engine_serves", recipe=recipe, bundle=bundle.name, built=older.passport.built_utc, why=why)
        sizes = older.passport.proof.batch_sizes
        return Chosen(_of(older, model_file), text, outdated=choice is None, batch_sizes=sizes)

    def _missing(self, recipe: str, bundle: Bundle) -> Missing | Refused:
        """Building again what was built just now would be for ever."""
        if recipe not in self._reported:
            return Missing()
        return Refused(
            f"the engine that was just built for bundle {bundle.name} is not the one that recipe {recipe} asks for: "
            "the station file, the bundle or the backend has changed since this start; start the station again"
        )

    def _judged(self, bundle: Bundle, proof: Proof, model_file: ModelFile) -> Chosen | Refused:
        if proof.outcome == "passed":
            return Chosen(model_file, batch_sizes=proof.batch_sizes)
        if proof.outcome == "unverified" and bundle.name in self._accepted:
            text = f"bundle {bundle.name} runs unverified, as station.accept_unverified allows: {proof.text}"
            return Chosen(model_file, text, batch_sizes=proof.batch_sizes)
        if proof.outcome == "unverified":
            return Refused(
                f"bundle {bundle.name} is unverified: give it golden pictures, or name it in station.accept_unverified "
                f"({proof.text})"
            )
        return Refused(
            f"the engine of bundle {bundle.name} failed its proof: {proof.text}; when bundle or thresholds are mended, "
            "prove it anew: edge-inspector engine verify"
        )


def _of(engine: Engine, model_file: ModelFile) -> ModelFile:
    return replace(model_file, engine_dir=engine.engine_dir)
