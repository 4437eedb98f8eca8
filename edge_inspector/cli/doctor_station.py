"""What `edge-inspector doctor` finds out about a station itself: its file, whether it runs, its books and its files."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from shlex import quote

from pydantic import BaseModel

from edge_inspector import assembly
from edge_inspector.config import Draft, StationConfig, StationFileError, last_good
from edge_inspector.control.client import ControlClient
from edge_inspector.errors import ConfigError, OutputError, StorageError
from edge_inspector.health.finding import Finding, Level, judged
from edge_inspector.health.ownership import Account, ownership_findings
from edge_inspector.store.opening import open_book
from edge_inspector.web.checked import check_file

WAITING_WARN = 10_000
"""Messages in the outbox: hours of parts, or a broker that is away for a shift."""


def file_findings(file: Path, draft: Draft) -> Iterator[Finding]:
    """As `edge-inspector check`; and what the station last ran with."""
    problems = list(map(str, draft.problems))
    if draft.station is not None:
        try:
            check_file(assembly.check(file))
        except StationFileError as exc:
            problems = list(map(str, exc.problems))
        except ConfigError as exc:
            problems = [str(exc)]
    why = "The station does not start with them."
    mend = f"edge-inspector check {quote(str(file))}"
    if problems:
        found = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}; the first: {problems[0]}"
        yield judged("station.file", str(file), "fail", found, "none", why, mend)
    else:
        yield judged("station.file", str(file), "ok", "nothing is wrong with it")
    kept = last_good.find(file)
    if kept is not None:
        yield _last_good(file, kept, wrong=bool(problems))
    elif draft.station is not None and (draft.station.station.state_dir / last_good.NAME).is_file():
        yield judged("station.last_good", "", "ok", "the file is as the station last took it")
    else:
        yield judged("station.last_good", "", "note", "none is kept yet: the station was never READY with any file")


def running_findings(settings: StationConfig, start: str) -> Iterator[Finding]:
    """Whether the station answers, and what it says of itself; `start` is the command that starts it."""
    path = settings.station.runtime / "control.sock"
    try:
        status = ControlClient(path).status()
    except OutputError as exc:
        yield judged("station.ready", "", "warn", str(exc), "a station that runs", "No part is inspected.", start)
        return
    if status is None:
        yield judged("station.ready", "", "note", "it is just starting")
        return
    level, found = _state(status)
    why = "The PLC sees it not READY: parts are not inspected, or pass as rejects."
    mend = "what to do stands in docs/reference/reasons.md at this number"
    yield judged("station.ready", "", level, found, "READY", why, mend)


def flight_findings(file: Path, runtime_dir: Path) -> Iterator[Finding]:
    """The flight record is only looked at: the station that runs has it locked."""
    path = runtime_dir / "flight.bin"
    aside = path.with_name(f"{path.name}.set-aside")
    if aside.exists():
        why = "A damaged flight record was put aside: what it held was never booked."
        mend = f"edge-inspector ledger reconcile {quote(str(file))} # lists such parts; then: rm {quote(str(aside))}"
        yield judged("flight.record", str(path), "warn", f"{aside} lies beside it", "no such file", why, mend)
    elif path.exists():
        yield judged("flight.record", str(path), "ok", f"{path.stat().st_size // 2**20} MB")
    else:
        yield judged("flight.record", str(path), "note", "none: the station has not run since the machine started")


def ledger_findings(state_dir: Path, many: int = WAITING_WARN) -> Iterator[Finding]:
    """Whether the book can be read, and what waits in it for brokers; `many` messages are too many."""
    path = state_dir / "ledger.sqlite"
    if not path.exists():
        yield judged("ledger.book", str(path), "note", "none yet: the station makes it at its first start")
        return
    try:
        with closing(open_book(path)) as book:
            waiting = dict(book.execute("SELECT destination, count(*) FROM outbox GROUP BY 1 ORDER BY 1").fetchall())
            (last,) = book.execute("SELECT max(seq) FROM triggers").fetchone()
    except (StorageError, sqlite3.Error) as exc:
        why = "Nothing can be booked in it, and nothing be proven by it."
        mend = "stop the station, keep a copy of the file for us, and put a backup in its place"
        yield judged("ledger.book", str(path), "fail", str(exc), "a book that can be read", why, mend)
        return
    yield judged("ledger.book", str(path), "ok", f"{last or 0} parts, {path.stat().st_size // 2**20} MB")
    for destination, count in waiting.items():
        why = "The broker does not take messages as fast as they come, or is away; they wait, and take room."
        found = f"{count} messages wait for it"
        mend = f"look at broker.connect {destination} on this page"
        level: Level = "warn" if count >= many else "ok"
        yield judged("ledger.outbox", destination, level, found, f"fewer than {many}", why, mend)


def owner_findings(file: Path, settings: StationConfig, who: Account) -> Iterator[Finding]:
    """Whether the user of the service can write what the station writes, and read what it reads."""
    written = [settings.station.state_dir, settings.station.runtime]
    if settings.images is not None and settings.images.folder is not None:
        written.append(settings.images.folder)
    yield from ownership_findings(who, written, [file, *_read_by(settings)])


def installed_folders(told: Mapping[str, str] | str) -> None:
    """As systemd does for the service: a file that does not name its folders means those of the unit."""
    folder = "" if isinstance(told, str) else told.get("StateDirectory", "").partition(" ")[0]
    if folder:
        os.environ.setdefault("STATE_DIRECTORY", f"/var/lib/{folder}")
        os.environ.setdefault("RUNTIME_DIRECTORY", f"/run/{folder}")
        os.environ.setdefault("LOGS_DIRECTORY", f"/var/log/{folder}")


def _last_good(file: Path, kept: Path, wrong: bool) -> Finding:
    then = (
        f"the way back: cp {quote(str(kept))} {quote(str(file))}"
        if wrong
        else "this one comes with edge-inspector reload, or a restart"
    )
    return judged("station.last_good", "", "note", f"the station last took another one, kept in {kept}; {then}")


def _state(status: Mapping[str, object]) -> tuple[Level, str]:
    doing = f"recipe {status.get('recipe')}, mode {status.get('mode')}"
    if status.get("error_code"):
        return "fail", f"error {status['error_code']}: {status.get('error_text')}; {doing}"
    if not status.get("ready"):
        return "warn", f"not READY: {status.get('error_text') or 'halted, busy or starting'}; {doing}"
    if status.get("warning") or status.get("degraded"):
        return "note", f"READY with a warning: edge-inspector-web or `journalctl` says which; {doing}"
    return "ok", f"READY; {doing}"


def _read_by(settings: BaseModel) -> Iterator[Path]:
    """Every path in the file that is a file by now: bundles and pictures are folders, and come with the program."""
    for key in type(settings).model_fields:
        yield from _paths(getattr(settings, key))


def _paths(value: object) -> Iterator[Path]:
    if isinstance(value, BaseModel):
        yield from _read_by(value)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _paths(one)
    elif isinstance(value, Path) and value.is_absolute() and value.is_file():
        yield value
