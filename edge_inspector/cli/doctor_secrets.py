"""What `edge-inspector doctor` finds out about the files of a station that hold passwords and keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

from pydantic import BaseModel

from edge_inspector.health.finding import Finding, judged

_SECRET = ("password_file", "urls_file", "key_file", "private_key", "key")
_OTHERS_MAY_READ = 0o004


def secret_findings(tables: Mapping[str, BaseModel]) -> Iterator[Finding]:
    """One for each file that such a key of a table names; `tables` by their name in the station file."""
    for table, settings in tables.items():
        for key, path in _secrets(settings):
            try:
                mode = path.stat().st_mode
            except OSError:  # `check` says so
                continue
            name, found = f"{table}.{key}", f"{path}: mode {mode & 0o777:03o}"
            if mode & _OTHERS_MAY_READ:
                why = "Everybody on this machine can use what stands in it."
                mend = f"sudo chmod o-rwx {quote(str(path))} # and choose a new secret if others may have seen it"
                yield judged("secret.file", name, "warn", found, "for the station's user alone", why, mend)
            else:
                yield judged("secret.file", name, "ok", found)


def _secrets(settings: BaseModel) -> Iterator[tuple[str, Path]]:
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if isinstance(value, BaseModel):
            yield from ((f"{key}.{inner}", path) for inner, path in _secrets(value))
        elif key in _SECRET and isinstance(value, Path):
            yield key, value
