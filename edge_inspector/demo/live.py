"""What the demo shows while it runs, and its summary."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edge_inspector.datatypes import Evaluation
from edge_inspector.demo.report import DemoReport

_STYLE = {
    Evaluation.OK: "bold green",
    Evaluation.NOT_OK: "bold red",
    Evaluation.UNDEFINED: "bold yellow",
    Evaluation.NOT_DECIDABLE: "bold magenta",
}
_RETRY_S = 0.2
_ROWS = 8


class ControlListener:
    """Listens to the station's control socket on a thread of its own, over restarts of the station."""

    def __init__(self, path: Path) -> None:
        self.results: deque[dict[str, Any]] = deque(maxlen=_ROWS)
        self.counts = dict.fromkeys(Evaluation, 0)
        self.status: dict[str, Any] = {}
        self._path = path
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control-listener", daemon=True)

    def __enter__(self) -> ControlListener:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_RETRY_S):
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(_RETRY_S)
                    connection.connect(str(self._path))
                    connection.sendall(b'{"command": "events"}\n')
                    self._listen(connection)
            except OSError:
                continue  # not up yet, or restarting

    def _listen(self, connection: socket.socket) -> None:
        received = b""
        while not self._stopping.is_set():
            try:
                chunk = connection.recv(65536)
            except TimeoutError:
                continue
            if not chunk:
                return
            *lines, received = (received + chunk).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("event") == "result":
            self.counts[Evaluation(message["record"]["evaluation"])] += 1
            self.results.append(message["record"])
        elif message.get("event") == "status":
            self.status = message["record"]


def live_view(listener: ControlListener, parts: int, note: str) -> RenderableType:
    """The screen at this moment."""
    done = sum(listener.counts.values())
    counts = Text("   ").join(
        Text(f"{evaluation.name} {listener.counts[evaluation]}", style=_STYLE[evaluation])
        for evaluation in (Evaluation.OK, Evaluation.NOT_OK, Evaluation.UNDEFINED)
    )
    ready = listener.status.get("ready")
    state = Text("READY", "green") if ready else Text(listener.status.get("error_text") or "not ready", "yellow")
    head = Table.grid(padding=(0, 3))
    head.add_row(Text(f"part {done}/{parts}"), counts, state)
    rows = Table(box=None, expand=True, header_style="dim")
    for title, justify in (
        ("part", "left"),
        ("verdict", "left"),
        ("ms", "right"),
        ("why", "left"),
        ("defects", "left"),
    ):
        rows.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for result in list(listener.results):
        rows.add_row(*_row(result))
    return Panel(
        Group(head, ProgressBar(total=parts, completed=done), Text(), rows),
        title="edge-inspector demo",
        subtitle=note,
        border_style="blue",
    )


def _row(result: Mapping[str, Any]) -> tuple[Text, Text, Text, Text, Text]:
    evaluation = Evaluation(result["evaluation"])
    trigger = result["trigger"]
    spent_ms = (result["settled_ns"] - trigger["accepted_ns"]) / 1e6
    names = [f"{d['class_name']} {d['score']:.2f}" for d in result["defects"]]
    more = f" +{len(names) - 3}" if len(names) > 3 else ""
    why = "" if evaluation is Evaluation.OK else result["reason_text"]
    return (
        Text(trigger["part_id"]),
        Text(evaluation.name, _STYLE[evaluation]),
        Text(f"{spent_ms:.0f}"),
        Text(why if not names else "defect"),
        Text(", ".join(names[:3]) + more),
    )


def print_summary(report: DemoReport, console: Console) -> None:
    """The books, the latency and the truth, as a person wants to read them."""
    parts, plc, mqtt = report.parts, report.plc, report.mqtt
    books = Table(title="Books", title_justify="left", box=None, padding=(0, 1))
    for title in ("trig.", "acc.", "refused", "settled", "PLC read", "ack.", "publ.", "received"):
        books.add_column(title, justify="right")
    books.add_row(
        *map(
            str,
            (
                parts["triggered"],
                parts["accepted"],
                parts["refused"],
                parts["settled"],
                plc["results_read"],
                plc["acknowledged"],
                mqtt["published"],
                mqtt["received"],
            ),
        )
    )
    console.print(books)
    verdicts = Table(title="\nVerdicts", title_justify="left", box=None, padding=(0, 1))
    for title in ("OK", "NOT_OK", "UNDEF.", "UNDECID.", "escapes", "overkill", "recall", "prec."):
        verdicts.add_column(title, justify="right")
    truth = report.truth
    verdicts.add_row(
        *(str(parts[name]) for name in ("ok", "not_ok", "undefined", "not_decidable")),
        _share_text(truth.escapes),
        _share_text(truth.overkill),
        "-" if truth.recall is None else f"{truth.recall:.3f}",
        "-" if truth.precision is None else f"{truth.precision:.3f}",
    )
    console.print(verdicts)
    latency = Table(title="\nLatency, ms", title_justify="left", box=None, padding=(0, 1))
    for title in ("", "p50", "p99", "max"):
        latency.add_column(title, justify="right" if title else "left")
    stages: Any = report.latency_ms["stages"]
    rows: list[tuple[str, Any]] = [
        ("trigger to PLC", report.latency_ms["trigger_to_plc"]),
        ("PLC's round trip", report.latency_ms["plc_round_trip"]),
        *((f"  {stage}", figures) for stage, figures in stages.items()),
    ]
    for name, figures in rows:
        latency.add_row(name, *(f"{figures[key]:.2f}" for key in ("p50", "p99", "max")))
    console.print(latency)
    for line in report.disagreements:
        console.print(f"[red]{line}[/red]")
    if report.balanced:
        console.print("\n[bold green]The books balance:[/] lost 0, duplicated 0, wrong part 0.")
    else:
        console.print(
            f"\n[bold red]The books do NOT balance:[/] lost {report.lost}, duplicated {report.duplicated},"
            f" wrong part {plc['wrong_part_id']}, {len(report.disagreements)} disagreements."
        )


def _share_text(share: Any) -> str:
    return f"{share.count}/{share.total} ({100 * share.low:.0f}-{100 * share.high:.0f} %)"
