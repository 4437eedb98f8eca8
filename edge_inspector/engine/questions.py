"""What an import asks: options, what the file says, defaults and answers, in that order, and how their text is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from edge_inspector.engine.exports import Said
from edge_inspector.errors import ConfigError

Ask: TypeAlias = Callable[[str, str, Sequence[str]], str]
"""Gives the user's answer to (option, question, choices), no choices = free text. ConfigError when nobody is there."""

MOST_SHOWN = 20  # names in a line

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_SIZE = re.compile(r"(\d+)\s*[x,]\s*(\d+)")
_LIMIT = re.compile(r"(.+?)\s*=\s*(\S+?)\.\.(\S+)\s*(.*)")


class Answers:
    """First the user's options, then what the file says, then a default, then an answer; `sources` says which."""

    def __init__(self, wishes: Mapping[str, str], said: Mapping[str, Said], ask: Ask) -> None:
        self._wishes, self._said, self._ask = wishes, said, ask
        self.sources: list[str] = []

    def value(
        self,
        name: str,
        question: str,
        read: Callable[[str], Any] = str,
        choices: Sequence[str] = (),
        default: Any = None,
    ) -> Any:
        """`default` None = there is none: the user is asked."""
        if self.wished(name):
            found = Said(self._read(name, self._wishes[name], read, choices), f"--{name}")
        elif name in self._said:
            found = self._said[name]
        elif default is not None:
            found = default if isinstance(default, Said) else Said(default, "a default: nothing said so")
        else:
            found = Said(self._read(name, self._ask(name, question, choices), read, choices), "your answer")
        self.note(name, found)
        return found.value

    def wished(self, name: str) -> bool:
        return name in self._wishes

    def said(self, name: str) -> Any:
        """What the file says and no option can change; None = nothing."""
        return self._said[name].value if name in self._said else None

    def note(self, name: str, found: Said) -> None:
        shown = str(found.value)
        if isinstance(found.value, tuple):
            shown = ", ".join(map(str, found.value[:MOST_SHOWN]))
            shown += f", ... {len(found.value)} in all" if len(found.value) > MOST_SHOWN else ""
        self.sources.append(f"{name}: {shown} ({found.source})")

    @staticmethod
    def _read(name: str, text: str, read: Callable[[str], Any], choices: Sequence[str]) -> Any:
        if choices and text not in choices:
            raise ConfigError(f"--{name} {text!r} is not known, expected one of {', '.join(choices)}")
        try:
            return read(text)
        except ValueError as exc:
            raise ConfigError(f"--{name} {text!r}: {exc}") from exc


def bundle_name(text: str) -> str:
    """A name that is safe in a file name, a topic and a tag. ValueError: not so."""
    if not _NAME.fullmatch(text):
        raise ValueError("expected letters, digits, - and _, 63 at the most")
    return text


def names(text: str) -> tuple[str, ...]:
    """Text with commas as names. ValueError: one is empty."""
    listed = tuple(name.strip() for name in text.split(","))
    if not all(listed):
        raise ValueError("expected names with commas between them")
    return listed


def size(text: str) -> tuple[int, int]:
    """Width and height. ValueError: not so."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError("expected width and height, as 640x480")
    return int(found[1]), int(found[2])


def channel(text: str) -> int:
    """A channel's number; -1 for "none". ValueError: neither."""
    if text == "none":
        return -1
    if not text.isdecimal():
        raise ValueError("expected the number of a channel, from 0, or none")
    return int(text)


def gray(text: str) -> int:
    """0 to 255. ValueError: not so."""
    if not 0 <= int(text) <= 255:
        raise ValueError("expected 0 to 255")
    return int(text)


def confidence(text: str) -> float:
    """Above 0, 1 at the most. ValueError: not so."""
    if not 0 < float(text) <= 1:
        raise ValueError("expected a number above 0, 1 at the most")
    return float(text)


def limits(text: str) -> dict[str, dict[str, Any]]:
    """The `limits` of a model.toml. ValueError: not so."""
    read = {}
    for one in names(text):
        found = _LIMIT.fullmatch(one)
        if not found:
            raise ValueError(f"{one!r} is not NAME=LOW..HIGH UNIT, as width=1.5..2.5 mm")
        read[found[1]] = {"low": float(found[2]), "high": float(found[3]), "unit": found[4]}
    return read
