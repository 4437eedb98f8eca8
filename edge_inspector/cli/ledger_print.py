"""How a balance, a summary and the audit trail look on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_inspector.datatypes import AuditEntry
from edge_inspector.store.audit import AuditProof
from edge_inspector.store.gaps import Gap, Missing
from edge_inspector.store.periods import parsed
from edge_inspector.store.power_cuts import PowerCut
from edge_inspector.store.reconcile import Balance, Equation
from edge_inspector.store.summary import Summary

COLUMNS = 80
"""Width of what goes into a file or another program."""
_PART_CHARS = 40
_EVALUATIONS = ("OK", "NOT_OK", "NOT_DECIDABLE", "UNDEFINED")
_TOGETHER = "\u00a0"
"""A space at which no line ends."""
_WORDS = {True: ("ok", "green"), False: ("NO", "bold red")}


def balance(one: Balance, *, publishes: bool) -> None:
    """The equations of one period, and each gap with its reason. `publishes`: the station may have a broker."""
    out = _console()
    out.print(_headed(one.period.label, _outcome(one), out.width))
    out.print()
    digits = max(len(str(equation.total)) for equation in one.equations)
    for equation in one.equations:
        line = _equation(equation, digits)
        unsure = equation.name == "triggers" and _cuts(one)  # there may have been more of them
        word, style = ("?", "bold red") if unsure else _WORDS[equation.balanced]
        out.print(_ended(f"  {line}", word, style, out.width))
    _told(out, "what keeps it from balancing", _open_gaps(one), _cuts(one))
    _told(out, "missing for a known reason", _closed_gaps(one), ())
    out.print()
    facts = [f"{one.acknowledged} acknowledged by the PLC", f"{one.late} late", f"{one.unannounced} unannounced"]
    facts += [] if publishes else ["no broker to publish to"]
    facts += [f"{one.removed} removed by retention (counted above)"] if one.removed else []
    _wrapped(out, ", ".join(facts), 2, "dim")


def shifts(balances: Sequence[Balance]) -> None:
    """A line for each shift, and what keeps one from balancing."""
    out = _console()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("shift", no_wrap=True)
    for title in ("parts", "refused", "results", "told", "published"):
        table.add_column(title, justify="right")
    table.add_column("", justify="right")
    for one in balances:
        triggers, accepted, told, published, _ = one.equations
        counts = (accepted.total, dict(triggers.terms)["refused"], accepted.terms[0][1], told.terms[0][1])
        word, style = _WORDS[one.balanced]
        cells = [str(count) for count in (*counts, published.terms[0][1])]
        table.add_row(one.period.label, *cells, Text(word, style))
    out.print(table)
    for one in balances:
        if not one.balanced:
            out.print()
            out.print(_headed(one.period.label, Text("NOT BALANCED", "bold red"), out.width))
            _told(out, "", _open_gaps(one), _cuts(one))


def summary(one: Summary) -> None:
    """All that a summary says, empty lines left out."""
    out = _console()
    about = (one.book, size(one.size_bytes), _many(one.starts, "start"), _many(one.audit_rows, "row"))
    rows: list[tuple[str, str]] = [
        ("book", ", ".join(about) + " in the audit trail"),
        ("parts from", f"{_time(one.first_utc)} until {_time(one.last_utc)}" if one.first_utc else "none yet"),
    ]
    for mode, evaluations in one.parts.items():
        total = sum(evaluations.values())
        said = (
            f"{name} {evaluations[name]} ({100 * evaluations[name] / total:.1f} %)"
            for name in _EVALUATIONS
            if name in evaluations
        )
        rows.append((mode.lower(), f"{total}: {', '.join(said)}"))
    rows += [
        ("recipes", _counts(one.recipes)),
        ("not OK because", _counts(one.reasons)),
        ("defects", _counts(one.defects)),
        ("refused", _counts(one.refused)),
        ("cycle", ", ".join(f"{name} {value:.1f} ms" for name, value in one.cycle_ms.items())),
        ("events", _counts(one.events)),
        ("pictures", _pictures(one)),
        ("late", str(one.late or "")),
        ("unannounced", str(one.unannounced or "")),
        ("removed", f"{_many(one.removed_parts, 'part')} by retention: their sums stay" if one.removed_parts else ""),
    ]
    for name, waiting in one.waiting.items():
        since = f", the oldest of {_time(waiting.oldest_utc)}" if waiting.oldest_utc else ""
        rows.append((f"for {name}", f"{_many(waiting.messages, 'message')} waiting{since}"))
    rows += [(f"for {name}", f"{_many(count, 'message')} given up") for name, count in one.given_up.items()]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column()
    for name, value in rows:
        if value:
            table.add_row(Text(name), Text(value))
    out.print(table)


def audit(entries: Iterable[tuple[int, AuditEntry]]) -> None:
    """The trail, the oldest first; the time is local, `?` = the clock was not set."""
    out = _console()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("row", no_wrap=True, justify="right")
    table.add_column("when", no_wrap=True)
    table.add_column("who", overflow="fold")
    table.add_column("what", overflow="fold", ratio=1)
    for number, entry in entries:
        when = _time(entry.wall_utc) + ("" if entry.clock_synced else "?")
        what = f"{entry.what}: {entry.detail}" if entry.detail else entry.what
        table.add_row(str(number), *(Text(shown(word, None)) for word in (when, entry.who, what)))
    if table.row_count:
        out.print(table)
    else:
        out.print("the audit trail is empty")


def proof(one: AuditProof) -> None:
    """What the chain of hashes shows."""
    out = _console()
    word, style = ("unbroken", "green") if not one.problems else ("BROKEN", "bold red")
    out.print(_headed(f"audit trail of {_many(one.rows, 'row')}", Text(word, style), out.width))
    for problem in one.problems:
        _wrapped(out, problem, 2, "red")
    _wrapped(out, f"head {one.head}", 2, "dim")


def shown(text: str, chars: int | None = _PART_CHARS) -> str:
    """Anybody's text, on one line and without anything that a terminal would obey."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if chars is None or len(safe) <= chars else safe[: chars - 1] + "…"


