"""What an import asks: options, what the file says, defaults and answers, in that order, and how their text is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from edge_inspector.engine.exports import Said
from edge_inspector.errors import ConfigError

Ask: TypeAlias = Callable[[str, str, Sequence[str], str], str]
"""Gives the user's answer to (option, question, choices, problem); no choices = free text.

`problem` says why the answer before was refused, empty = it is asked for the first time.
"""

ALWAYS = ("scaling", "decoder", "classes", "licence")
"""What every bundle needs and no default can say."""
LARGEST_PX = 8192  # as model.toml's [input] allows
MOST_SHOWN = 20  # names in a line

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_SIZE = re.compile(r"(\d+)\s*[x,]\s*(\d+)")
_LIMIT = re.compile(r"(.+?)\s*=\s*(\S+?)\.\.(\S+)\s*(.*)")


class Answers:
    """First the user's options, then what the file says, then a default, then an answer; `sources` says which.

    `ask` None = nobody is there to answer.
    """

    def __init__(self, wishes: Mapping[str, str], said: Mapping[str, Said], ask: Ask | None) -> None:
        self._wishes, self._said, self._ask = wishes, said, ask
        self._unused = set(wishes)
        self.sources: list[str] = []

    def value(
        self,
        name: str,
        question: str,
        read: Callable[[str], Any] = str,
        choices: Sequence[str] = (),
        default: Any = None,
    ) -> Any:
        """`default` None = there is none: the user is asked. ConfigError: a wrong option, or nobody to ask."""
        if self.wished(name):
            self._unused.discard(name)
            found = Said(self._read(name, self._wishes[name], read, choices), f"--{name}")
        elif name in self._said:
            found = self._said[name]
        elif default is not None:
            found = default if isinstance(default, Said) else Said(default, "a default: nothing said so")
        else:
            found = Said(self._asked(name, question, read, choices), "your answer")
        self.note(name, found)
        return found.value

    def wished(self, name: str) -> bool:
        return name in self._wishes

    def said(self, name: str) -> Any:
        """What the file says and no option can change; None = nothing."""
        return self._said[name].value if name in self._said else None

    def note(self, name: str, found: Said) -> None:
        self.sources.append(f"{name}: {_shown(found.value)} ({found.source})")

    def unused(self) -> list[str]:
        """Options that nothing has asked for."""
        return [name for name in self._wishes if name in self._unused]

    def _asked(self, name: str, question: str, read: Callable[[str], Any], choices: Sequence[str]) -> Any:
        """What the user answers at last, read. ConfigError: nobody is there."""
        if self._ask is None:
            more = [f"--{one}" for one in ALWAYS if one not in {name, *self._wishes, *self._said}]
            expected = f"one of {', '.join(choices)}" if choices else question
            raise ConfigError(
                f"--{name} is missing and the file does not say it; give it: {expected}"
                + (f". Missing too: {', '.join(more)}" if more else "")
            )
        problem = ""
        while True:
            text = self._ask(name, question, choices, problem)
            try:
                return self._read(name, text, read, choices)
            except ConfigError as exc:
                problem = str(exc)

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
    twice = [name for number, name in enumerate(listed) if name in listed[:number]]
    if twice:
        raise ValueError(f"{twice[0]} is there twice, expected each name once")
    return listed


def some_of(classes: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads names with commas, each one of `classes`."""

    def read(text: str) -> tuple[str, ...]:
        listed = names(text)
        strange = [name for name in listed if name not in classes]
        if strange:
            raise ValueError(f"{strange[0]} is no class, expected some of {', '.join(classes)}")
        return listed

    return read


def size(text: str) -> tuple[int, int]:
    """Width and height. ValueError: not so."""
    found = _SIZE.fullmatch(text.strip())
    if not found or not all(0 < int(side) <= LARGEST_PX for side in found.groups()):
        raise ValueError(f"expected width and height, as 640x480, {LARGEST_PX} px at the most")
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
    if not text.isdecimal() or int(text) > 255:
        raise ValueError("expected a whole number, 0 to 255")
    return int(text)


def confidence(text: str) -> float:
    """Above 0, 1 at the most. ValueError: not so."""
    value = _number(text)
    if value is None or not 0 < value <= 1:
        raise ValueError("expected a number above 0, 1 at the most, as 0.4")
    return value


def limits_of(values: Sequence[str]) -> Callable[[str], dict[str, dict[str, Any]]]:
    """Reads the `limits` of a model.toml, one for each of `values`."""

    def read(text: str) -> dict[str, dict[str, Any]]:
        limits = {}
        for one in names(text):
            found = _LIMIT.fullmatch(one)
            low, high = (_number(found[2]), _number(found[3])) if found else (None, None)
            if not found or low is None or high is None:
                raise ValueError(f"{one!r} is not NAME=LOW..HIGH UNIT, as width=1.5..2.5 mm")
            if low > high:
                raise ValueError(f"{one!r}: {low:g} is above {high:g}, expected the lower limit first")
            limits[found[1]] = {"low": low, "high": high, "unit": found[4]}
        if limits.keys() != set(values):
            raise ValueError(f"it is for {', '.join(limits)}, expected one for each of {', '.join(values)}")
        return limits

    return read


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} {one['low']:g}..{one['high']:g} {one['unit']}".rstrip()
            if isinstance(one, Mapping) and "unit" in one
            else f"{key} = {_shown(one)}"
            for key, one in value.items()
        )
    if not isinstance(value, tuple):
        return str(value)
    shown = ", ".join(map(str, value[:MOST_SHOWN]))
    return shown + (f", ... {len(value)} in all" if len(value) > MOST_SHOWN else "")
