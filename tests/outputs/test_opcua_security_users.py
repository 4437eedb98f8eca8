"""The users of the OPC UA server: their file, their passwords, and how often one may be wrong."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path

import pytest
import security_kit as kit
from asyncua import ua

from edge_inspector.errors import ConfigError
from edge_inspector.outputs.opcua_server.security import users
from edge_inspector.outputs.opcua_server.security.certificates import Refused
from edge_inspector.outputs.opcua_server.security.files import Pki
from edge_inspector.outputs.opcua_server.security.logins import Logins
from edge_inspector.outputs.opcua_server.security.throttle import BURST, MAX_ADDRESSES, REFILL_NS, Throttle
from edge_inspector.outputs.opcua_server.security.users import Account, Role

PASSWORD = "größer als ✓"
LINE = users.with_password("line", Role.PLC, PASSWORD)
SCADA = kit.party("scada")
KNOWN = hashlib.scrypt(b"password", salt=b"NaClNaCl", n=1024, r=8, p=4, dklen=32)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    found = Pki(tmp_path / "pki")
    users.write_users(
        found.users, {"line": LINE, "scada": users.with_certificate("scada", Role.READER, SCADA.certificate)}
    )
    return found


def test_a_password_is_the_users_or_not() -> None:
    assert users.is_password(LINE, PASSWORD)
    for wrong in (PASSWORD + " ", PASSWORD[:-1], "", PASSWORD.upper(), "x" * 10_000):
        assert not users.is_password(LINE, wrong)
    assert not users.is_password(None, "")


def test_the_documented_format_is_that_of_any_scrypt() -> None:
    salt, hashed = "TmFDbE5hQ2w=", base64.b64encode(KNOWN).decode()
    account = Account("a", Role.READER, f"scrypt$1024$8$4${salt}${hashed}")
    assert users.is_password(account, "password")
    assert not users.is_password(account, "Password")


def test_the_same_password_never_looks_the_same() -> None:
    assert LINE.secret != users.with_password("line", Role.PLC, PASSWORD).secret
    assert PASSWORD not in LINE.secret


def test_nobody_logs_in_with_the_password_of_a_user_who_does_not_exist() -> None:
    """The secret against which unknown users are measured has no password that anybody could know."""
    assert not users.is_password(None, PASSWORD)
    certificate = users.with_certificate("c", Role.PLC, SCADA.certificate)
    assert not users.is_password(certificate, certificate.secret)


@pytest.mark.parametrize("password", ["", "1234567", "x" * 129])
def test_a_password_has_a_length(password: str) -> None:
    with pytest.raises(ConfigError, match="expected 8 to 128"):
        users.with_password("line", Role.PLC, password)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "-a", "a\n", "ä", "x" * 64])
def test_a_name_fits_into_a_line(name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        users.with_password(name, Role.PLC, PASSWORD)


def test_the_file_is_read_as_it_was_written_and_is_private(pki: Pki) -> None:
    found = users.read_users(pki.users)
    assert (found["line"], list(found)) == (LINE, ["line", "scada"])
    assert pki.users.stat().st_mode & 0o777 == 0o600
    assert users.by_certificate(found, SCADA.certificate) == found["scada"]
    assert users.by_certificate(found, kit.party("plc").certificate) is None


def test_no_file_has_no_users(tmp_path: Path) -> None:
    assert users.read_users(tmp_path / "users.txt") == {}


SECRET = LINE.secret


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("line", "role ''"),
        ("line:plc:", "secret of 'line' is damaged"),
        ("line:admin:" + SECRET, "role 'admin' is not known, known are reader and plc"),
        ("l ine:plc:" + SECRET, "the name is not one"),
        ("line:plc:" + SECRET[:-1], "damaged"),
        ("line:plc:" + SECRET.replace("scrypt", "md5"), "damaged"),
        ("line:plc:" + SECRET.replace("$16384$", "$16383$"), "damaged"),
        ("line:plc:" + SECRET.replace("$16384$", "$1073741824$"), "damaged"),
        ("line:plc:" + SECRET.replace("$8$", "$0$"), "damaged"),
        ("line:plc:x509$" + "0" * 63, "damaged"),
        ("line:plc:x509$" + "Z" * 64, "damaged"),
        ("line:plc:password", "damaged"),
    ],
    ids=range(12),  # hashes are salted: as ids they would differ between xdist's workers
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "users.txt"
    file.write_text(f"# a comment\n\n{line}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        users.read_users(file)
    assert f"{file}, line 3" in str(caught.value)
    assert SECRET[20:40] not in str(caught.value)


def test_a_name_twice_and_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    file.write_text(f"a:plc:{SECRET}\na:reader:{SECRET}\n")
    with pytest.raises(ConfigError, match="line 2: user 'a' is there already"):
        users.read_users(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        users.read_users(file)


# --- how often -------------------------------------------------------------------------------------------------------


def test_five_failures_and_then_one_each_ten_seconds() -> None:
    throttle = Throttle()
    assert [throttle.take("a", 0) for _ in range(BURST + 2)] == [True] * BURST + [False] * 2
    assert not throttle.take("a", REFILL_NS - 1)
    assert throttle.take("a", REFILL_NS)
    assert not throttle.take("a", REFILL_NS)
    assert [throttle.take("a", 100 * REFILL_NS) for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_one_address_does_not_wait_for_another() -> None:
    throttle = Throttle()
    for _ in range(BURST + 1):
        throttle.take("a", 0)
    assert throttle.take("b", 0)


def test_a_login_that_succeeds_costs_nothing() -> None:
    throttle = Throttle()
    for _ in range(3 * BURST):
        assert throttle.take("a", 0)
        throttle.give_back("a")
    throttle.give_back("never seen")


def test_addresses_are_forgotten_in_the_end() -> None:
    throttle = Throttle()
    for number in range(MAX_ADDRESSES + 10):
        throttle.take(str(number), 0)
    assert len(throttle._full_at) == MAX_ADDRESSES


# --- logging in ------------------------------------------------------------------------------------------------------


async def denied(logins: Logins, name: str, password: str, address: str = "a") -> str:
    with pytest.raises(Refused) as caught:
        await logins.with_password(name, password, address)
    return ua.StatusCode(caught.value.code).name


@pytest.mark.anyio
async def test_who_logs_in_has_the_rights_of_the_role(pki: Pki) -> None:
    logins = Logins(pki, kit.Clock())
    line = await logins.with_password("line", PASSWORD, "a")
    scada = await logins.with_certificate(SCADA.certificate)
    assert (line.name, line.writes, line.role.name) == ("line", True, "User")
    assert (scada.name, scada.writes, scada.role.name) == ("scada", False, "User")
    assert logins.count == 2


@pytest.mark.anyio
async def test_all_failures_look_the_same(pki: Pki) -> None:
    logins = Logins(pki, kit.Clock())
    for name, password in (("line", "wrong word"), ("nobody", PASSWORD), ("scada", PASSWORD), ("", ""), ("line", "")):
        assert await denied(logins, name, password, address=name + password) == "BadUserAccessDenied"


@pytest.mark.anyio
async def test_hashing_does_not_hold_up_the_loop(pki: Pki) -> None:
    logins, turns = Logins(pki, kit.Clock()), 0
    login = asyncio.create_task(logins.with_password("line", PASSWORD, "a"))
    while not login.done():
        turns += 1
        await asyncio.sleep(0)
    assert (await login).writes
    assert turns > 20  # with the hash on the loop there are three


@pytest.mark.anyio
async def test_more_logins_at_once_than_one_can_hash_are_turned_away(pki: Pki) -> None:
    logins = Logins(pki, kit.Clock())
    answers = await asyncio.gather(
        *(logins.with_password("nobody", PASSWORD, str(i)) for i in range(10)), return_exceptions=True
    )
    codes = [ua.StatusCode(one.code).name for one in answers if isinstance(one, Refused)]
    assert sorted(codes) == ["BadTooManyOperations"] * 2 + ["BadUserAccessDenied"] * 8


@pytest.mark.anyio
async def test_a_changed_password_holds_at_once_also_for_who_was_known(pki: Pki) -> None:
    logins = Logins(pki, kit.Clock())
    await logins.with_password("line", PASSWORD, "a")
    await logins.with_password("line", PASSWORD, "a")
    changed = users.with_password("line", Role.READER, "another word")
    users.write_users(pki.users, {"line": changed})
    assert await denied(logins, "line", PASSWORD) == "BadUserAccessDenied"
    assert not (await logins.with_password("line", "another word", "a")).writes
    assert logins.still_there({LINE, changed}) == {changed}


@pytest.mark.anyio
async def test_a_user_whose_certificate_has_ended_does_not_log_in(pki: Pki) -> None:
    clock = kit.Clock(now=kit.NOW + 400 * kit.DAY)
    logins = Logins(pki, clock)
    with pytest.raises(Refused) as caught:
        await logins.with_certificate(SCADA.certificate)
    assert caught.value.code == ua.StatusCodes.BadIdentityTokenRejected
    clock.now, clock.is_synced = kit.NOW - 400 * kit.DAY, False
    assert (await logins.with_certificate(SCADA.certificate)).name == "scada"


def test_a_file_that_is_damaged_at_the_start_is_named(pki: Pki) -> None:
    pki.users.write_text("broken\n")
    with pytest.raises(ConfigError, match="line 1"):
        asyncio.run(_made(pki))


async def _made(pki: Pki) -> Logins:
    return Logins(pki, kit.Clock())
