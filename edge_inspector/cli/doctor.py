"""`edge-inspector doctor`: what is wrong with this machine and its station, and the command that mends it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from edge_inspector import config
from edge_inspector.cli import doctor_page
from edge_inspector.cli.doctor_bundle import Asked, write_bundle
from edge_inspector.cli.doctor_checks import examined
from edge_inspector.cli.doctor_station import installed_folders
from edge_inspector.cli.doctor_time import left_behind
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.config import Draft, last_good
from edge_inspector.errors import ConfigError
from edge_inspector.health import unit
from edge_inspector.health.finding import Finding, judged


def doctor(
    file: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Look at this station, too: its file decides what else is asked.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="ZIP",
            help="Write a new file for who helps you: this page, versions, the station file without secrets, the last"
            " logs, what the ledger counts.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check what makes stations fail in the field: JetPack, power, engines, cameras, PLC, brokers, disks, clock.

    Opens no camera, loads no model, writes nothing into a PLC and needs no root; root sees more. It logs in to the
    MQTT brokers of the station file and publishes one empty message on the station's own topic `doctor`; it reads every
    mapped tag of the PLC. For each thing that is not in order it says what was found, what is expected, why, and the
    command that mends it. note: there is nothing to judge, such as the network of a machine without a GigE camera.
    Exit code: 0 nothing to mend, 6 warnings alone, 1 something fails.

    Examples: `edge-inspector doctor`, `edge-inspector doctor --config station.toml`, `edge-inspector doctor --json`,
    `edge-inspector doctor --config station.toml --bundle support.zip`
    """
    if bundle is not None:
        with told_to_the_user():
            _is_free(bundle)
    name = "" if file is None else unit.unit_of(file)
    told = unit.read_unit(name) if name else "this station file is not below /etc/edge-inspector"
    installed_folders(told)
    draft, first = _read(file)
    found = [*first, *examined(Path("/"), file, draft, name, told)]
    if as_json:
        typer.echo(doctor_page.as_json(found))
    else:
        doctor_page.show(found)
    if bundle is not None:
        with told_to_the_user():
            write_bundle(bundle, Asked(Path("/"), file, draft, name, found))
        typer.echo(f"{bundle}: written; look into it before you send it", err=True)
    code = doctor_page.exit_code(found)
    if left_behind():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        raise typer.Exit(code)


def _is_free(bundle: Path) -> None:
    """Before minutes of checks. ConfigError, OSError: no new file of this name can be made."""
    if bundle.exists():
        raise ConfigError(f"{bundle}: is there already; give the name of a new file, such as support.zip")
    if not bundle.parent.is_dir():
        raise ConfigError(f"{bundle}: there is no folder {bundle.parent}; make it, or choose another one")


def _read(file: Path | None) -> tuple[Draft | None, list[Finding]]:
    """The station file as far as it can be read, or what is to be said in its place."""
    if file is None:
        here = sorted(unit.INSTALLED.glob("*/station.toml")) if unit.INSTALLED.is_dir() else []
        named = " or ".join(f"--config {quote(str(one))}" for one in here)
        return None, [judged("station.file", "", "note", f"not looked at; name it with {named}")] if here else []
    try:
        return config.draft(file), []
    except ConfigError as exc:
        may_read = os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
        mend = (
            "ls -d /etc/edge-inspector/*/station.toml # and name one of them"
            if not file.exists() and os.access(file.absolute().parent, os.X_OK)
            else f"edge-inspector check {quote(str(file))}"
            if may_read
            else f"sudo edge-inspector doctor --config {quote(str(file))}"
        )
        with suppress(OSError, RuntimeError):  # a state folder that this user may not enter, a link to itself
            if (kept := last_good.find(file)) is not None:
                mend += f" # or back to what the station last took: cp {quote(str(kept))} {quote(str(file))}"
        why = "Nothing of the station can be looked at."
        return None, [judged("station.file", str(file), "fail", str(exc), "a file that can be read", why, mend)]
