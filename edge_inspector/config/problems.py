"""How a mistake in a station file is told: file, key, value, what was expected."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_inspector import plugins
from edge_inspector.errors import ConfigError
from edge_inspector.settings import Name

DEEPEST = 16
"""No key of ours lies deeper than 6 tables; what does would only exhaust the stack."""
INTEGERS = range(-(2**63), 2**63)
"""TOML's; Python's own have no end and cannot always be printed."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CREDENTIALS = re.compile(r"://.*@")
"""User and password of an address, also where one holds a / or @ that should have been escaped."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_NAME_PATTERN = Name.__metadata__[0].pattern  # type: ignore[attr-defined]
_KINDS: Mapping[str, plugins.Kind] = {
    "cameras": "camera",
    "backend": "backend",
    "plc": "plc",
    "publishers": "publisher",
}


@dataclass(frozen=True)
class Problem:
    """One thing that the user must change."""

    file: Path
    key: str
    value: str
    expected: str

    def __str__(self) -> str:
        value = f" = {self.value}" if self.value else ""
        text = f"{self.file}: {self.key or 'file'}{value}: {self.expected}"
        return " ".join(text.splitlines())  # one line, whatever a path or a message holds


class StationFileError(ConfigError):
    """Everything that is wrong with a station file, at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


def value_problem(path: Path, key: tuple[str, ...], value: object, expected: str) -> Problem:
    return Problem(path, dotted(key[: DEEPEST + 1]), shown_value(value), expected)


def follows(error: Any) -> bool:
    """Whether an error is only the consequence of others: "too few entries", because some of them are wrong."""
    return bool(error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"])


def problem_of(path: Path, error: Any) -> Problem:
    location = [str(part) for part in error["loc"]]
    kind, detail, value = error["type"], error.get("ctx", {}), error.get("input")
    # pydantic puts the plugin's type into the location ("cameras.top.basler.serial"): the user's file has no such key.
    depth = 1 if location[0] == "backend" else 2
    if location[0] in _KINDS and location[depth:] and location[depth] != "[key]":
        del location[depth]
    # as it does with the kind of a rule or policy
    single = location[0] == "line_rules" or location[:2] == ["power", "policy"]
    rule = 1 if single else 3 if location[2:3] == ["rules"] else len(location)
    if len(location) > rule + 1:
        del location[rule + 1]
    if location[-1] == "[key]":
        location.pop()
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        location.append(detail["discriminator"].strip("'"))
        value = detail.get("tag")
    tags = detail.get("expected_tags", "").replace("'", "")
    known = ", ".join(sorted(plugins.names(_KINDS[location[0]]))) if location[0] in _KINDS else tags
    if kind == "string_pattern_mismatch" and detail["pattern"] == _NAME_PATTERN:
        kind = "name"
    expected = {
        "missing": "is missing: this key is required",
        "extra_forbidden": "is not a known key; see `edge-inspector schema`",
        "union_tag_not_found": f"is missing; expected one of {known}" if known else "is missing: this key is required",
        "union_tag_invalid": f"expected one of {known}",
        "name": "expected a name: at most 63 letters without accents, digits, - and _, a letter or digit first",
        "too_short": f"expected at least {detail.get('min_length')}",
        "too_long": f"expected at most {detail.get('max_length')}",
        "dict_type": "expected a table",
        "model_type": "expected a table",
        "tuple_type": "expected an array",
    }.get(kind, _sentence(error["msg"]))
    return Problem(path, dotted(location), "" if kind == "missing" else shown_value(value), expected)


def shown_value(value: object) -> str:
    if value is None or isinstance(value, dict):
        return ""
    shown = "an integer too large to print" if isinstance(value, int) and value not in INTEGERS else repr(value)
    shown = _CREDENTIALS.sub("://***@", shown)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _sentence(message: str) -> str:
    for prefix, ours in (("Value error, ", ""), ("Input should be ", "expected ")):
        if message.startswith(prefix):
            return ours + message.removeprefix(prefix)
    return message[:1].lower() + message[1:]


def dotted(key: tuple[str, ...] | list[str]) -> str:
    """A key as TOML writes it, on one line: what is not a bare key stands in quotes."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in key)
