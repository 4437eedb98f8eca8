"""What `edge-inspector doctor` finds out about PLC links: every mapped OPC UA tag, who may log in, who answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import anyio

from edge_inspector.cli.doctor_certificates import judged_until
from edge_inspector.errors import EdgeInspectorError, OutputError
from edge_inspector.health.clock import SystemClock
from edge_inspector.health.finding import Finding, judged
from edge_inspector.outputs.digital.config import Config as DigitalConfig
from edge_inspector.outputs.digital.config import GpioLines, RemoteIo
from edge_inspector.settings import PlcConfig

if TYPE_CHECKING:  # asyncua takes a second to import
    from edge_inspector.outputs.opcua_client.config import Config as ClientConfig

AT_MOST_S = 60.0
"""Of one PLC: a slow one with a hundred tags takes seconds."""

Connects = Callable[[str, int], str]
"""Host and port -> why nothing answers there, empty = something does."""


@dataclass(frozen=True)
class Links:
    """The PLC links of a station file: `file` stands in remedies; `state_dir` is where their certificates lie."""

    file: Path
    station: str
    state_dir: Path
    by_name: Mapping[str, PlcConfig]


def plc_findings(links: Links, now: datetime, connects: Connects) -> Iterator[Finding]:
    """All of them. Reads from PLCs, writes nothing into them."""
    for name, link in links.by_name.items():
        folder = links.state_dir / "plc" / name
        if link.type == "opcua_client":
            yield from _tags(links, name, link, folder, now)
        elif link.type == "opcua_server":
            yield from _users(links.file, name, str(getattr(link, "host", "")), folder)
        elif isinstance(link, DigitalConfig):
            yield from _lines(name, link, connects)


def _tags(links: Links, name: str, config: PlcConfig, folder: Path, now: datetime) -> Iterator[Finding]:
    from edge_inspector.outputs.opcua_client.config import Config as ClientConfig
    from edge_inspector.outputs.opcua_client.trust import Keeper

    if not isinstance(config, ClientConfig):
        return
    again = f"edge-inspector opcua check --station {quote(str(links.file))} --link {quote(name)}"
    pki = Keeper(config, folder, links.station, SystemClock()).pki
    if config.security != "None" and config.certificate is None and not pki.own_certificate.exists():
        why = "The PLC knows the station by it; doctor makes none, for it changes nothing."
        found = f"none yet in {pki.own_certificate.parent}"
        yield judged("opcua.certificate", name, "warn", found, "a certificate of our own", why, again)
        return
    try:
        end, problems = anyio.run(_asked, config, folder, links.station)
    except (EdgeInspectorError, OSError) as exc:
        why = "Without it no part is triggered and no result told."
        yield judged("opcua.connect", name, "fail", str(exc), f"{config.url} lets this station in", why, again)
        return
    yield judged("opcua.connect", name, "ok", f"{config.url}, {config.security}")
    if end is not None:
        yield judged_until(f"plc.{name}: the PLC's own", "", end, now, "make a new one in the PLC, and trust it here")
    for problem in problems:
        why = "The station does not become READY with a tag that it cannot use."
        yield judged("opcua.tag", name, "fail", problem, "exists, right type, may be read or written", why, again)
    if not problems:
        yield judged(
            "opcua.tag", name, "ok", f"all {len(config.nodes)} mapped tags exist with the right type and access"
        )


async def _asked(config: ClientConfig, folder: Path, station: str) -> tuple[datetime | None, list[str]]:
    """The end of the certificate that the server shows, and what is wrong with its tags. OutputError."""
    from edge_inspector.outputs.opcua_client import dial, visits
    from edge_inspector.outputs.opcua_server.security import certificates

    try:
        with anyio.fail_after(AT_MOST_S):
            found, _ = await visits.checked(config, folder, SystemClock(), station, write_test=False)
            offered = await dial.endpoints(config) if config.security != "None" else []
    except TimeoutError as exc:
        raise OutputError(f"{config.url} has not told all its tags within {AT_MOST_S:g} s") from exc
    shown = next((one.ServerCertificate for one in offered if one.ServerCertificate), None)
    end = None if shown is None else certificates.valid(certificates.sent_by_client(shown)[0])[1]
    return end, [one.told for one in found if one.problems]


def _users(file: Path, name: str, host: str, folder: Path) -> Iterator[Finding]:
    """On a loopback address nobody has to log in."""
    from edge_inspector.outputs.opcua_server.security import pki_of
    from edge_inspector.outputs.opcua_server.security.config import is_loopback
    from edge_inspector.outputs.opcua_server.security.trust import files_in
    from edge_inspector.outputs.opcua_server.security.users import Role, read_users

    if is_loopback(host):
        yield judged("opcua.users", name, "note", f"{host}: only programs on this machine reach it, without a login")
        return
    pki = pki_of(folder)
    try:
        users = read_users(pki.users)
    except EdgeInspectorError as exc:
        why = "Nobody can log in with a damaged file."
        yield judged(
            "opcua.users",
            name,
            "fail",
            str(exc),
            "a file of users",
            why,
            f"rm {quote(str(pki.users))} # and add them again",
        )
        return
    writes = [one.name for one in users.values() if one.role is Role.PLC]
    trusted = len(files_in(pki.trusted)) if pki.trusted.is_dir() else 0
    option = f"--station {quote(str(file))} --link {quote(name)}"
    yield judged(
        "opcua.users",
        name,
        "ok" if writes and trusted else "warn",
        f"{len(users)} users, {len(writes)} of role plc; {trusted} trusted certificates",
        "a user of role plc, and a trusted certificate",
        "No PLC can trigger or order anything: beyond this machine it needs both.",
        f"edge-inspector opcua user add NAME --role plc {option}"
        if not writes
        else f"edge-inspector opcua trust THUMBPRINT {option} # after the PLC has tried to connect",
    )


def _lines(name: str, config: DigitalConfig, connects: Connects) -> Iterator[Finding]:
    wiring = config.wiring
    if isinstance(wiring, RemoteIo):
        why_not = connects(wiring.host, wiring.port)
        found = f"{wiring.host}:{wiring.port} " + (f"does not answer: {why_not}" if why_not else "answers")
        why = "The outputs of the station hang on it."
        mend = f"ping -c 3 {quote(wiring.host)}"
        yield judged("plc.remote_io", name, "fail" if why_not else "ok", found, "an answer", why, mend)
    elif isinstance(wiring, GpioLines):
        there = Path(wiring.chip).exists()
        found = f"{wiring.chip}" if there else f"{wiring.chip} does not exist"
        why = "The outputs of the station hang on it."
        yield judged("plc.gpio", name, "ok" if there else "fail", found, "a GPIO chip", why, "gpiodetect")
