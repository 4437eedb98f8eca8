"""The thread that has engines built: one at a time, each in a process of its own that yields to the station."""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import IO

import structlog
from pydantic import ValidationError

from edge_inspector.engine.passport import Proof
from edge_inspector.station.backoff import Backoff
from edge_inspector.station.events import EngineBuilt, EngineProgress, LineEvent

log = structlog.get_logger()
_WAIT_S = 0.25
RETRY_S = (10.0, 600.0)
"""First and longest wait before a build that failed is tried again, where trying again can help."""
LAST_WORDS = 2000
"""Characters of a failed build's own messages that are passed on."""


class EngineBuilds:
    """Runs `run` on a thread of its own; `put` and `stop` may be called from any other.

    `command` gives the command line that builds a recipe's engine and prints JSON lines; `again` says whether a failed
    one may succeed later without anybody's doing.
    """

    def __init__(
        self,
        command: Callable[[str], Sequence[str]],
        again: bool,
        report: Callable[[str, Proof], None],
        post: Callable[[LineEvent], None],
    ) -> None:
        self._command = command
        self._again = again
        self._report = report
        self._post = post
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._child: subprocess.Popen[str] | None = None

    def put(self, recipe: str) -> None:
        """Have the engine of this recipe built, after those that were asked for before."""
        self._wanted.put(recipe)

    def stop(self) -> None:
        """Also ends a build that is under way: it is begun anew at the next start."""
        self._stopping.set()
        child = self._child
        if child is not None:
            child.terminate()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                recipe = self._wanted.get(timeout=_WAIT_S)
            except queue.Empty:
                continue
            self._until_built(recipe)

    def _until_built(self, recipe: str) -> None:
        backoff = Backoff(*RETRY_S)
        while not self._stopping.is_set():
            proof, text = self._build(recipe)
            if self._stopping.is_set():
                return
            if proof is not None:
                self._report(recipe, proof)
                self._post(EngineBuilt(recipe, proof.outcome, proof.text))
                return
            wait_s = backoff.next_s() if self._again else None
            self._post(EngineBuilt(recipe, "", text if wait_s is None else f"{text}; tried again in {wait_s:g} s"))
            if wait_s is None:
                return
            self._stopping.wait(wait_s)

    def _build(self, recipe: str) -> tuple[Proof | None, str]:
        """The new engine's proof, or why there is none."""
        command = self._command(recipe)
        log.info("engine_build_begun", recipe=recipe, command=" ".join(command))
        proof, ended = None, ""
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, text=True
            )
            try:
                if self._stopping.is_set():
                    self._child.terminate()
                assert self._child.stdout is not None
                with self._child.stdout as lines:
                    for line in lines:
                        proof = self._heard(recipe, line) or proof
                code = self._child.wait()
                ended = "" if proof is not None else _last_words(words, code)
            finally:
                if self._child.poll() is None:
                    self._child.kill()
                    self._child.wait()
                self._child = None
        return proof, ended

    def _heard(self, recipe: str, line: str) -> Proof | None:
        """One line of the child: how far it is, or at last what came out."""
        try:
            said = json.loads(line)
            if "proof" in said:
                return Proof.model_validate(said["proof"])
            self._post(EngineProgress(recipe, float(said["progress"]), str(said["text"])))
        except (ValueError, KeyError, TypeError, ValidationError):
            log.warning("engine_build_said", recipe=recipe, line=line.strip())
        return None


def _last_words(words: IO[str], code: int) -> str:
    words.seek(0)
    said = words.read()[-LAST_WORDS:].strip()
    return said or f"the build ended with code {code} and said nothing"
