"""Who may use the web service: tokens with a role, kept as hashes in a file of the station."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal, get_args

from edge_inspector.engine.files import sync
from edge_inspector.errors import ConfigError

Role = Literal["reader", "operator", "engineer"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""
PREFIX = "ei_"
"""So that a scanner for leaked secrets, and a person, knows one."""
WITHOUT_TOKEN = "loopback"
"""The name under which a request from this machine is audited while the station has no token."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}")
_SECRET_BYTES = 32
_OTHERS_MAY_WRITE = 0o022


@dataclass(frozen=True)
class Token:
    """One entry of the file; the secret itself is nowhere. `expires_utc`: RFC 3339, None = never."""

    name: str
    role: Role
    sha256: str
    created_utc: str
    expires_utc: str | None

    def expired(self, now: datetime) -> bool:
        return self.expires_utc is not None and datetime.fromisoformat(self.expires_utc) <= now


def token_file(state_dir: Path) -> TokenFile:
    """Where a station keeps them."""
    return TokenFile(state_dir / "web" / "tokens.json")


def may(role: Role, needed: Role) -> bool:
    return ROLES.index(role) >= ROLES.index(needed)


class TokenFile:
    """The tokens of one station. It is read again when it changes, so that a removed token is refused at once.

    A plain SHA-256 is enough: the secrets are 256 random bits that nobody can guess, however fast a guess is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: object = None
        self._tokens: tuple[Token, ...] = ()

    def tokens(self) -> tuple[Token, ...]:
        """All of them, expired ones included; none without a file. ConfigError: the file cannot be trusted."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._tokens = None, ()
            return ()
        except OSError as exc:
            raise ConfigError(f"tokens {self.path}: cannot be read: {exc.strerror}") from exc
        if found.st_mode & _OTHERS_MAY_WRITE:
            raise ConfigError(
                f"tokens {self.path}: others than its owner may write it (mode {found.st_mode & 0o777:o}); "
                f"look who did, then `chmod 600 {self.path}`"
            )
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._tokens = _read(self.path)
            self._stamp = stamp
        return self._tokens

    def find(self, secret: str, now: datetime) -> Token | None:
        """The token of this secret while it is valid. It takes as long for a wrong one as for a right one."""
        digest, found = _digest(secret), None
        for token in self.tokens():
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return None if found is None or found.expired(now) else found

    def add(self, name: str, role: Role, days: int, now: datetime) -> tuple[Token, str]:
        """A new token and its secret, which is told this once. `days` = 0: it never expires.

        ConfigError: the name is no name, or taken.
        """
        if not _NAME.fullmatch(name) or name == WITHOUT_TOKEN:
            raise ConfigError(f"token name {name!r}: expected at most 63 letters, digits, - _ . @, such as panel-3")
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        expires = _text(now + timedelta(days=days)) if days else None
        token = Token(name, role, _digest(secret), _text(now), expires)
        with self._locked():
            tokens = self.tokens()
            if any(other.name == name for other in tokens):
                raise ConfigError(f"token {name!r} exists already: remove it first, or give another name")
            self._write((*tokens, token))
        return token, secret

    def remove(self, name: str) -> Token:
        """ConfigError when there is none of this name."""
        with self._locked():
            tokens = self.tokens()
            for token in tokens:
                if token.name == name:
                    self._write([other for other in tokens if other is not token])
                    return token
        known = ", ".join(sorted(token.name for token in tokens)) or "none at all"
        raise ConfigError(f"token {name!r}: there is none of this name; there are: {known}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else changes the file inside."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ConfigError(
                f"tokens {self.path}: cannot be changed: {exc.strerror}; run it as the station's user"
            ) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, tokens: Sequence[Token]) -> None:
        """Whole or not at all, and on the disk when it returns: no power cut brings a removed token back."""
        part = self.path.with_name(f".{self.path.name}.part")
        text = json.dumps({"schema": 1, "tokens": [asdict(token) for token in tokens]}, indent=2) + "\n"
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path)
        sync(self.path.parent)


def _read(path: Path) -> tuple[Token, ...]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != 1:
            raise ConfigError(f"tokens {path}: schema = {content['schema']!r}, expected 1: written by a newer version?")
        tokens = tuple(Token(**entry) for entry in content["tokens"])
        for token in tokens:
            if token.role not in ROLES or len(bytes.fromhex(token.sha256)) != hashlib.sha256().digest_size:
                raise ValueError(f"token {token.name!r} has no known role, or no SHA-256")
            token.expired(datetime.now(timezone.utc))
    except OSError as exc:
        raise ConfigError(f"tokens {path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise ConfigError(f"tokens {path}: damaged: {exc}; delete it and add the tokens again") from exc
    return tokens


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="seconds")
