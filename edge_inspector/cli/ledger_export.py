"""`edge-inspector ledger export`: the results as a table, for a spreadsheet, pandas or a warehouse."""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

from edge_inspector.cli.files import check_free
from edge_inspector.datatypes import Defect, Evaluation
from edge_inspector.errors import ConfigError
from edge_inspector.store.periods import parsed
from edge_inspector.store.reading import StoredResult, read_results

Pages: TypeAlias = Iterator[Sequence[StoredResult]]
_PAGE = 1000
"""Results that are in memory at a time, and rows of one Parquet row group."""
_FORMULA = re.compile(r"[=@\t\r]|[+-](?!\d*\.?\d+\Z)")
"""How a text begins that a spreadsheet would compute; a number with its sign is none."""

COLUMNS: Mapping[str, Callable[[StoredResult], object]] = {
    "result_id": lambda r: r.result_id,
    "seq": lambda r: r.seq,
    "wall_utc": lambda r: r.wall_utc,
    "clock_synced": lambda r: r.clock_synced,
    "trigger_seq": lambda r: r.trigger_seq,
    "part_id": lambda r: r.part_id,
    "attempt": lambda r: r.attempt,
    "mode": lambda r: r.mode.name,
    "recipe": lambda r: r.recipe,
    "recipe_no": lambda r: r.recipe_no,
    "evaluation": lambda r: r.evaluation.name,
    "reason": lambda r: r.reason.name.lower(),
    "reason_no": lambda r: r.reason_no,
    "reason_text": lambda r: r.reason_text,
    "rule": lambda r: r.rule,
    "margin": lambda r: r.margin,
    "defect_count": lambda r: len(r.defects),
    "defects": lambda r: [_defect(defect) for defect in r.defects],
    "views": lambda r: list(r.views),
    "views_judged": lambda r: r.views_judged,
    "frame_ids": lambda r: list(r.frame_ids),
    "cycle_ms": lambda r: r.cycle_ms,
    "stage_ms": lambda r: [{"stage": stage, "ms": ns / 1e6} for stage, ns in r.stage_ns.items()],
    "told": lambda r: r.told,
    "acknowledged_utc": lambda r: r.acknowledged_utc,
    "replayed": lambda r: r.replayed,
    "model_hash": lambda r: r.model_hash,
    "thresholds": lambda r: list(r.thresholds),
    "policy": lambda r: r.policy,
    "peaks": lambda r: list(r.peaks),
    "boot_id": lambda r: r.boot_id,
    "images": lambda r: [{"kind": i.kind, "path": i.path, "sha256": i.sha256} for i in r.images if not i.removed_utc],
}
"""Each column of an export, in this order. New ones are added at the end."""


@dataclass(frozen=True)
class Asked:
    """Which results are wanted; None = any. The times are aware."""

    since: datetime | None
    until: datetime | None
    evaluation: Evaluation | None
    part_id: str | None


def write_file(path: Path, kind: Literal["csv", "parquet"], results: Pages, *, force: bool) -> int:
    """The whole file or none; returns how many results it has. ConfigError: it exists already, or cannot be written."""
    check_free([path], force)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "parquet":
            count = write_parquet(part, results)
        else:
            with part.open("w", encoding="utf-8", newline="") as out:
                count = write_csv(out, results)
        os.replace(part, path)
    except OSError as exc:
        reason = exc.strerror or exc
        raise ConfigError(f"{path}: cannot be written: {reason}; free space, or give another name") from exc
    finally:
        with contextlib.suppress(OSError):  # there may be no such folder
            part.unlink(missing_ok=True)
    return count


def pages(connection: sqlite3.Connection, asked: Asked) -> Pages:
    """The results in the order of acceptance, some at a time."""
    after = 0
    while page := read_results(connection, after_seq=after, limit=_PAGE, **vars(asked)):
        yield page
        after = page[-1].seq


def write_csv(out: TextIO, results: Pages) -> int:
    """RFC 4180 with a header; lists are JSON, None is empty. Returns how many results were written.

    A text that a spreadsheet would take for a formula gets an apostrophe before it: part ids are anybody's text.
    """
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    count = 0
    for page in results:
        writer.writerows([_cell(value(result)) for value in COLUMNS.values()] for result in page)
        count += len(page)
    return count


def write_parquet(path: Path, results: Pages) -> int:
    """Typed columns, zstd. Returns how many results were written. ConfigError: pyarrow is not installed."""
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as exc:
        raise ConfigError(f"Parquet needs pyarrow ({exc}): pip install 'edge-inspector[parquet]'; or --csv") from exc
    schema = _schema(arrow)
    count = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for page in results:
            rows = [{name: _typed(name, value(result)) for name, value in COLUMNS.items()} for result in page]
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
            count += len(page)
    return count


def _schema(arrow: Any) -> Any:
    text, whole, real, flag = arrow.string(), arrow.int64(), arrow.float64(), arrow.bool_()
    moment = arrow.timestamp("ms", tz="UTC")
    defect = {"class": text, "class_id": whole, "score": real, "camera": text}
    defect |= dict.fromkeys(("x", "y", "width", "height", "width_mm", "height_mm"), real)
    types = {
        **dict.fromkeys(COLUMNS, text),
        **dict.fromkeys(
            ("seq", "trigger_seq", "attempt", "recipe_no", "reason_no", "defect_count", "views_judged", "boot_id"),
            whole,
        ),
        **dict.fromkeys(("clock_synced", "told", "replayed"), flag),
        **dict.fromkeys(("margin", "cycle_ms"), real),
        **dict.fromkeys(("wall_utc", "acknowledged_utc"), moment),
        "defects": arrow.list_(arrow.struct(defect)),
        "views": arrow.list_(text),
        "frame_ids": arrow.list_(whole),
        "stage_ms": arrow.list_(arrow.struct({"stage": text, "ms": real})),
        "thresholds": arrow.list_(real),
        "peaks": arrow.list_(real),
        "images": arrow.list_(arrow.struct({"kind": text, "path": text, "sha256": text})),
    }
    return arrow.schema([arrow.field(name, types[name]) for name in COLUMNS])


def _typed(name: str, value: object) -> object:
    return parsed(value) if name.endswith("_utc") and isinstance(value, str) else value


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value


def _defect(defect: Defect) -> dict[str, object]:
    x, y, width, height = defect.box
    width_mm, height_mm = defect.size_mm or (None, None)
    return {
        "class": defect.class_name,
        "class_id": defect.class_id,
        "score": defect.score,
        "camera": defect.camera,
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "width_mm": width_mm,
        "height_mm": height_mm,
    }