def size(size_bytes: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else COLUMNS)


def _outcome(one: Balance) -> Text:
    return Text("balanced", "bold green") if one.balanced else Text("NOT BALANCED", "bold red")


def _headed(left: str, right: Text, width: int) -> Text:
    room = max(1, min(width, COLUMNS) - len(left) - len(right))
    return Text(left, "bold") + Text(" " * room) + right


def _ended(line: str, word: str, style: str, width: int) -> Text:
    room = max(2, min(width, COLUMNS) - len(line) - len(word))
    return Text(line + " " * room) + Text(word, style)


def _equation(one: Equation, digits: int) -> str:
    terms = " + ".join(f"{count} {name}" for name, count in one.terms)
    return f"{one.total_of:<9} {one.total:>{digits}} = {terms}"


def _open_gaps(one: Balance) -> list[Gap]:
    return [gap for equation in one.equations for gap in equation.gaps if not gap.explained]


def _closed_gaps(one: Balance) -> list[Gap]:
    return [gap for equation in one.equations for gap in equation.gaps if gap.explained]


def _cuts(one: Balance) -> list[PowerCut]:
    return [cut for cut in one.power_cuts if not cut.proven]


def _told(out: Console, title: str, gaps: Sequence[Gap], cuts: Sequence[PowerCut]) -> None:
    if not gaps and not cuts:
        return
    if title:
        out.print()
        out.print(f"  {title}")
    for gap in gaps:
        _wrapped(out, f"{gap.count} {gap.term}: {shown(gap.reason, None)}", 4, "")
        names = ", ".join(_part(part) for part in gap.parts)
        rest = gap.count - len(gap.parts)
        more = f"{' and' if gap.parts else ''} {rest} more (--all names them)" if gap.parts and rest else ""
        if names:
            _wrapped(out, names + more, 6, "dim")
    for cut in cuts:
        since = f"after part {cut.after_seq}" if cut.after_seq else "before the first part"
        text = (
            f"the power was cut {since}, before the start of {_time(cut.started_utc)}: parts of the last moment "
            "may be missing in the book; compare with the PLC's count"
        )
        _wrapped(out, text, 4, "")


def _part(part: Missing) -> str:
    return f"{part.seq}{_TOGETHER}({shown(part.part_id)})" if part.part_id else str(part.seq)


def _wrapped(out: Console, text: str, indent: int, style: str) -> None:
    space, width = " " * indent, min(out.width, COLUMNS)
    for line in wrap(text, width, initial_indent=space, subsequent_indent=space + "  ", break_on_hyphens=False):
        out.print(Text(line.replace(_TOGETHER, " "), style))


def _time(wall_utc: str) -> str:
    """The book's time in the machine's own zone."""
    return f"{parsed(wall_utc).astimezone():%Y-%m-%d %H:%M:%S}"


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _counts(by_name: Mapping[str, int]) -> str:
    return ", ".join(f"{shown(name)} {count}" for name, count in by_name.items())


def _pictures(one: Summary) -> str:
    if not one.images and not one.images_removed:
        return ""
    return f"{one.images} kept ({size(one.image_bytes)}), {one.images_removed} removed"
