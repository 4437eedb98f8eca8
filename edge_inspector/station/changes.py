"""What was changed on the disk since the last start: recipes, thresholds, models, calibrations, the station file."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_inspector import __version__
from edge_inspector.config import StationConfig
from edge_inspector.datatypes import AuditEntry
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.golden import golden_sum
from edge_inspector.errors import BundleError
from edge_inspector.interfaces import Clock
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.records import BookConfiguration

_CREDENTIALS = re.compile(r"(://)[^/@\s]*@")  # those of a URL; all others stand in files of their own
_LONGEST = 200  # characters of one value in the trail
NOBODY = "unknown"


@dataclass(frozen=True)
class Configuration:
    """What the station runs with, as words by dotted key; `sources` says which file each key comes from.

    A key without a source is of the program itself.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, Path] = field(default_factory=dict)


def configured(path: Path, settings: StationConfig, bundles: Mapping[str, Bundle]) -> Configuration:
    """All that the station file says and names; `bundles` by recipe."""
    values = dict(flat(settings.model_dump(mode="json", by_alias=True)))
    sources = dict.fromkeys(values, path.resolve())
    for name, camera in settings.cameras.items():
        if camera.calibration is not None:
            key = f"cameras.{name}.calibration_file"
            values[key], sources[key] = _file_words(camera.calibration), camera.calibration
    for name, bundle in bundles.items():
        words = {"model": f"{bundle.name} {bundle.version}, sha256 {bundle.model_hash[:16]}", "golden": _golden(bundle)}
        for what, text in words.items():
            key = f"recipes.{name}.{what}"
            values[key], sources[key] = text, bundle.folder / "model.toml"
    return Configuration({**values, "software": __version__}, sources)


def book_changes(configuration: Configuration, ledger: Ledger, clock: Clock) -> None:
    """Compare with what the last run had and book every difference; before the ledger's thread runs."""
    before = ledger.configuration()
    if dict(configuration.values) == before:
        return
    entries = changes_between(Configuration(before), configuration, clock)
    ledger.submit(BookConfiguration(configuration.values, entries))


def changes_between(before: Configuration, now: Configuration, clock: Clock) -> tuple[AuditEntry, ...]:
    """Every difference between two states of the files, for the audit trail."""
    return tuple(
        AuditEntry(clock.utc(), clock.synced(), who, what, detail)
        for who, what, detail in _differences(before.values, now)
    )


def flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and words of a nested JSON value, without the credentials of URLs."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            yield from flat(inner, f"{key}.{number}")
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield key, _CREDENTIALS.sub(r"\1***@", text)


def _file_words(path: Path) -> str:
    return f"sha256 {_sha256(path.read_bytes())[:16]}"


def _golden(bundle: Bundle) -> str:
    try:
        total = golden_sum(bundle)
    except (BundleError, OSError) as exc:  # who proves an engine by it will be told; here it is a state like others
        return f"cannot be read: {exc}"
    return f"sha256 {total[:16]}" if total else "none"


def _differences(before: Mapping[str, str], now: Configuration) -> Iterable[tuple[str, str, str]]:
    """Who, what, detail: one for each key that has another value."""
    if not before:
        whole = _sha256(repr(sorted(now.values.items())).encode())[:16]
        yield NOBODY, "configuration_recorded", f"the first one in this book: {len(now.values)} values, sha256 {whole}"
        return
    for key in sorted(before.keys() | now.values.keys()):
        old, new = before.get(key), now.values.get(key)
        if old == new:
            continue
        who, file = _author(now.sources.get(key) or _next_source(key, now.sources))
        yield who, _what(key), f"{key}: {_words(old)} -> {_words(new)}{file}"


def _what(key: str) -> str:
    """The kind of change, for who searches the trail."""
    table, _, rest = key.partition(".")
    name = rest.partition(".")[2]
    if table == "software":
        return "software_changed"
    if table == "recipes":
        if name.startswith("thresholds"):
            return "thresholds_changed"
        return {"model": "model_changed", "bundle": "model_changed", "golden": "golden_set_changed"}.get(
            name, "recipe_changed"
        )
    if table == "cameras" and name == "calibration_file":
        return "calibration_changed"
    return "configuration_changed"


def _next_source(key: str, sources: Mapping[str, Path]) -> Path | None:
    """Of a key that is gone: the file of the keys of its table, or of the whole."""
    while key:
        key = key.rpartition(".")[0]
        for other, path in sources.items():
            if other.startswith(f"{key}." if key else ""):
                return path
    return None


def _author(path: Path | None) -> tuple[str, str]:
    """The owner of a file, who answers for it, and the file with the time of its last change."""
    if path is None:
        return "software", ""
    try:
        facts = path.stat()
    except OSError:
        return NOBODY, f" ({path.name})"
    changed = datetime.fromtimestamp(facts.st_mtime, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"owner:{_user(facts)}", f" ({path.name} of {changed})"


def _user(facts: os.stat_result) -> str:
    try:
        return pwd.getpwuid(facts.st_uid).pw_name
    except KeyError:
        return f"uid {facts.st_uid}"


def _words(value: str | None) -> str:
    if value is None:
        return "nothing"
    return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}...")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
