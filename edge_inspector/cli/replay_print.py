"""How a replay looks on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_inspector.replay.records import ReplayedPart
from edge_inspector.replay.replaying import Replay
from edge_inspector.replay.report import of_all
from edge_inspector.replay.summary import Summary, flips, skip_words, words

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What would move the cursor, or turn the direction of the text: part ids are anybody's."""
_LISTED = 10
"""Parts that are named."""


def show(done: Replay, made: Summary) -> None:
    """In the order in which it matters: is it the same, what would change, what is lacking."""
    out = Console(highlight=False, soft_wrap=True)
    of = f"{made.run} of {made.in_book} production parts, {done.span}"
    _say(out, f"{words(done.asked.what)}: {of}")
    _sameness(out, done, made)
    changed = flips(done)
    if done.asked.what.anything or changed:
        out.print(_rates(made))
    for name, wrong in (("escapes", made.escapes), ("overkill", made.overkill)):
        if wrong.parts:
            changes = f"{wrong.cured} put right, {wrong.new} new"
            _say(out, f"{name}: {wrong.then} then, {wrong.now} now ({changes}) of {wrong.parts} known")
    for course in done.courses:
        all_parts = f"policy {course.policy}, all {course.parts} parts of recipe {course.recipe}"
        counts = f"{course.rejected_then} rejected then, {course.rejected_now} by it"
        _say(out, f"{all_parts}: {counts}; {course.note}")
    _flips(out, changed)
    for count, text in skip_words(made.skipped):
        _say(out, f"not run: {count} parts: {text}")
    for skipped in done.skipped[:1]:
        _say(out, f"  such as {skipped.part.result_id}: {skipped.text or skipped.why.value}")
    for note in done.notes:
        _say(out, note)


def _sameness(out: Console, done: Replay, made: Summary) -> None:
    must = made.sameness[0]
    if must.parts:
        style = "bold red" if done.broken else "green"
        _say(out, f"same in every number: {must.same} of the {must.parts} parts that must be", style)
    for part in done.broken[:_LISTED]:
        _say(out, f"  {part.part.result_id}: {', '.join(part.differs)}", "red")
    for one in made.sameness[1:]:
        said = f", {one.not_run} not run as they were" if one.not_run else ""
        _say(out, f"lacking in {one.parts}: {one.words} ({one.same} the same all the same{said})")


def _flips(out: Console, changed: Sequence[ReplayedPart]) -> None:
    for part in changed[:_LISTED]:
        now = f"{part.after.evaluation.name} {part.after.reason_text}".strip()
        which = f"{part.part.result_id} {part.booked.part_id}".strip()
        _say(out, f"  {which}: {part.booked.evaluation.name} -> {now}")
    if len(changed) > _LISTED:
        _say(out, f"  and {len(changed) - _LISTED} more: see --report or --json")


def _rates(made: Summary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    share = 100 * made.rejected_then / made.in_book if made.in_book else 0.0
    table.add_row("rejected then", f"{share:.2f} % ({made.rejected_then} parts)")
    table.add_row("rejected now", of_all(made.rejected_now))
    table.add_row("passed then, rejected now", of_all(made.now_rejected))
    table.add_row("rejected then, passed now", of_all(made.now_passed))
    return table


def _say(out: Console, text: str, style: str = "") -> None:
    out.print(Text(_CONTROL.sub("?", text), style))
