"""Servers that cannot be used, go away, hang, come back different, have no session left, or want certificates."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest
from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from opcua_client_rig import (
    ALL,
    URI,
    FakePlc,
    SetClock,
    config,
    eventually,
    free_port,
    link_to,
    received_for_ever,
    result,
    running,
    station,
)

from edge_inspector.errors import OutputError
from edge_inspector.health.clock import SystemClock
from edge_inspector.outputs.opcua_client.dial import open_session
from edge_inspector.outputs.opcua_client.link import Config, OpcUaClientLink
from edge_inspector.outputs.opcua_client.trust import Keeper
from edge_inspector.outputs.opcua_server.security import certificates, own

pytestmark = pytest.mark.anyio
KINDS = ua.VariantType


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Elsewhere(Config):
    """A server on another machine, which the test does not have."""

    @property
    def on_this_machine(self) -> bool:
        return False


@pytest.fixture(scope="module")
async def typed() -> AsyncIterator[FakePlc]:
    """A PLC with types of its own, one of which is wrong, and without one tag."""
    types = {
        "Status.BootId": KINDS.Int32,
        "Result.Evaluation": KINDS.Byte,
        "Result.TriggerSeq": KINDS.Int64,
        "Status.Word": KINDS.UInt32,
        "Result.DefectScore": KINDS.Double,
        "Result.TimeUtc": KINDS.String,
        "Status.ResultsValid": KINDS.UInt16,
        "Control.TriggerSeq": KINDS.Int64,
    }
    async with running(types=types, tags=tuple(tag for tag in ALL if tag != "Result.ModelHash")) as plc:
        yield plc


def clients_tasks() -> list[str]:
    """Where asyncua's client runs something by itself."""
    places = [task.get_coro().cr_code.co_filename for task in asyncio.all_tasks()]  # type: ignore[union-attr]
    return [place for place in places if "/asyncua/client/" in place or "/asyncua/common/" in place]


def nodes_without(*tags: str) -> dict[str, str]:
    return {tag: text for tag, text in config(1).nodes.items() if tag not in tags}


async def test_everything_that_is_wrong_with_the_nodes_is_told_before_anything_is_written(
    typed: FakePlc, tmp_path: Path
) -> None:
    with pytest.raises(OutputError) as caught:
        async with link_to(typed.port, tmp_path):
            pass
    text = str(caught.value)
    assert "Status.BootId: node nsu=" in text
    assert "is Int32, which does not hold UInt32; expected UInt32 or Int64 or UInt64" in text
    assert "Result.ModelHash: node nsu=" in text
    assert "does not exist in the server (BadNodeIdUnknown)" in text
    assert typed.writes == []
    await eventually(lambda: typed.sessions == 0)


async def test_values_go_into_the_plcs_own_types(typed: FakePlc, tmp_path: Path) -> None:
    nodes = nodes_without("Status.BootId", "Result.ModelHash") | {"Status.BootId": "i=1"}
    nodes["Status.BootId"] = f'nsu={URI};s="DB_Vision"."Status"."RefusedSeq"'  # a UInt32 as well
    nodes.pop("Status.RefusedSeq")
    async with station(link_to(typed.port, tmp_path, map=nodes)) as s:
        await s.linked(typed, boot_id="Status.RefusedSeq")
        await s.link.tell(result(11))
        await eventually(lambda: typed["Status.ResultsValid"] == 1)
        assert (typed["Result.Evaluation"], typed["Result.TriggerSeq"]) == (1, 11)
        assert typed["Result.TimeUtc"] == "2026-11-22T10:00:00.000Z"
        assert typed["Status.Word"] & 1 << 6


async def test_a_password_is_never_sent_for_everybody_to_read(typed: FakePlc, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    table = config(typed.port, user="vision", password_file=str(tmp_path / "password")).model_dump(mode="python")
    one = Keeper(Elsewhere.model_validate(table), tmp_path, "s7", SystemClock())
    with pytest.raises(OutputError, match="the password of 'vision' sent for everybody to read"):
        await opened(one)


async def test_nobody_at_the_address_is_an_output_error_that_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"opc\.tcp://127\.0\.0\.1:\d+ cannot connect"):
        async with link_to(free_port(), tmp_path):
            pass
    assert not clients_tasks()


async def test_a_server_that_says_nothing_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    accepted = anyio.Event()

    async def deaf(_reader: Any, writer: Any) -> None:
        accepted.set()
        await _reader.read()
        writer.close()

    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OutputError, match=r"did not connect within 0\.2 s"), anyio.fail_after(10):
            async with link_to(port, tmp_path, timeout_s=0.2):
                pass
    assert accepted.is_set()


async def test_a_server_without_sessions_is_left_alone_for_a_while(tmp_path: Path, typed: FakePlc) -> None:
    clock = SetClock()
    link = link_to(typed.port, tmp_path, clock)
    typed.faults.no_sessions = True
    with pytest.raises(OutputError, match=r"no session left \(BadTooManySessions\)"):
        await link.__aenter__()
    typed.faults.no_sessions = False
    with pytest.raises(OutputError, match="called again in 15 s"):
        await link.__aenter__()
    clock.ahead_s = 15.1
    with pytest.raises(OutputError, match="does not hold"):  # the server is asked again
        await link.__aenter__()


