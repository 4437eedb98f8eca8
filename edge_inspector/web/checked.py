"""Whether a station file would let strangers in, and whether its TLS files fit."""

from __future__ import annotations

import ssl
from pathlib import Path

from edge_inspector.config import StationConfig
from edge_inspector.errors import ConfigError
from edge_inspector.web.tokens import token_file


def check_file(settings: StationConfig) -> None:
    """What can be said without the state folder. ConfigError: beyond this machine without TLS, or it does not fit."""
    web = settings.web
    if not web.loopback and not web.tls:
        raise ConfigError(
            f"web.host = {web.host!r}: other machines reach it, so TLS is required: give web.certificate and"
            " web.private_key, or listen on 127.0.0.1 behind a proxy that has TLS"
        )
    if web.certificate is not None:
        _load(web.certificate, web.private_key)


def check_start(settings: StationConfig, path: Path) -> None:
    """The same, and the tokens, before the service starts; `path` of the station file is for the remedy."""
    check_file(settings)
    known = token_file(settings.station.state_dir).tokens()
    if not settings.web.loopback and not known:
        raise ConfigError(
            f"web.host = {settings.web.host!r}: other machines reach it, but there is no token; make one with"
            f" `edge-inspector web token add NAME --role reader --station {path}`, or listen on 127.0.0.1"
        )


def _load(certificate: Path, private_key: Path | None) -> None:
    for key, path in (("certificate", certificate), ("private_key", private_key)):
        if path is None or not path.is_file():
            raise ConfigError(f"web.{key} = {str(path)!r}: no such file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, password="")
    except (ssl.SSLError, OSError) as exc:
        raise ConfigError(
            f"web.certificate = {str(certificate)!r} and web.private_key = {str(private_key)!r}: {exc};"
            " expected a certificate with its chain and its own key, both PEM, the key without a password"
        ) from exc
