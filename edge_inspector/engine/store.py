"""Built engines on disk: each in a folder of its own, with its passport; nothing damaged is ever given out."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from edge_inspector.engine import files, passport
from edge_inspector.engine.fingerprint import Fingerprint
from edge_inspector.engine.passport import NewerPassportError, Passport, Proof
from edge_inspector.errors import BundleError, ConfigError

log = structlog.get_logger()
DAMAGED = ".damaged"
_BUILDING, _OLD, _LOCK, _PASSPORT = ".building", ".old-", ".lock", ".passport"
_OURS = re.compile(rf"[0-9a-f]{{64}}({DAMAGED})?")
_LOCK_POLL_S = 0.5
_RENEW_S = 60.0  # a new proof has taken a minute or more: it is not given up because somebody prunes


class StoreBusyError(ConfigError):
    """Another process builds an engine there."""


@dataclass(frozen=True)
class Engine:
    """A whole engine: every file of it is as its passport says."""

    folder: Path
    passport: Passport

    @property
    def engine_dir(self) -> str:
        """What a backend is to load; empty = it runs the ONNX file itself, and only its proof is kept here."""
        return str(self.folder) if self.passport.files else ""


@dataclass(frozen=True)
class Stored:
    """What lies in one folder of the store; `passport` is None when it cannot be used, and `problem` says why."""

    folder: Path
    size: int
    passport: Passport | None
    problem: str = ""


class EngineStore:
    """All engines of one station, in `folder`; a folder in it is named for the fingerprint of its engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: set[tuple[Path, str]] = set()

    def find(self, wanted: Fingerprint) -> Engine | None:
        """The engine of this fingerprint, whatever its proof says.

        What is damaged there is set aside and told in the log. ConfigError: this user may not read it.
        """
        folder = self.folder / wanted.digest
        return self._whole(folder) if os.path.lexists(folder) else None

    def last_good(self, wanted: Fingerprint, is_enough: Callable[[Proof], bool] = lambda proof: True) -> Engine | None:
        """An engine of the same model that runs on this machine and has passed its proof; the newest of them.

        `is_enough` says whether a proof that was passed is of what is asked for now. A proof alone, without files, is
        of what the backend was told then, and says nothing of what would run now.
        """
        candidates = [
            stored
            for stored in self.list()
            if stored.passport is not None
            and stored.passport.files
            and stored.passport.proof.outcome == "passed"
            and wanted.same_model(stored.passport.fingerprint)
            and wanted.runs_where(stored.passport.fingerprint)
            and is_enough(stored.passport.proof)
        ]
        candidates.sort(key=lambda one: one.passport.built_utc if one.passport else "", reverse=True)
        return next((engine for one in candidates if (engine := self._whole(one.folder)) is not None), None)

    @contextmanager
    def building(
        self, wanted: Fingerprint, timeout_s: float = 0.0, waiting: Callable[[str], None] = lambda text: None
    ) -> Iterator[Path]:
        """An empty folder in which to write an engine; with a passport in it, it is the store's when the block ends.

        Without one, or after an error, it is removed with all that lies beside it in its parent. StoreBusyError:
        another process builds, and still did after `timeout_s`; `waiting` is told meanwhile. ConfigError: the disk is
        full, or the folder may not be written.
        """
        with self._locked(timeout_s, waiting):
            parent = self.folder / _BUILDING
            folder = parent / "engine"
            try:
                self._clean()
                folder.mkdir(parents=True)
                yield folder
                if (folder / passport.FILE).is_file():
                    self._take(folder, self.folder / wanted.digest)
            except OSError as exc:
                raise ConfigError(
                    f"no engine can be built in {self.folder}: {exc}; free space, for example with `edge-inspector "
                    "engine prune`, or let this user write there"
                ) from exc
            finally:
                shutil.rmtree(parent, ignore_errors=True)

    def renew(self, engine: Engine, proof: Proof) -> Engine:
        """Put a new proof into an engine's passport. StoreBusyError and ConfigError as `building`."""
        renewed = engine.passport.model_copy(update={"proof": proof})
        with self._locked(_RENEW_S):
            part = self.folder / _PASSPORT  # beside the engine: a file more in its folder would be damage
            try:
                files.write_through(part, renewed.to_json())
                part.replace(engine.folder / passport.FILE)
                files.sync(engine.folder)
            except OSError as exc:
                part.unlink(missing_ok=True)
                raise ConfigError(f"{engine.folder}: its passport cannot be written: {exc}; free space there") from exc
        return Engine(engine.folder, renewed)

    def list(self) -> Sequence[Stored]:
        """Everything in the store, newest first; files are not compared with their sums. Changes nothing."""
        found = [self._stored(path) for path in self._entries()]
        return sorted(found, key=lambda one: one.passport.built_utc if one.passport else "", reverse=True)

    def prune(self, keep: Collection[str]) -> int:
        """Remove all engines but those of the digests in `keep`, and all that is damaged; gives the bytes freed.

        StoreBusyError: a build is under way. ConfigError: this user may not remove them.
        """
        if not self.folder.is_dir():
            return 0
        freed = 0
        with self._locked(0.0):
            try:
                self._clean()
                for path in self._entries():
                    if path.name not in keep:
                        size = files.size_of(path)
                        files.remove(path)
                        freed += size
            except OSError as exc:
                raise ConfigError(f"{self.folder}: engines cannot be removed: {exc}; run this as their owner") from exc
        return freed

    def _entries(self) -> Sequence[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if _OURS.fullmatch(path.name))
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise ConfigError(f"{self.folder} cannot be read: {exc.strerror}; let this user read it") from exc

    def _stored(self, path: Path) -> Stored:
        size = files.size_of(path)
        if path.name.endswith(DAMAGED):
            return Stored(path, size, None, "damaged: never loaded, removed by prune")
        try:
            return Stored(path, size, files.passport_in(path))
        except (BundleError, OSError) as exc:
            return Stored(path, size, None, str(exc))

    def _whole(self, folder: Path) -> Engine | None:
        """None: there is none, or it cannot be used, which is told once."""
        try:
            return Engine(folder, files.checked(folder))
        except FileNotFoundError:
            return None  # replaced or pruned at this moment
        except PermissionError as exc:
            raise ConfigError(
                f"{folder} may not be read by this user ({exc}); it was built by another one: change its owner with "
                "chown -R, or build as the user of the station"
            ) from exc
        except NewerPassportError as exc:
            self._tell("engine_of_later_version", folder, str(exc))
        except (BundleError, OSError) as exc:
            self._set_aside(folder, str(exc))
        return None

    def _set_aside(self, folder: Path, why: str) -> None:
        """Nothing is moved while somebody builds: what looks damaged may be about to be replaced."""
        aside = folder.with_name(folder.name + DAMAGED)
        try:
            with self._locked(0.0):
                with suppress(BundleError, OSError):
                    files.checked(folder)
                    return  # it was replaced meanwhile, and is whole
                files.remove(aside)
                folder.rename(aside)
        except (ConfigError, OSError) as exc:
            self._tell("engine_damaged", folder, why, kept=f"not set aside: {exc}")
        else:
            self._tell("engine_damaged", folder, why, set_aside=str(aside))

    def _tell(self, event: str, folder: Path, why: str, **facts: str) -> None:
        if (folder, why) not in self._told:
            self._told.add((folder, why))
            log.warning(event, folder=str(folder), why=why, **facts)

    def _take(self, made: Path, target: Path) -> None:
        """The made folder under its own name, with all that it holds on the disk; the one before it goes."""
        files.sync_tree(made)
        old = target.with_name(_OLD + target.name)
        if os.path.lexists(target):
            target.rename(old)
        made.rename(target)
        files.sync(self.folder)
        files.remove(old)

    def _clean(self) -> None:
        """Remove what a killed builder left; an engine that it had moved out of the way comes back."""
        files.remove(self.folder / _BUILDING)
        files.remove(self.folder / _PASSPORT)
        for old in self.folder.glob(f"{_OLD}*"):
            target = old.with_name(old.name.removeprefix(_OLD))
            if os.path.lexists(target):
                files.remove(old)
            else:
                old.rename(target)

    @contextmanager
    def _locked(self, timeout_s: float, waiting: Callable[[str], None] = lambda text: None) -> Iterator[None]:
        """One process at a time; the kernel opens the lock when its holder is killed."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise ConfigError(f"{self.folder} cannot be written: {exc}; let this user write there") from exc
        try:
            deadline = time.monotonic() + timeout_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as exc:
                    who = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "another one"
                    text = f"process {who} works on the engines in {self.folder}"
                    if time.monotonic() >= deadline:
                        raise StoreBusyError(f"{text}; wait until it has ended") from exc
                    waiting(text)
                    time.sleep(_LOCK_POLL_S)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
            yield
        finally:
            os.close(descriptor)