FROZEN = """
import anyio, sys
from opcua_client_rig import running
async def main():
    async with running(int(sys.argv[1])) as plc:
        print("up", flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


async def test_a_server_that_hangs_is_given_up_and_found_again_when_it_goes_on(tmp_path: Path) -> None:
    port = free_port()
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    process = await anyio.open_process(
        [sys.executable, "-c", FROZEN, str(port)], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        assert process.stdout is not None
        with anyio.fail_after(60):
            assert (await process.stdout.receive()).startswith(b"up")
        link = link_to(port, tmp_path, timeout_s=0.3)
        async with link:
            with anyio.move_on_after(0.2):
                await link.receive()
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(OutputError, match=r"did not (read|write) within 0\.3 s"):
                await received_for_ever(link)
        for _ in range(2):
            with pytest.raises(OutputError, match="did not connect"):
                await link.__aenter__()
        assert not clients_tasks()
        process.send_signal(signal.SIGCONT)
        await opened_at_last(link)
    finally:
        process.kill()
        await process.aclose()


async def opened_at_last(link: OpcUaClientLink) -> None:
    with anyio.fail_after(30):
        while True:
            try:
                async with link:
                    return
            except OutputError:
                await anyio.sleep(0.05)


# --- certificates and users -------------------------------------------------------------------------------------------


class Users(UserManager):  # type: ignore[misc]
    def get_user(self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None) -> Any:
        return User(role=UserRole.User, name=username) if (username, password) == ("vision", "geheim") else None


@asynccontextmanager
async def secured(folder: Path, *policies: ua.SecurityPolicyType) -> AsyncIterator[int]:
    """A server with a certificate and one user, and nothing in it."""
    port = free_port()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = own.signed(key, "urn:the-plc", ("127.0.0.1",), datetime.now(timezone.utc))
    (folder / "plc.der").write_bytes(certificates.der(certificate))
    plain = serialization.NoEncryption()
    (folder / "plc.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    server = Server(user_manager=Users())
    await server.init()
    await server.set_application_uri("urn:the-plc")
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([*policies])
    server.set_identity_tokens([ua.UserNameIdentityToken])
    await server.load_certificate(str(folder / "plc.der"))
    await server.load_private_key(str(folder / "plc.pem"))
    async with server:
        yield port


def keeper(port: int, folder: Path, **keys: Any) -> Keeper:
    return Keeper(config(port, **keys), folder / "link", "s7", SystemClock())


async def opened(one: Keeper) -> list[str]:
    """The server's namespaces, through a session of its own."""
    session = await open_session(one.config, one, "line")
    try:
        return [*session.namespaces]
    finally:
        await session.close()


async def renewed(one: Keeper) -> None:
    """The secure channel gets new keys when three quarters of its hour are over, and not before."""
    clock = SetClock()
    session = await open_session(one.config, replace(one, clock=clock), "line")
    try:
        channel = session.client.uaclient.protocol._connection
        first = channel.security_token.TokenId
        await session.renew_if_due()
        assert channel.security_token.TokenId == first
        clock.ahead_s = 2701
        await session.renew_if_due()
        assert channel.security_token.TokenId != first
        assert await session.read([ua.NodeId(ua.ObjectIds.Server_NamespaceArray)])
    finally:
        await session.close()


async def test_an_unknown_certificate_is_rejected_kept_and_accepted_when_a_person_says_so(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    user = {"user": "vision", "password_file": str(tmp_path / "password")}
    policies = (
        ua.SecurityPolicyType.NoSecurity,
        ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
        ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
    )
    async with secured(tmp_path, *policies) as port:
        basic = keeper(port, tmp_path, security="Basic256Sha256", **user)
        with pytest.raises(OutputError, match="is not trusted: compare its thumbprint"):
            await opened(basic)
        (rejected,) = basic.pki.rejected.iterdir()
        assert rejected.read_bytes() == (tmp_path / "plc.der").read_bytes()
        assert basic.pki.own_key.stat().st_mode & 0o077 == 0
        mine = basic.pki.own_certificate.read_bytes()
        rejected.rename(basic.pki.trusted / rejected.name)
        assert "http://opcfoundation.org/UA/" in await opened(basic)
        aes = keeper(port, tmp_path, security="Aes256Sha256RsaPss", **user)
        assert await opened(aes)
        assert basic.pki.own_certificate.read_bytes() == mine
        with pytest.raises(OutputError, match=r"no endpoint with Basic256Sha256 Sign; it offers .*SignAndEncrypt"):
            await opened(keeper(port, tmp_path, security="Basic256Sha256", mode="Sign", **user))
        pinned = {"server_certificate": str(tmp_path / "plc.der"), "security": "Basic256Sha256"}
        assert await opened(keeper(port, tmp_path, **pinned, **user))
        with pytest.raises(OutputError, match="not trusted: it is not that of server_certificate"):
            await opened(
                keeper(port, tmp_path, **{**pinned, "server_certificate": str(basic.pki.own_certificate)}, **user)
            )
        plain = keeper(port, tmp_path, **user)
        assert await opened(plain)  # on this machine nobody listens in
        elsewhere = Elsewhere.model_validate(plain.config.model_dump(mode="python"))
        assert await opened(replace(plain, config=elsewhere))  # the server has it encrypted for itself
        with pytest.raises(OutputError, match="is not trusted"):  # or for somebody else
            await opened(replace(plain, config=elsewhere, folder=tmp_path / "new"))
        await renewed(basic)
        (tmp_path / "password").write_text("falsch\n")
        with pytest.raises(OutputError, match="check user and password_file"):
            await opened(basic)
