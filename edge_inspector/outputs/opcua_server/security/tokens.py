"""What a client sends to prove which user it is: decrypted and verified by the algorithms of its channel alone."""

from __future__ import annotations

import hmac
from typing import Any

from asyncua import ua
from asyncua.crypto import security_policies, uacrypto
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from edge_inspector.outputs.opcua_server.security.certificates import Refused, sent_by_client, weakness

_PSS = security_policies.SecurityPolicyAes256Sha256RsaPss
_SHA256 = security_policies.SecurityPolicyBasic256Sha256
_DECRYPT = {_PSS.URI: uacrypto.decrypt_rsa_oaep_sha256, _SHA256.URI: uacrypto.decrypt_rsa_oaep}
_VERIFY = {_PSS.URI: uacrypto.verify_pss_sha256, _SHA256.URI: uacrypto.verify_sha256}
POLICIES = frozenset(_VERIFY)
_MAX_BLOCKS = 4
_LENGTH_BYTES = 4


def password_of(token: ua.UserNameIdentityToken, policy: Any, key: rsa.RSAPrivateKey, nonce: bytes) -> str:
    """Legacy encrypted token of OPC 10000-4, 7.40.2.3: length, password, our nonce, encrypted with our public key.

    The nonce makes a token worth nothing in another session. Refused, always with the same code.
    """
    if token.EncryptionAlgorithm != policy.AsymmetricEncryptionURI:
        raise _invalid("the password is not encrypted by the policy of the channel")
    secret = bytes(token.Password or b"")
    block = key.key_size // 8
    if not secret or len(secret) % block or len(secret) > _MAX_BLOCKS * block:
        raise _invalid("the encrypted password has a wrong length")
    decrypt = _DECRYPT[policy.URI]
    try:
        plain = b"".join(decrypt(key, secret[i : i + block]) for i in range(0, len(secret), block))
    except ValueError as exc:
        raise _invalid("the password cannot be decrypted") from exc
    length = int.from_bytes(plain[:_LENGTH_BYTES], "little")
    data = plain[_LENGTH_BYTES : _LENGTH_BYTES + length]
    if len(data) != length or length < len(nonce) or not hmac.compare_digest(data[length - len(nonce) :], nonce):
        raise _invalid("the password was encrypted for another session")
    try:
        return data[: length - len(nonce)].decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _invalid("the password is not UTF-8") from exc


def certificate_of(
    token: ua.X509IdentityToken, signature: ua.SignatureData, policy: Any, nonce: bytes
) -> x509.Certificate:
    """The user's certificate, whose key has signed our certificate and nonce. Refused."""
    certificate = sent_by_client(token.CertificateData)[0]
    if (weak := weakness(certificate)) is not None:
        raise _invalid(f"the user's certificate: {weak}")
    if signature.Algorithm != policy.AsymmetricSignatureURI or not signature.Signature:
        raise _signature("is not made by the policy of the channel")
    try:
        _VERIFY[policy.URI](certificate, policy.host_certificate + nonce, bytes(signature.Signature))
    except InvalidSignature as exc:
        raise _signature("is not made with the key of the user's certificate") from exc
    return certificate


def check_client_signature(signature: ua.SignatureData, policy: Any, nonce: bytes) -> None:
    """The application that activates has the key of the channel's certificate. Refused."""
    verify = _VERIFY.get(policy.URI)
    if verify is None:
        return  # the channel has no security, and a session on it no owner
    try:
        peer = uacrypto.x509_from_der(policy.peer_certificate)
        verify(peer, policy.host_certificate + nonce, bytes(signature.Signature or b""))
    except InvalidSignature as exc:
        raise Refused(
            ua.StatusCodes.BadApplicationSignatureInvalid, "the client's signature is not of its certificate's key"
        ) from exc


def _invalid(reason: str) -> Refused:
    return Refused(ua.StatusCodes.BadIdentityTokenInvalid, reason)


def _signature(reason: str) -> Refused:
    return Refused(ua.StatusCodes.BadUserSignatureInvalid, f"the user's signature {reason}")
