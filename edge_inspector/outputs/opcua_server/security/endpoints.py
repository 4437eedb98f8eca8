"""Which endpoints the server offers, and who may log in on each."""

from __future__ import annotations

from dataclasses import dataclass

from asyncua import ua
from asyncua.crypto import security_policies

from edge_inspector.outputs.opcua_server.security.own import OwnCertificate

NONE = security_policies.SecurityPolicyNone
SECURE = (security_policies.SecurityPolicyAes256Sha256RsaPss, security_policies.SecurityPolicyBasic256Sha256)
"""Both with SignAndEncrypt alone; the better one first."""
_LEVELS = {NONE.URI: 0, SECURE[1].URI: 70, SECURE[0].URI: 80}
_TRANSPORT = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"


@dataclass(frozen=True)
class Offer:
    """What clients may use. `plain` is the endpoint without security, on which there are no users."""

    plain: bool
    secure: bool
    anonymous_plain_writes: bool
    anonymous_secure: bool
    """Whether one needs no user on an encrypted channel; such a client may then write."""


ON_THIS_MACHINE = Offer(plain=True, secure=False, anonymous_plain_writes=True, anonymous_secure=True)
ON_THIS_MACHINE_SECURED = Offer(plain=True, secure=True, anonymous_plain_writes=True, anonymous_secure=True)
ON_A_NETWORK = Offer(plain=False, secure=True, anonymous_plain_writes=False, anonymous_secure=False)
ON_A_NETWORK_READABLE = Offer(plain=True, secure=True, anonymous_plain_writes=False, anonymous_secure=False)


def endpoints(
    offer: Offer, application: ua.ApplicationDescription, url: str, own: OwnCertificate | None
) -> list[ua.EndpointDescription]:
    """The best first. asyncua puts the host that a client has asked for into `url`."""
    found = []
    if offer.secure:
        for policy in SECURE:
            tokens = [_token("username", ua.UserTokenType.UserName, policy.URI)]
            tokens.append(_token("certificate", ua.UserTokenType.Certificate, policy.URI))
            if offer.anonymous_secure:
                tokens.append(_token("anonymous", ua.UserTokenType.Anonymous, None))
            found.append(_endpoint(policy.URI, ua.MessageSecurityMode.SignAndEncrypt, tokens))
    if offer.plain:
        tokens = [_token("anonymous", ua.UserTokenType.Anonymous, None)]
        found.append(_endpoint(NONE.URI, ua.MessageSecurityMode.None_, tokens))
    for one in found:
        one.Server = application
        one.EndpointUrl = url
        one.ServerCertificate = own.der if own is not None else None
    return found


def policies(offer: Offer, own: OwnCertificate | None) -> list[security_policies.SecurityPolicyFactory]:
    """What asyncua makes the security of a channel from. No rule set: what a user may do, its session decides."""
    found = []
    if offer.secure and own is not None:
        for policy in SECURE:
            mode = ua.MessageSecurityMode.SignAndEncrypt
            factory = security_policies.SecurityPolicyFactory(
                policy, mode, own.certificate, own.key, certificate_chain=list(own.chain)
            )
            found.append(factory)
    if offer.plain:
        found.append(security_policies.SecurityPolicyFactory(NONE, ua.MessageSecurityMode.None_))
    return found


def _endpoint(policy: str, mode: ua.MessageSecurityMode, tokens: list[ua.UserTokenPolicy]) -> ua.EndpointDescription:
    return ua.EndpointDescription(
        SecurityMode=mode,
        SecurityPolicyUri=policy,
        UserIdentityTokens=tokens,
        TransportProfileUri=_TRANSPORT,
        SecurityLevel=_LEVELS[policy],
    )


def _token(name: str, kind: ua.UserTokenType, policy: str | None) -> ua.UserTokenPolicy:
    """A password is encrypted once more inside an encrypted channel: it is bound to one session, and in no trace."""
    return ua.UserTokenPolicy(PolicyId=name, TokenType=kind, SecurityPolicyUri=policy)
