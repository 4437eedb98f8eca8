"""The thread that has engines built: one at a time, each in a process of its own that yields to the station."""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import IO

import structlog

from edge_inspector.engine.passport import Proof
from edge_inspector.station.backoff import Backoff
from edge_inspector.station.events import EngineBuilt, EngineProgress, LineEvent

log = structlog.get_logger()
_WAIT_S = 0.25
RETRY_S = (10.0, 600.0)
"""First and longest wait before a build that failed is tried again, where trying again can help."""
SILENT_S = 7200.0
"""A build that says nothing for so long hangs: the largest networks take a builder an hour on the smallest boards."""
LAST_WORDS = 2000
"""Characters of a failed build's own messages that are passed on."""


@dataclass(frozen=True)
class _LastLine:
    """The proof, and the fingerprint's digest of what was proven."""

    proof: Proof
    engine: str


class EngineBuilds:
    """Runs `run` on a thread of its own; `put` and `stop` may be called from any other.

    `command` gives the command line that builds a recipe's engine and prints JSON lines, empty = there is no such
    recipe; `again` says whether a failed
    one may succeed later without anybody's doing.
    """

    def __init__(
        self,
        command: Callable[[str], Sequence[str]],
        again: bool,
        report: Callable[[str, Proof, str], None],
        post: Callable[[LineEvent], None],
    ) -> None:
        self._command = command
        self._again = again
        self._report = report
        self._post = post
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._later: dict[str, float] = {}
        self._waits: dict[str, Backoff] = {}
        self._stopping = threading.Event()
        self._child: subprocess.Popen[str] | None = None
        self._heard_s = 0.0
        self._killed = self._silent = False
        self._telling = threading.Lock()
        self._building = ""
        self._outdated = False

    def put(self, recipe: str) -> None:
        """Have the engine of this recipe built, after those that were asked for before."""
        self._wanted.put(recipe)

    def forget(self, recipes: Collection[str]) -> None:
        """Their bundles or thresholds are others by now: what is built for them is given up, and nothing is told."""
        with self._telling:
            for recipe in recipes:
                self._later.pop(recipe, None)
                self._waits.pop(recipe, None)
            self._outdated = self._outdated or self._building in recipes
            child = self._child if self._building in recipes else None
        if child is not None:
            child.terminate()

    def check(self, now_s: float | None = None) -> None:
        """End a build that hangs; `now_s` is time.monotonic(), None = now. Any thread, now and then."""
        child, now_s = self._child, time.monotonic() if now_s is None else now_s
        if child is not None and now_s - self._heard_s > SILENT_S:
            self._silent = True
            child.kill()

    def stop(self) -> None:
        """Also ends a build that is under way: it is begun anew at the next start."""
        self._stopping.set()
        child = self._child
        if child is not None:
            child.terminate()

    def run(self) -> None:
        while not self._stopping.is_set():
            recipe = self._next()
            if recipe is not None:
                self._attempt(recipe)

    def _next(self) -> str | None:
        """What was asked for goes before what is tried again: one that cannot be built holds up no other."""
        due = [recipe for recipe, at in list(self._later.items()) if at <= time.monotonic()]
        try:
            return self._wanted.get(timeout=0 if due else _WAIT_S)
        except queue.Empty:
            return due[0] if due else None

    def _attempt(self, recipe: str) -> None:
        self._later.pop(recipe, None)
        command = self._command(recipe)
        if not command:  # the station does not have it any more
            return
        with self._telling:
            self._building, self._outdated = recipe, False
        built, text = self._build(recipe, command)
        with self._telling:
            self._building = ""
            if not self._stopping.is_set() and not self._outdated:
                self._ended(recipe, built, text)

    def _ended(self, recipe: str, built: _LastLine | None, text: str) -> None:
        if built is not None:
            self._waits.pop(recipe, None)
            self._report(recipe, built.proof, built.engine)
            self._post(EngineBuilt(recipe, built.proof.outcome, built.proof.text))
            return
        if self._again or self._killed:
            wait_s = self._waits.setdefault(recipe, Backoff(*RETRY_S)).next_s()
            self._later[recipe] = time.monotonic() + wait_s
            text = f"{text}; tried again in {wait_s:g} s"
        self._post(EngineBuilt(recipe, "", text))

    def _build(self, recipe: str, command: Sequence[str]) -> tuple[_LastLine | None, str]:
        """What the child said at last, or why it said nothing."""
        self._killed = self._silent = False
        self._heard_s = time.monotonic()
        log.info("engine_build_begun", recipe=recipe, command=" ".join(command))
        try:
            return self._ran(recipe, command)
        except OSError as exc:  # no memory, no space for its words: other recipes may still be inspected
            return None, f"the build cannot be run: {exc}"

    def _ran(self, recipe: str, command: Sequence[str]) -> tuple[_LastLine | None, str]:
        built, ended = None, ""
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=words,
                encoding="utf-8",
                errors="replace",
            )
            try:
                if self._stopping.is_set() or self._outdated:
                    self._child.terminate()
                assert self._child.stdout is not None
                with self._child.stdout as lines:
                    for line in lines:
                        built = self._heard(recipe, line) or built
                code = self._child.wait()
                self._killed = code < 0  # when memory runs out it is the first to go, and may find more another time
                ended = "" if built is not None else _last_words(words, code)
                if self._silent:
                    ended = f"the build has said nothing for {SILENT_S:g} s and was ended"
            finally:
                if self._child.poll() is None:
                    self._child.kill()
                    self._child.wait()
                self._child = None
        return built, ended

    def _heard(self, recipe: str, line: str) -> _LastLine | None:
        """One line of the child: how far it is, or at last what came out."""
        self._heard_s = time.monotonic()
        if self._outdated:
            return None
        try:
            said = json.loads(line)
            if "proof" in said:
                return _LastLine(Proof.model_validate(said["proof"]), str(said["engine"]))
            self._post(EngineProgress(recipe, float(said["progress"]), str(said["text"])))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            log.warning("engine_build_said", recipe=recipe, line=line.strip())
        return None


def _last_words(words: IO[str], code: int) -> str:
    words.seek(0)
    said = words.read()[-LAST_WORDS:].strip()
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with code {code} and said nothing"
    return f"the build {ended}" if code < 0 or not said else said
