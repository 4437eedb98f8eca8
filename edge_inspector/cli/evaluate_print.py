"""How an evaluation looks on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_inspector.engine.evaluate.records import EvaluationReport, Reached
from edge_inspector.engine.evaluate.shares import Share

PIPED_COLUMNS = 160
"""Width of what goes into a file or another program."""
SHOWN = 10
"""So many wrongly judged parts are named."""


def printed(made: EvaluationReport, reports: Sequence[Path]) -> None:
    """The figures, the parts that were judged wrongly, and where the reports lie."""
    console = Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS, highlight=False)
    console.print(_headline(made), soft_wrap=True)
    if made.classes:
        console.print(_class_table(made))
    for value in made.values:
        console.print(
            f"{_safe(value.name)}: mean absolute error {value.mae:.4g} {_safe(value.unit)}, RMS {value.rmse:.4g}, "
            f"bias {value.bias:+.4g}, worst {value.worst:.4g}, {value.pictures} pictures",
            soft_wrap=True,
        )
    for name, share in (("escapes", made.escapes), ("overkill", made.overkill)):
        console.print(f"{name}: {share_text(share)}")
    if made.auroc is not None:
        console.print(f"AUROC of parts: {made.auroc:.4f}, average precision {_number(made.average_precision, 4)}")
    if made.wanted is not None:
        wanted = made.wanted
        console.print(f"thresholds for at most {100 * wanted.escapes:g} % escapes (95 % intervals):")
        table = _table("", "threshold", "escapes", "overkill", "proven")
        for one in (wanted.common, *wanted.classes, wanted.together):
            name = {"all": "one for all", "together": "each its own"}.get(one.name, one.name)
            table.add_row(_safe(name), _reached(one), _brief(one.escapes), _brief(one.overkill), _yes(one))
        console.print(table)
        if not wanted.common.proven:
            console.print(f"to prove it takes at least {wanted.parts_to_prove} bad parts", soft_wrap=True)
    for part in made.wrong[:SHOWN]:
        labelled = f", labelled {', '.join(part.labelled)}" if part.labelled else ""
        why = part.text or f"highest score {part.score:.3f}"
        console.print(_safe(f"{part.kind}: {part.part}: {part.evaluation}{labelled}: {why}"), soft_wrap=True)
    if len(made.wrong) > SHOWN:
        console.print(f"and {len(made.wrong) - SHOWN} more, all of them in the report")
    for note in made.notes:
        console.print(_safe(f"note: {note}"), soft_wrap=True)
    for path in reports:
        console.print(_safe(f"written: {path}"), soft_wrap=True)


def share_text(share: Share) -> str:
    """A count, and between which shares the true one lies."""
    if not share.total:
        return "no such part"
    return f"{share.count} of {share.total} parts, 95 % {share.low:.3f}-{share.high:.3f}"


def _brief(share: Share) -> str:
    return f"{share.count} of {share.total} ({share.low:.3f}-{share.high:.3f})" if share.total else "-"


def _headline(made: EvaluationReport) -> str:
    by = f" by recipe {made.recipe}" if made.recipe else ""
    words = [f"{made.bundle} {made.version}{by} on {made.pictures} pictures"]
    figures = []
    if made.boxes:
        figures.append(f"mAP50 {_number(made.map50)}, mAP50-95 {_number(made.map50_95)}")
    if made.masks is not None:
        figures.append(f"mask mAP50 {_number(made.masks.map50)}, mean IoU {_number(made.masks.mean_iou)}")
    if made.whole is not None:
        top = "".join(f", top-{k} {share:.3f}" for k, share in made.whole.top_k.items() if k != "1")
        figures.append(f"accuracy {made.whole.accuracy:.3f}, macro F1 {made.whole.macro_f1:.3f}{top}")
    figures.append(f"{made.ms_per_picture:.1f} ms a picture")
    return _safe(": ".join([*words, ", ".join(figures)]))


def _class_table(made: EvaluationReport) -> Table:
    boxes = bool(made.boxes)
    figures = ("AP50", "recall", "precision") if boxes else ("recall", "precision") if made.whole else ()
    table = _table("class", "threshold", *figures, "AUROC", "parts", "escapes")
    for i, one in enumerate(made.classes):
        cells: tuple[float | None, ...] = ()
        if boxes:
            cells = (one.ap50, one.boxes["0.5"].recall, one.boxes["0.5"].precision)
        elif made.whole:
            cells = (made.whole.classes[i].recall, made.whole.classes[i].precision)
        texts = [f"{one.threshold:.2f}", *map(_number, cells), _number(one.auroc)]
        table.add_row(_safe(one.name), *texts, str(one.escapes.total), str(one.escapes.count))
    if boxes:
        all_boxes = made.boxes["0.5"]
        cells = (made.map50, all_boxes.recall, all_boxes.precision)
        table.add_row("all", "", *map(_number, cells), "", str(made.escapes.total), str(made.escapes.count))
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 1))
    for i, title in enumerate(titles):
        table.add_column(title, justify="right" if i else "left")
    return table


def _reached(one: Reached) -> str:
    if one.name == "together":
        return ""
    return "none" if one.threshold is None else f"{one.threshold:.4f}"


def _yes(one: Reached) -> str:
    return "yes" if one.proven else "no"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _safe(text: str) -> str:
    """Text from outside for a terminal: no control characters, no markup."""
    return escape("".join(c if c.isprintable() else "?" for c in text))
