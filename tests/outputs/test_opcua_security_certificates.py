"""Own certificate, trust list and rejected folder of the OPC UA server, without a server."""

from __future__ import annotations

import datetime as dt
import os
import socket
from pathlib import Path
from typing import Any

import pydantic
import pytest
import security_kit as kit
from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from security_kit import DAY, NOW, Party

from edge_inspector.errors import ConfigError
from edge_inspector.outputs.opcua_server.security import SecurityConfig, keeping, own, trust
from edge_inspector.outputs.opcua_server.security.certificates import (
    MAX_SENT_BYTES,
    Refused,
    host_names,
    read_certificates,
    sent_by_client,
    uris,
    valid,
    weakness,
)
from edge_inspector.outputs.opcua_server.security.config import is_loopback
from edge_inspector.outputs.opcua_server.security.files import Pki, made_private, stamps, write_file
from edge_inspector.outputs.opcua_server.security.rejected import MAX_FILES, RejectedFolder

URI = "urn:vision:edge-inspector:station-7"
CODES = ua.StatusCodes


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    found = Pki(tmp_path / "pki")
    found.make()
    return found


# --- config ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("localhost.example", False),
    ],
)
def test_loopback_is_what_nobody_else_can_reach(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("alone", [{"certificate": "a.der"}, {"private_key": "a.pem"}])
def test_a_certificate_comes_with_its_key(alone: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError, match="together"):
        SecurityConfig(**alone)


@pytest.mark.parametrize("name", ["", "a b", "-x", "http://x", "x_y", "a" * 300])
def test_a_host_name_is_one(name: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        SecurityConfig(host_names=(name,))


# --- own certificate -------------------------------------------------------------------------------------------------


def test_the_own_certificate_says_what_opc_ua_wants(pki: Pki) -> None:
    made = own.make(pki, URI, ("192.0.2.7", "vision.example"), NOW).certificate
    assert uris(made) == (URI,)
    assert {"192.0.2.7", "vision.example", socket.gethostname().lower()} <= set(host_names(made))
    assert weakness(made) is None
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.content_commitment
    assert usage.value.key_encipherment
    assert usage.value.data_encipherment
    extended = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    made.verify_directly_issued_by(made)


def test_a_certificate_made_with_a_clock_of_1970_holds_today(pki: Pki) -> None:
    begin, end = valid(own.make(pki, URI, (), dt.datetime(1970, 1, 1, 0, 3, tzinfo=dt.timezone.utc)).certificate)
    assert begin < own.RELEASED < NOW < end


def test_a_certificate_holds_for_a_plc_whose_clock_is_a_year_behind(pki: Pki) -> None:
    begin, end = valid(own.make(pki, URI, (), NOW).certificate)
    assert begin < NOW - 365 * DAY
    assert end > NOW + 3650 * DAY


def test_the_key_is_for_its_owner_alone_from_the_first_moment(pki: Pki) -> None:
    previous = os.umask(0)
    try:
        own.make(pki, URI, (), NOW)
    finally:
        os.umask(previous)
    assert pki.own_key.stat().st_mode & 0o777 == 0o600
    assert pki.own_key.parent.stat().st_mode & 0o777 == 0o700


def test_a_key_that_others_could_read_is_taken_from_them(pki: Pki) -> None:
    own.make(pki, URI, (), NOW)
    pki.own_key.chmod(0o640)
    assert made_private(pki.own_key)
    assert pki.own_key.stat().st_mode & 0o777 == 0o600
    assert not made_private(pki.own_key)


def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 4711, 4712)
    owner = (tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    write_file(tmp_path / "a" / "b.txt", b"x", 0o600)
    for made in (tmp_path / "a", tmp_path / "a" / "b.txt"):
        assert (made.stat().st_uid, made.stat().st_gid) == owner


def test_root_gives_nothing_away_through_a_link_in_the_place_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of the state folder exchanges what `sudo edge-inspector opcua user add` has made a moment ago."""
    valuable, state = tmp_path / "etc", tmp_path / "state"
    for folder in (valuable, state):
        folder.mkdir()
    given: list[tuple[str, bool]] = []
    make = Path.mkdir

    def exchanged(self: Path, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        self.rmdir()
        self.symlink_to(valuable)

    def chown(path: Path, _uid: int, _gid: int, *, follow_symlinks: bool = True) -> None:
        given.append((Path(path).name, follow_symlinks))

    monkeypatch.setattr(Path, "mkdir", exchanged)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(os, "lchown", lambda path, uid, gid: chown(path, uid, gid, follow_symlinks=False))
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    write_file(state / "pki" / "users.txt", b"x", 0o600)
    assert given == [("pki", False)]


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "a", b"old", 0o600)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        write_file(tmp_path / "a", b"new", 0o600)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {"a": b"old"}


def test_what_was_made_is_read_again_and_a_new_certificate_keeps_the_key(pki: Pki) -> None:
    first = own.make(pki, URI, (), NOW)
    again = own.kept(pki)
    assert again is not None
    assert again.certificate == first.certificate
    assert again.key.private_numbers() == first.key.private_numbers()
    second = own.make(pki, URI, ("b.example",), NOW)
    assert second.certificate != first.certificate
    assert second.key.private_numbers() == first.key.private_numbers()
    assert own.lacks(first.certificate, ("b.example",)) == ("b.example",)
    assert own.lacks(second.certificate, ("b.example",)) == ()


def test_nothing_there_is_nothing_and_not_an_error(tmp_path: Path) -> None:
    assert own.kept(Pki(tmp_path)) is None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("own_certificate", b"", "not a certificate"),
        ("own_certificate", b"0\x82\x01\x00", "not a certificate"),
        ("own_certificate", b"-----BEGIN CERTIFICATE-----\n", "not a certificate"),
        ("own_key", b"", "not a private key, or damaged"),
        ("own_key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key"),
        ("own_key", kit.party("another").key_pem, "is not the key of"),
        ("own_key", None, "is missing; restore"),
    ],
)
def test_a_damaged_own_file_is_named_with_a_remedy(pki: Pki, file: str, content: bytes | None, message: str) -> None:
    own.make(pki, URI, (), NOW)
    path: Path = getattr(pki, file)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        own.kept(pki)
    assert str(path.name) in str(caught.value)


def given_files(folder: Path, one: Party, *chain: Party, key: bytes | None = None) -> tuple[Path, Path]:
    certificate, private = folder / "c.pem", folder / "k.pem"
    certificate.write_bytes(b"".join(p.certificate.public_bytes(serialization.Encoding.PEM) for p in (one, *chain)))
    private.write_bytes(one.key_pem if key is None else key)
    private.chmod(0o600)
    return certificate, private


def test_a_given_certificate_comes_with_its_issuers_and_says_the_application_uri(tmp_path: Path) -> None:
    ca = kit.party("ca", ca=True, uri="")
    server = kit.party("server", issuer=ca, uri=URI)
    found = own.given(*given_files(tmp_path, server, ca))
    assert (found.certificate, found.chain, found.uri) == (server.certificate, (ca.certificate,), URI)


@pytest.mark.parametrize(
    ("party", "message"),
    [
        pytest.param(kit.party("server", uri=""), "has 0 application URIs", id="no URI"),
        pytest.param(
            kit.Party(kit.party("weak", private=rsa.generate_private_key(65537, 1024)).certificate, None),
            "1024 bits",
            id="a short key",
        ),
    ],
)
def test_a_given_certificate_that_will_not_do_is_named(tmp_path: Path, party: Party, message: str) -> None:
    if party.key is None:
        private = rsa.generate_private_key(65537, 1024)
        party = kit.party("weak", private=private)
    with pytest.raises(ConfigError, match=message):
        own.given(*given_files(tmp_path, party))


def test_a_given_key_with_a_password_or_for_everybody_is_refused(tmp_path: Path) -> None:
    server = kit.party("server", uri=URI)
    locked = server.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(ConfigError, match="has a password"):
        own.given(*given_files(tmp_path, server, key=locked))
    certificate, private = given_files(tmp_path, server)
    private.chmod(0o644)
    with pytest.raises(ConfigError, match="every user of this machine"):
        own.given(certificate, private)
    private.chmod(0o640)
    assert own.given(certificate, private).uri == URI


def test_the_next_certificate_lies_ready_and_takes_over(pki: Pki) -> None:
    first = own.make(pki, URI, (), NOW)
    following = own.successor(pki, first, (), NOW + 9 * 365 * DAY)
    assert own.successor(pki, first, (), NOW + 10 * 365 * DAY) == following  # made once, or nobody could trust it
    second = own.followed(pki, first, (), NOW + 10 * 365 * DAY)
    assert second.certificate == following
    assert read_certificates(pki.own_certificate) == (following,)
    assert not pki.next_certificate.exists()


def test_a_certificate_that_is_made_anew_has_no_successor_of_the_old_one(pki: Pki) -> None:
    first = own.make(pki, URI, (), NOW)
    own.successor(pki, first, (), NOW)
    own.make(pki, URI, (), NOW)
    assert not pki.next_certificate.exists()


# --- what clients send -----------------------------------------------------------------------------------------------


def test_a_chain_is_taken_apart() -> None:
    ca = kit.party("ca", ca=True, uri="")
    one = kit.party("plc", issuer=ca)
    assert sent_by_client(one.der + ca.der) == (one.certificate, ca.certificate)


NO_CERTIFICATE: list[bytes | None] = [
    *(None, b"", b"\x00", b"0", b"0\x82", b"0\x84\xff\xff\xff\xff"),
    *(kit.party().der[:-1], kit.party().der + b"0", kit.party().der * 6, b"0" * (MAX_SENT_BYTES + 1)),
]


@pytest.mark.parametrize("data", NO_CERTIFICATE)
def test_what_is_no_certificate_is_refused(data: bytes | None) -> None:
    with pytest.raises(Refused) as caught:
        sent_by_client(data)
    assert caught.value.code == CODES.BadSecurityChecksFailed


# --- trust -----------------------------------------------------------------------------------------------------------

PLC = kit.party("plc")
ROOT = kit.party("root", ca=True, uri="")
ISSUED = kit.party("issued", issuer=ROOT)
MIDDLE = kit.party("middle", ca=True, uri="", issuer=ROOT)
BELOW = kit.party("below", issuer=MIDDLE)
LEAF_CA = kit.party("leafca", ca=True, uri="", path_length=0)
TOO_DEEP = kit.party("deep", ca=True, uri="", issuer=LEAF_CA)
NO_SIGNER = kit.party("nosigner", ca=True, uri="", usage="signs")
PRETENDER = kit.party("root", private=kit.key("pretender"), ca=True, uri="")


def a_list(*trusted: Party, issuers: tuple[Party, ...] = (), crls: tuple[bytes, ...] = ()) -> trust.TrustList:
    return trust.TrustList(
        tuple(p.certificate for p in trusted),
        tuple(p.certificate for p in issuers),
        tuple(map(x509.load_der_x509_crl, crls)),
    )


def verdict(listed: trust.TrustList, *sent: Party, now: dt.datetime = NOW, synced: bool = True) -> str:
    try:
        listed.check([p.certificate for p in sent], now, synced)
    except Refused as refused:
        return ua.StatusCode(refused.code).name
    return "Good"


CRL, MIDDLE_CRL = kit.revocations(ROOT), kit.revocations(MIDDLE)
BAD = "BadSecurityChecksFailed"


@pytest.mark.parametrize(
    ("listed", "sent", "expected"),
    [
        pytest.param(a_list(PLC), [PLC], "Good", id="trusted itself"),
        pytest.param(a_list(), [PLC], BAD, id="nobody is trusted"),
        pytest.param(a_list(issuers=(PLC,)), [PLC], BAD, id="known as an issuer only"),
        pytest.param(a_list(kit.party("plc")), [PLC], BAD, id="same name and key, another certificate"),
        pytest.param(a_list(ROOT, crls=(CRL,)), [ISSUED], "Good", id="of a trusted CA"),
        pytest.param(a_list(issuers=(ROOT,), crls=(CRL,)), [ISSUED], BAD, id="of a CA that is known, not trusted"),
        pytest.param(a_list(ROOT), [ISSUED], "BadCertificateRevocationUnknown", id="no revocation list"),
        pytest.param(a_list(ISSUED), [ISSUED], "Good", id="trusted itself, its CA unknown"),
        pytest.param(a_list(ROOT, crls=(kit.revocations(ROOT, ISSUED),)), [ISSUED], BAD, id="revoked"),
        pytest.param(a_list(ROOT, crls=(kit.revocations(PRETENDER),)), [ISSUED], "BadCertificateRevocationUnknown",
                     id="a revocation list of somebody with the CA's name"),
        pytest.param(a_list(PRETENDER, crls=(CRL,)), [ISSUED], BAD, id="a trusted CA of the same name"),
        pytest.param(a_list(ROOT, crls=(CRL, MIDDLE_CRL)), [BELOW, MIDDLE], "Good", id="it sends the CA between"),
        pytest.param(a_list(ROOT, issuers=(MIDDLE,), crls=(CRL, MIDDLE_CRL)), [BELOW], "Good", id="it is in issuers"),
        pytest.param(a_list(ROOT, crls=(CRL, MIDDLE_CRL)), [BELOW], BAD, id="it is nowhere"),
        pytest.param(a_list(kit.party("root", ca=True, uri="", end=NOW - DAY / 2), ROOT, crls=(CRL,)), [ISSUED], "Good",
                     id="the CA's old certificate has ended, its new one counts"),
        pytest.param(a_list(MIDDLE, crls=(MIDDLE_CRL,)), [BELOW], "Good", id="the CA between is trusted"),
        pytest.param(a_list(ROOT, crls=(kit.revocations(ROOT, MIDDLE), MIDDLE_CRL)), [BELOW, MIDDLE], BAD,
                     id="the CA between is revoked"),
        pytest.param(a_list(ROOT, crls=(MIDDLE_CRL,)), [BELOW, MIDDLE], BAD, id="nothing known of the CA between"),
        pytest.param(a_list(LEAF_CA, crls=(kit.revocations(LEAF_CA), kit.revocations(TOO_DEEP))),
                     [kit.party("x", issuer=TOO_DEEP), TOO_DEEP], BAD, id="a CA that may not make CAs"),
        pytest.param(a_list(NO_SIGNER, crls=(kit.revocations(NO_SIGNER),)), [kit.party("x", issuer=NO_SIGNER)], BAD,
                     id="a CA that may not sign certificates"),
        pytest.param(a_list(PLC, crls=(kit.revocations(PLC),)), [kit.party("x", issuer=PLC)], BAD,
                     id="a trusted client is no CA"),
        pytest.param(a_list(ROOT, crls=(CRL,)), [kit.party("old", issuer=kit.party(
            "root", ca=True, uri="", end=NOW - DAY / 2))], "Good", id="signed by the same key: the trusted CA counts"),
    ],
)  # fmt: skip
def test_who_is_trusted(listed: trust.TrustList, sent: list[Party], expected: str) -> None:
    assert verdict(listed, *sent) == expected


def test_a_ca_that_has_ended_gives_nobody_trust() -> None:
    ended = kit.party("ended", ca=True, uri="", end=NOW - DAY / 2)
    listed = a_list(ended, crls=(kit.revocations(ended),))
    assert verdict(listed, kit.party("x", issuer=ended)) == "BadCertificateIssuerTimeInvalid"


@pytest.mark.parametrize(
    ("now", "synced", "expected"),
    [
        (NOW, True, "Good"),
        (NOW - 2 * DAY, True, "BadCertificateTimeInvalid"),
        (NOW + 366 * DAY, True, "BadCertificateTimeInvalid"),
        (dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc), False, "Good"),
        (NOW + 366 * DAY, False, "BadCertificateTimeInvalid"),
    ],
)
def test_dates_count_as_far_as_the_clock_can_tell(now: dt.datetime, synced: bool, expected: str) -> None:
    assert verdict(a_list(PLC), PLC, now=now, synced=synced) == expected


def test_a_certificate_signed_by_an_algorithm_that_nobody_knows_is_refused() -> None:
    """Read only when it is asked for: it must not end in a traceback that any stranger can cause."""
    known, unknown = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d01017f")
    der = kit.party("strange").der
    assert der.count(known) == 2  # inside what is signed, and beside the signature
    strange = x509.load_der_x509_certificate(der.replace(known, unknown))
    with pytest.raises(Refused) as caught:
        trust.TrustList((strange,)).check((strange,), kit.NOW, True)
    assert caught.value.code == ua.StatusCodes.BadSecurityChecksFailed


@pytest.mark.parametrize(
    "weak",
    [
        pytest.param(kit.party("short", private=rsa.generate_private_key(65537, 1024)), id="1024 bits"),
        pytest.param(kit.party("curve", private=ec.generate_private_key(ec.SECP256R1())), id="no RSA"),
        pytest.param(kit.party("sha224", digest=hashes.SHA224()), id="SHA-224"),
    ],
)
def test_weak_certificates_are_refused_though_they_are_trusted(weak: Party) -> None:
    assert verdict(a_list(weak), weak) == BAD


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"usage": None, "extended": None}, "Good"),
        ({"extended": [kit.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]}, "Good"),
        ({"extended": [kit.SERVER_AUTH]}, "BadCertificateUseNotAllowed"),
        ({"usage": "signs"}, "BadCertificateUseNotAllowed"),
    ],
)
def test_a_certificate_is_for_what_it_says(change: dict[str, Any], expected: str) -> None:
    one = kit.party("plc", **change)
    assert verdict(a_list(one), one) == expected


def test_the_folders_are_read_and_a_file_that_is_none_trusts_nobody(pki: Pki) -> None:
    kit.trust(pki, PLC)
    (pki.trusted / "root.pem").write_bytes(ROOT.certificate.public_bytes(serialization.Encoding.PEM))
    (pki.trusted / "notes.txt").write_text("ours")
    (pki.trusted / ".half.der.part").write_bytes(ISSUED.der)
    (pki.revocations[1] / "root.crl").write_bytes(CRL)
    (pki.revocations[0] / "broken.crl").write_bytes(CRL[:-1])
    listed = trust.load(pki)
    assert set(listed.trusted) == {PLC.certificate, ROOT.certificate}
    assert verdict(listed, ISSUED) == "Good"


def test_a_change_of_a_folder_is_seen(pki: Pki) -> None:
    before = stamps(pki.trusted, pki.users)
    assert stamps(pki.trusted, pki.users) == before
    kit.trust(pki, PLC)
    after = stamps(pki.trusted, pki.users)
    assert after != before
    pki.users.write_text("")
    assert stamps(pki.trusted, pki.users) != after


# --- rejected --------------------------------------------------------------------------------------------------------

SECOND = 1_000_000_000


def test_a_rejected_certificate_is_kept_once(pki: Pki) -> None:
    folder = RejectedFolder(pki)
    assert folder.keep(PLC.certificate, 0)
    assert not folder.keep(PLC.certificate, 5 * SECOND)
    assert [f.read_bytes() for f in pki.rejected.iterdir()] == [PLC.der]


def test_strangers_write_one_file_a_second(pki: Pki) -> None:
    folder = RejectedFolder(pki)
    assert folder.keep(PLC.certificate, 0)
    assert not folder.keep(ROOT.certificate, SECOND - 1)
    assert folder.keep(ROOT.certificate, SECOND)


def test_the_rejected_folder_stays_small_and_keeps_the_newest(pki: Pki) -> None:
    folder = RejectedFolder(pki)
    many = [kit.party("plc") for _ in range(MAX_FILES + 3)]
    for number, one in enumerate(many):
        assert folder.keep(one.certificate, number * SECOND)
        newest = pki.rejected / f"{keeping.Kept(pki.rejected, one.certificate).thumbprint}.der"
        os.utime(newest, (number, number))
    kept = {f.read_bytes() for f in pki.rejected.iterdir()}
    assert kept == {one.der for one in many[3:]}


# --- what people do --------------------------------------------------------------------------------------------------


def test_a_rejected_client_is_trusted_by_the_beginning_of_its_thumbprint(pki: Pki) -> None:
    RejectedFolder(pki).keep(PLC.certificate, 0)
    digits = keeping.Kept(pki.root, PLC.certificate).thumbprint
    spaced = ":".join(digits[i : i + 2] for i in range(0, 16, 2)).lower()
    assert keeping.trust_rejected(pki, spaced).certificate == PLC.certificate
    assert not list(pki.rejected.iterdir())
    assert verdict(trust.load(pki), PLC) == "Good"
    assert keeping.distrust(pki, digits).certificate == PLC.certificate
    assert verdict(trust.load(pki), PLC) == BAD


@pytest.mark.parametrize(
    ("digits", "message"),
    [("1234", "at least 16"), ("0" * 16, "no rejected certificate"), ("xyz" * 6, "at least 16")],
)
def test_a_thumbprint_that_means_nobody_is_named(pki: Pki, digits: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        keeping.trust_rejected(pki, digits)


def test_a_revocation_list_replaces_the_one_before(pki: Pki, tmp_path: Path) -> None:
    file = tmp_path / "list.crl"
    for content in (CRL, kit.revocations(ROOT, ISSUED)):
        file.write_bytes(content)
        assert keeping.keep_revocations(pki, file) is not None
    assert len(list(pki.revocations[0].iterdir())) == 1
    kit.trust(pki, ROOT)
    assert verdict(trust.load(pki), ISSUED) == BAD
    file.write_bytes(PLC.der)
    assert keeping.keep_revocations(pki, file) is None
    assert read_certificates(file) == (PLC.certificate,)
