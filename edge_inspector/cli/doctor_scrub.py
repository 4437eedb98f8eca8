"""Takes passwords, keys and tokens out of what leaves the station."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote

GONE = "***"
SHORTEST = 3
"""Characters of a secret that is looked for everywhere: a shorter one would take half of each log with it."""
_NAMES = (
    r"passw(?:or)?[dt]|passphrase|passcode|pwd|psk|kennwort|contrase|secret|token|credential|community|webhook"
    r"|api[_-]?key|access[_-]?key|(?<=[_-])pass(?![a-z])"
)
_SECRET_KEY = re.compile(rf"{_NAMES}|authorization|cookie|private_?key$|(^|[_-])(pass|auth)$", re.IGNORECASE)
_FILE_KEY = re.compile(r"_(file|dir|folder|path)$", re.IGNORECASE)
SECRET_FILES = ("password_file", "urls_file", "token_file", "secret_file")
"""Keys of a station file; what the files hold that they name is secret line by line."""
_QUOTED = r"b?(?:\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|\\+[\"'][^\n]*?\\+[\"']|[\"'][^\n]*)"
_BARE = r"(?:[^\s,;}\])]|[,;}\])](?![\s\"'{}\])]|$))+"
_NO_FILE = r"(?![\w-]*[_-](?:file|dir|folder|path)\b)"
_WORD = rf"(?<![\w-]){_NO_FILE}[\w-]*(?:{_NAMES})[\w-]{{0,40}}\\*[\"']?\s*"
_ASSIGNED = re.compile(  # `mqtt.password: mode 640` tells of a file, `plant.password = x` of a key
    rf"(?im)((?:(?<![./]){_WORD}:|{_WORD}(?:=|%3d|>))[=>]?\s*)({_QUOTED}|{_BARE})"
)
_OPTION = re.compile(rf"(?im)((?<!\S)--{_NO_FILE}[\w-]*(?:{_NAMES})[\w-]{{0,40}}\s+)(?!-)({_QUOTED}|{_BARE})")
_HEADER = re.compile(
    rf"(?im)(\b(?:authorization|cookie)\\*[\"']?\s*[:=]\s*)({_QUOTED}|(?:(?:basic|bearer|digest|token)\s+)?[^\n]+)"
)
_SCHEME = re.compile(r"(?i)^([\"']?(?:basic|bearer|digest|token) )")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_URL = re.compile(r"(?<=://)[^\s\"'<>]+")
_QUERY = re.compile(r"([?#]).+", re.DOTALL)
_WHOLE_URL = re.compile(r"([a-z][a-z0-9+.-]*://)(.*)@(.*)", re.IGNORECASE | re.DOTALL)
_KEY_BEGINS = r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
_KEY_ENDS = re.compile(r"-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----")
_KEY_BLOCK = re.compile(rf"{_KEY_BEGINS}.*?({_KEY_ENDS.pattern}|\Z)", re.DOTALL)
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]*")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal would obey, or show in another order."""


class Scrub:
    """Knows the secrets of one station file, and what secrets look like."""

    def __init__(self, secrets: frozenset[str] = frozenset()) -> None:
        forms = {form for one in secrets for form in _forms(one) if len(form) >= SHORTEST}
        kept = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, kept))) if kept else None

    def text(self, text: str) -> str:
        """Without a known secret, login in a URL, query, private key, bearer token, or `password = ...`.

        Nor with anything that a terminal would obey: colours stand between a key and its value.
        """
        text = self._unknown(_CONTROL.sub("?", _COLOUR.sub("", self._unknown(text).replace("\r\n", "\n"))))
        text = _without_end_of_key(_KEY_BLOCK.sub(f"{GONE} private key {GONE}", text))
        text = _HEADER.sub(_assigned, _URL.sub(_bare_url, text))
        return _BEARER.sub(rf"\1 {GONE}", _OPTION.sub(_assigned, _ASSIGNED.sub(_assigned, text)))

    def document(self, value: object, key: str = "", inside: bool = False) -> Any:
        """What a TOML file or a record holds, as JSON has it; what a key holds that is named like a secret is gone.

        `inside`: a table around it is named so.
        """
        if isinstance(value, Mapping):
            within = inside or (is_secret(key) and not _FILE_KEY.search(key))
            return {self.text(str(name)): self.document(one, str(name), within) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.document(one, key, inside) for one in value]
        if value is None or isinstance(value, bool):
            return value
        if (inside or is_secret(key)) and not names_a_file(key, value):
            return GONE
        return value if isinstance(value, (int, float)) else self.text(_WHOLE_URL.sub(rf"\1{GONE}@\3", str(value)))

    def _unknown(self, text: str) -> str:
        return text if self._known is None else self._known.sub(GONE, text)


def is_secret(key: str) -> bool:
    """Whether a key is named like one that holds a secret, or the file of one."""
    return bool(_SECRET_KEY.search(key))


def names_a_file(key: str, value: object) -> bool:
    """`password_file`, and `private_key` with a path: where a secret lies is none.

    A password that somebody wrote in the place of its file's name is one.
    """
    like_a_path = any(mark in str(value) for mark in "/.")
    if key in SECRET_FILES or key == "private_key":
        return like_a_path and "PRIVATE KEY" not in str(value)
    return bool(_FILE_KEY.search(key))


def logins(text: str) -> Iterator[str]:
    """The password in a URL's user:password@, or a user without one: that is a token."""
    whole = _WHOLE_URL.fullmatch(text)
    found = [whole[2]] if whole else [url.rpartition("@")[0] for url in _URL.findall(text) if "@" in url]
    for login in found:
        user, mark, password = login.partition(":")
        yield password if mark else user


def _forms(secret: str) -> Iterator[str]:
    """As it stands in a file, in a URL, in a line of JSON, in Python's words, and in HTML."""
    for one in {secret, unquote(secret), quote(secret, safe=""), quote(secret), quote_plus(secret)}:
        yield from (one, json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1], repr(one)[1:-1])
        yield from (html.escape(one), re.sub("%..", lambda found: found[0].lower(), one))


def _assigned(found: re.Match[str]) -> str:
    """With its quotes, so that a line of JSON stays one."""
    value = found[2]
    if value.startswith("\\"):
        mark = value[: len(value) - len(value.lstrip("\\")) + 1]
    else:
        mark = value[0] if value[0] in "\"'" else ""
    scheme = _SCHEME.match(value)
    return f"{found[1]}{scheme[1] if scheme else mark}{GONE}{mark}"


def _bare_url(found: re.Match[str]) -> str:
    """Without login and query; what stands in the place of a port and is none is a login that was cut off."""
    _, login, place = found[0].rpartition("@")
    bare = _QUERY.sub(rf"\1{GONE}", place)
    if login:
        return f"{GONE}@{bare}"
    host, mark, port = place.partition("/")[0].partition(":")
    is_port = host.startswith("[") or re.fullmatch(r"\d*\W*", re.split("[?#]", port)[0])
    return bare if not mark or is_port else f"{host}:{GONE}"


def _without_end_of_key(text: str) -> str:
    """A key whose beginning was cut off: its lines before the end."""
    end = _KEY_ENDS.search(text)
    if end is None:
        return text
    lines = text[: end.start()].split("\n")
    while lines and _KEY_LINE.fullmatch(lines[-1].strip()):
        lines.pop()
    return "\n".join([*lines, f"{GONE} private key {GONE}"]) + _without_end_of_key(text[end.end() :])
