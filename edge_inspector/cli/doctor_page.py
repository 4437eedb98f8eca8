"""How `edge-inspector doctor` looks: one page, in sections, with what mends each thing below it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

import typer

from edge_inspector.health.finding import Finding, Level
from edge_inspector.stages.rule_words import plain

EXIT_FAILED = 1
"""Something fails."""
EXIT_WARNED = 6
"""Nothing fails, but there are warnings."""
LEVELS: tuple[Level, ...] = ("fail", "warn", "note", "ok")
"""The worst first."""
SECTIONS = {
    "Station": ("station", "unit", "files", "secret", "ledger", "flight"),
    "Model": ("jetpack", "engine"),
    "Cameras": ("pylon", "camera", "network", "usb", "video"),
    "PLC, brokers, web": ("plc", "opcua", "broker", "certificate", "web"),
    "Machine": ("power", "cpu", "clock", "disk", "memory", "limits", "machine"),
}
"""Which checks stand together, by the word before the dot of their names."""
_COLOURS: dict[Level, str | None] = {
    "ok": typer.colors.GREEN,
    "note": None,
    "warn": typer.colors.YELLOW,
    "fail": typer.colors.RED,
}
_INDENT = " " * 6
_NARROWEST = 60


def exit_code(found: Sequence[Finding]) -> int:
    """By the worst of them."""
    levels = {one.level for one in found}
    return EXIT_FAILED if "fail" in levels else EXIT_WARNED if "warn" in levels else 0


def as_json(found: Sequence[Finding]) -> str:
    """A list, in the order of the checks."""
    return json.dumps([dataclasses.asdict(one) for one in found], indent=2)


def page(found: Sequence[Finding], width: int | None = None) -> Iterator[str]:
    """Lines without colours or control characters; the last one counts, those before it name what is wrong.

    `width` in characters, 0 = any, None = that of the terminal.
    """
    if width is None:
        width = max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 0
    for title in SECTIONS:
        those = [one for one in found if _section(one) == title]
        if those:
            yield title
            for one in those:
                yield from lines_of(one, width)
            yield ""
    for level in ("fail", "warn"):
        named = [f"{one.check} {plain(one.subject)}".strip() for one in found if one.level == level]
        if named:
            yield f"{level}: {', '.join(named)}"
    counts = ((level, sum(one.level == level for one in found)) for level in LEVELS)
    yield ", ".join(f"{count} {level}" for level, count in counts)


def show(found: Sequence[Finding]) -> None:
    """Print the page, its levels in colour on a terminal."""
    for line in page(found):
        level = next((one for one in LEVELS if line.startswith(f"{one:4}  ")), None)
        if level is None:
            typer.secho(line, bold=line in SECTIONS)
        else:
            typer.echo(typer.style(f"{level:4}", fg=_COLOURS[level], bold=level == "fail") + line[4:])


def _section(one: Finding) -> str:
    """The last one has what no other has."""
    prefix = one.check.partition(".")[0]
    return next((title for title, prefixes in SECTIONS.items() if prefix in prefixes), "Machine")


def lines_of(one: Finding, width: int) -> Iterator[str]:
    """One finding; `width` in characters, 0 = any."""
    bad = one.level in ("warn", "fail")
    expected = f" (expected: {one.expected})" if one.expected and not bad and one.expected not in one.found else ""
    what = f"{one.check}{f' {one.subject}' if one.subject else ''}: {one.found}{expected}"
    yield from _wrapped(f"{one.level:4}  {plain(what)}", width, _INDENT)
    if bad:
        for word, text in (("expected", one.expected), ("why", one.why)):
            yield from _wrapped(f"{_INDENT}{word + ':':10}{plain(text)}", width, _INDENT + " " * 10)
        yield f"{_INDENT}{'mend:':10}{plain(one.remedy)}"  # never wrapped: it is copied


def _wrapped(line: str, width: int, indent: str) -> list[str]:
    """`width` 0 = as it is: it goes into a file or another program."""
    if not width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
