"""Takes passwords, keys and tokens out of what leaves the station."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GONE = "***"
SHORTEST = 3
"""Characters of a secret that is looked for everywhere: a shorter one would take half of each log with it."""
_SECRET_KEY = re.compile(r"passw(or)?d|passphrase|secret|token|credential|api_?key|private_key$", re.IGNORECASE)
_FILE_KEY = re.compile(r"_(file|dir|folder|path)$", re.IGNORECASE)
_SECRET_FILES = ("password_file", "urls_file", "token_file", "secret_file")
_USERINFO = re.compile(r"(?<=://)[^/\s@\"'<>]*@")
_QUERY = re.compile(r"(://[^\s\"'<>?]*\?)[^\s\"'<>]+")
_WORD = r"(?:[a-z0-9]+_)*(?:password|passwd|passphrase|secret|token|api_?key)\b[\"']?\s*"
_ASSIGNED = re.compile(  # `mqtt.password: mode 640` tells of a file, `plant.password = x` of a key
    rf"(?i)((?:(?<![\w./-]){_WORD}:|(?<!\w){_WORD}=)\s*)(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;}}\"']+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


class Scrub:
    """Knows the secrets of one station file, and what secrets look like."""

    def __init__(self, secrets: frozenset[str] = frozenset()) -> None:
        forms = {form for one in secrets for form in _forms(one) if len(form) >= SHORTEST}
        kept = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, kept))) if kept else None

    def text(self, text: str) -> str:
        """Without a known secret, login in a URL, query, private key, bearer token, or `password = ...`."""
        if self._known is not None:
            text = self._known.sub(GONE, text)
        text = _KEY_BLOCK.sub(f"{GONE} private key {GONE}", text)
        text = _QUERY.sub(rf"\1{GONE}", _USERINFO.sub(f"{GONE}@", text))
        return _BEARER.sub(rf"\1 {GONE}", _ASSIGNED.sub(_assigned, text))

    def document(self, value: object, key: str = "") -> Any:
        """What a TOML file or a record holds, as JSON has it; what a key holds that is named like a secret is gone."""
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.document(one, str(name)) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.document(one, key) for one in value]
        if _SECRET_KEY.search(key) and not _names_a_file(key, value):
            return GONE
        return value if isinstance(value, (bool, int, float)) or value is None else self.text(str(value))


def read_toml(file: Path) -> dict[str, Any]:
    """The file as it is written. OSError, ValueError (no TOML)."""
    return tomllib.loads(file.read_text(encoding="utf-8-sig"))


def secrets_of(document: Mapping[str, Any], beside: Path) -> frozenset[str]:
    """Every secret that the file holds, or that stands in a file that it names; what cannot be read holds none."""
    return frozenset(one for one in _secrets(document, "", beside) if one)


def _secrets(value: object, key: str, beside: Path) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _secrets(one, str(name), beside)
    elif isinstance(value, list):
        for one in value:
            yield from _secrets(one, key, beside)
    elif isinstance(value, str):
        yield from _logins(value)
        if key in _SECRET_FILES:
            yield from _lines(beside / Path(value).expanduser())
        elif _SECRET_KEY.search(key) and not _names_a_file(key, value):
            yield value


def _lines(file: Path) -> Iterator[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        yield line.strip()
        yield from _logins(line)


def _forms(secret: str) -> Iterator[str]:
    """As it stands in a file, in a URL, and in a line of JSON."""
    for one in {secret, unquote(secret), quote(secret, safe="")}:
        yield from (one, json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1])


def _assigned(found: re.Match[str]) -> str:
    """With its quotes, so that a line of JSON stays one."""
    mark = found[2][0] if found[2][0] in "\"'" else ""
    return f"{found[1]}{mark}{GONE}{mark}"


def _logins(text: str) -> Iterator[str]:
    """The password in a URL's user:password@."""
    for login in _USERINFO.findall(text):
        yield login.removesuffix("@").partition(":")[2]


def _names_a_file(key: str, value: object) -> bool:
    """`password_file`, and `private_key` with a path: where a secret lies is none."""
    return bool(_FILE_KEY.search(key)) or (key == "private_key" and "PRIVATE KEY" not in str(value))
