"""The users of the OPC UA server: who may log in how, and what for. A text file, one user a line."""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from edge_inspector.errors import ConfigError
from edge_inspector.outputs.opcua_server.security.certificates import identity, read_bytes
from edge_inspector.outputs.opcua_server.security.files import PRIVATE, write_file

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}")
PASSWORD_LENGTH = (8, 128)
_N, _R, _P = 2**14, 8, 1  # 16 MB and about 50 ms on one core: what a login may cost on a Jetson that inspects
_MAX_N, _MAX_R, _MAX_P = 2**17, 16, 4
_SALT_BYTES = 16
_HEAD = """\
# Users of the OPC UA server: NAME:ROLE:SECRET, a line each. Made by `edge-inspector opcua user add`.
# ROLE is reader or plc. SECRET is scrypt$N$R$P$SALT$HASH (salt and hash in base64, 32 bytes of hash),
# or x509$THUMBPRINT: SHA-256 of the user's certificate in hex.
"""


class Role(str, enum.Enum):
    """What a user may do."""

    READER = "reader"
    """Read and subscribe."""
    PLC = "plc"
    """And write the Control tags and call methods."""


@dataclass(frozen=True)
class Account:
    """One line of the file; `secret` proves who it is."""

    name: str
    role: Role
    secret: str

    @property
    def by_certificate(self) -> bool:
        return self.secret.startswith("x509$")


def read_users(path: Path) -> Mapping[str, Account]:
    """By name; a file that does not exist has none. ConfigError names the line that is damaged."""
    if not path.exists():
        return {}
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 text; restore it from a backup, or delete it and add the users") from exc
    users: dict[str, Account] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        account = _account(f"{path}, line {number}", line.strip())
        if account.name in users:
            raise ConfigError(f"{path}, line {number}: user {account.name!r} is there already; remove one of the lines")
        users[account.name] = account
    return users


def write_users(path: Path, users: Mapping[str, Account]) -> None:
    """OSError."""
    lines = [f"{one.name}:{one.role.value}:{one.secret}\n" for one in users.values()]
    write_file(path, (_HEAD + "".join(lines)).encode(), PRIVATE)


def with_password(name: str, role: Role, password: str) -> Account:
    """ConfigError when name or password are not what a client can send."""
    low, high = PASSWORD_LENGTH
    if not low <= len(password) <= high:
        raise ConfigError(f"password: has {len(password)} characters, expected {low} to {high}")
    salt = secrets.token_bytes(_SALT_BYTES)
    hashed = _scrypt(password, salt, _N, _R, _P)
    return Account(_name(name), role, f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(hashed)}")


def with_certificate(name: str, role: Role, certificate: x509.Certificate) -> Account:
    """ConfigError when the name is none."""
    return Account(_name(name), role, f"x509${identity(certificate).hex()}")


def is_password(account: Account | None, password: str) -> bool:
    """Whether it is this user's. Takes as long when there is no such user. Blocks for about 50 ms, without the GIL."""
    known = account is not None and not account.by_certificate
    n, r, p, salt, expected = _parsed(account.secret if account is not None and known else _NOBODY)
    given = _scrypt(password[: PASSWORD_LENGTH[1] + 1], salt, n, r, p)
    return hmac.compare_digest(given, expected) and known


def by_certificate(users: Mapping[str, Account], certificate: x509.Certificate) -> Account | None:
    """The user whose certificate this is."""
    wanted = f"x509${identity(certificate).hex()}"
    return next((one for one in users.values() if one.secret == wanted), None)


def _account(where: str, line: str) -> Account:
    name, _, rest = line.partition(":")
    role, _, secret = rest.partition(":")
    expected = "expected NAME:ROLE:SECRET as `edge-inspector opcua user add` writes it; restore or remove the line"
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: the name is not one; {expected}")
    if role not in {one.value for one in Role}:
        raise ConfigError(f"{where}: role {role[:20]!r} is not known, known are reader and plc; {expected}")
    try:
        if re.fullmatch(r"x509\$[0-9a-f]{64}", secret) is None:
            _parsed(secret)
    except (ValueError, binascii.Error) as exc:
        raise ConfigError(f"{where}: the secret of {name!r} is damaged; {expected}") from exc
    return Account(name, Role(role), secret)


def _parsed(secret: str) -> tuple[int, int, int, bytes, bytes]:
    """n, r, p, salt, hash. ValueError."""
    kind, n_text, r_text, p_text, salt_text, hash_text = secret.split("$")
    n, r, p = int(n_text), int(r_text), int(p_text)
    salt, hashed = base64.b64decode(salt_text, validate=True), base64.b64decode(hash_text, validate=True)
    if kind != "scrypt" or len(salt) < 8 or len(hashed) != 32:
        raise ValueError("not a secret")
    if not (2**10 <= n <= _MAX_N and n & (n - 1) == 0 and 1 <= r <= _MAX_R and 1 <= p <= _MAX_P):
        raise ValueError("scrypt's numbers are out of range")
    return n, r, p, salt, hashed


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32
    )


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ConfigError(f"user {name!r}: expected up to 63 letters, digits, '.', '_', '@' and '-'")
    return name


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


_NOBODY = f"scrypt${_N}${_R}${_P}${_text(bytes(_SALT_BYTES))}${_text(bytes(32))}"
