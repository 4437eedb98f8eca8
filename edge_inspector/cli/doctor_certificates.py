"""What `edge-inspector doctor` finds out about certificates: until when each of them is valid."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from socket import create_connection
from typing import TYPE_CHECKING, Literal

from edge_inspector.config import Draft
from edge_inspector.errors import ConfigError, OutputError
from edge_inspector.health.finding import Finding, judged
from edge_inspector.outputs.mqtt.config import Broker

if TYPE_CHECKING:  # asyncua takes a second to import
    from edge_inspector.outputs.opcua_server.security.files import Pki

SOON = timedelta(days=30)
"""Long enough for a plant's own authority to answer."""
_OPCUA = ("opcua_server", "opcua_client")


@dataclass(frozen=True)
class Certificates:
    """A file with certificates; `any_of`: it lists authorities, of which one that is valid may be enough."""

    name: str
    path: Path
    remedy: str
    any_of: bool = False


def certificate_findings(draft: Draft, now: datetime, synced: bool) -> Iterator[Finding]:
    """Of each certificate that the station file names or the station keeps. Files that are missing are for `check`."""
    for one in [*_named(draft), *_kept(draft)]:
        yield from _of_file(one, now, synced)


def broker_certificate(name: str, config: Broker, now: datetime) -> Iterator[Finding]:
    """The certificate that a broker shows; nothing without TLS, or when the broker cannot be reached."""
    from edge_inspector.outputs.mqtt.tls import tls_context

    if config.tls is None:
        return
    try:
        with (
            create_connection((config.host, config.broker_port), config.connect_timeout_s) as plain,
            tls_context(name, config.tls).wrap_socket(plain, server_hostname=config.host) as wrapped,
        ):
            shown = wrapped.getpeercert() or {}
    except (OSError, OutputError):  # broker.connect has said it
        return
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), timezone.utc)
    remedy = "renew the broker's certificate, and restart the broker"
    yield judged_until(f"publishers.{name}: the broker's own", "", end, now, remedy)


def _named(draft: Draft) -> Iterator[Certificates]:
    renew = "have it renewed by who issued it, then restart the station"
    for name, one in draft.publishers.items():
        tls = one.tls if isinstance(one, Broker) else None
        if tls is not None and tls.ca_file is not None:
            yield Certificates(f"publishers.{name}.tls.ca_file", tls.ca_file, renew, any_of=True)
        if tls is not None and tls.cert_file is not None:
            yield Certificates(f"publishers.{name}.tls.cert_file", tls.cert_file, renew)
    for name, link in draft.plc.items():
        tables = {f"plc.{name}": link, f"plc.{name}.security": getattr(link, "security", None)}
        for table, settings in tables.items():
            for key in ("certificate", "server_certificate"):
                path = getattr(settings, key, None)
                if isinstance(path, Path):
                    yield Certificates(f"{table}.{key}", path, renew)
    if draft.station is not None and draft.station.web.certificate is not None:
        mend = "have it renewed by who issued it, then: sudo systemctl restart 'edge-inspector-web@*'"
        yield Certificates("web.certificate", draft.station.web.certificate, mend)
    backend = None if draft.station is None else draft.station.backend
    for key in ("ca_file", "certificate_file"):
        path = getattr(backend, key, None)
        if isinstance(path, Path):
            yield Certificates(f"backend.{key}", path, renew, any_of=key == "ca_file")


def _kept(draft: Draft) -> Iterator[Certificates]:
    """Those that OPC UA links make and trust, in the state folder."""
    links = {name: one for name, one in draft.plc.items() if one.type in _OPCUA}
    if draft.station is None or not links:
        return
    from edge_inspector.outputs.opcua_server.security import pki_of
    from edge_inspector.outputs.opcua_server.security.trust import files_in

    for name in links:
        pki: Pki = pki_of(draft.station.station.state_dir / "plc" / name)
        mend = "the station makes the next one by itself: trust it in the PLC (docs/how-to/secure-opcua.md)"
        yield Certificates(f"plc.{name}: our own", pki.own_certificate, mend)
        for file in files_in(pki.trusted) if pki.trusted.is_dir() else ():
            mend = f"have its owner renew it, then trust the new one: edge-inspector opcua trust FILE --link {name}"
            yield Certificates(f"plc.{name}: trusted", file, mend)


def _of_file(one: Certificates, now: datetime, synced: bool) -> Iterator[Finding]:
    from edge_inspector.outputs.opcua_server.security.certificates import read_certificates, subject, valid

    if not one.path.is_file():
        return
    try:
        found = read_certificates(one.path)
    except ConfigError as exc:
        why = "What it is for cannot begin without it."
        yield judged("certificate.valid", one.name, "fail", str(exc), "X.509 in DER or PEM form", why, one.remedy)
        return
    choose = max if one.any_of else min
    decisive = choose(found, key=lambda certificate: valid(certificate)[1])
    begin, end = valid(decisive)
    shown = f"{subject(decisive) or 'no name'} in {one.path}"
    if synced and now < begin:
        why = "Nobody accepts it before."
        text = f"{shown}: valid only from {begin:%Y-%m-%d} on"
        yield judged("certificate.valid", one.name, "fail", text, "valid now", why, one.remedy)
        return
    yield judged_until(one.name, shown, end, now, one.remedy)


def judged_until(name: str, shown: str, end: datetime, now: datetime, remedy: str) -> Finding:
    """`shown`: whose certificate it is and where it lies, empty = `name` says it."""
    left = end - now
    level: Literal["ok", "warn", "fail"] = "fail" if left < timedelta(0) else "warn" if left < SOON else "ok"
    when = f"expired {-left.days} days ago" if level == "fail" else f"{left.days} days left"
    return judged(
        "certificate.valid",
        name,
        level,
        f"{shown}: until {end:%Y-%m-%d}, {when}".removeprefix(": "),
        f"valid for {SOON.days} days and more",
        "After that day nothing that checks it talks to the station any more.",
        remedy,
    )
