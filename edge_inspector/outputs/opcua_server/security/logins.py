"""Logging in while the server runs: off the event loop, one at a time, and not too often."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import anyio.to_thread
import structlog
from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509

from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Clock
from edge_inspector.outputs.opcua_server.security import users
from edge_inspector.outputs.opcua_server.security.certificates import Refused, valid
from edge_inspector.outputs.opcua_server.security.files import Pki, stamps
from edge_inspector.outputs.opcua_server.security.throttle import Throttle
from edge_inspector.outputs.opcua_server.security.times import utc
from edge_inspector.outputs.opcua_server.security.users import Account, Role

_log = structlog.get_logger(__name__)
MAX_WAITING = 8
_MAX_KNOWN = 64


@dataclass
class StationUser(User):  # type: ignore[misc]
    """Who has logged in. Nobody is asyncua's administrator, whatever the name."""

    writes: bool = False
    account: Account | None = None


def anonymous(writes: bool) -> StationUser:
    return StationUser(UserRole.User, "anonymous", writes)


class Logins:
    """The users file, read again when it changes; the last good one stays in force."""

    def __init__(self, pki: Pki, clock: Clock) -> None:
        """ConfigError when the file is damaged. Blocks."""
        self._pki = pki
        self._clock = clock
        self._throttle = Throttle()
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0
        self._salt = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        """Passwords that were right before, hashed with a salt that dies with the process: the PLC comes back often."""
        self._stamps: object = stamps(pki.users)
        self._users: Mapping[str, Account] = users.read_users(pki.users)

    @property
    def count(self) -> int:
        return len(self._users)

    async def with_password(self, name: str, password: str, address: str) -> StationUser:
        """Refused with BadUserAccessDenied, whatever is wrong."""
        if not self._throttle.take(address, self._clock.monotonic_ns()):
            raise _denied(f"too many failed logins from {address}")
        if self._waiting >= MAX_WAITING:
            raise Refused(ua.StatusCodes.BadTooManyOperations, "too many logins at once")
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                account = await anyio.to_thread.run_sync(self._by_password, name, password)
        finally:
            self._waiting -= 1
        if account is None:
            raise _denied(f"user {name[:63]!r} and password do not fit")
        self._throttle.give_back(address)
        return _user(account)

    async def with_certificate(self, certificate: x509.Certificate) -> StationUser:
        """Its key was proven already. Refused."""
        account = await anyio.to_thread.run_sync(self._by_certificate, certificate)
        if account is None:
            raise _denied("no user has this certificate")
        begin, end = valid(certificate)
        now = utc(self._clock)
        if now > end or (self._clock.synced() and now < begin):
            raise Refused(ua.StatusCodes.BadIdentityTokenRejected, f"the certificate of {account.name!r} is not valid")
        return _user(account)

    def still_there(self, accounts: set[Account]) -> set[Account]:
        """Those of them that the file still holds, unchanged. Blocks."""
        self._read_again()
        return accounts & set(self._users.values())

    def _by_password(self, name: str, password: str) -> Account | None:
        self._read_again()
        account = self._users.get(name)
        if account is None:
            users.is_password(None, password)
            return None
        mark = hmac.digest(self._salt, f"{account.secret}\0{password}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        if mark in self._known:
            return account
        if not users.is_password(account, password):
            return None
        self._known[mark] = None
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return account

    def _by_certificate(self, certificate: x509.Certificate) -> Account | None:
        self._read_again()
        return users.by_certificate(self._users, certificate)

    def _read_again(self) -> None:
        seen = stamps(self._pki.users)
        if seen == self._stamps:
            return
        self._stamps = seen
        try:
            self._users = users.read_users(self._pki.users)
        except ConfigError as exc:
            _log.error("opcua_users_unreadable", error=str(exc), in_force="those that were there before")


def _user(account: Account) -> StationUser:
    return StationUser(UserRole.User, account.name, account.role is Role.PLC, account)


def _denied(reason: str) -> Refused:
    return Refused(ua.StatusCodes.BadUserAccessDenied, reason)
