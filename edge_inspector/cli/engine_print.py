"""How engines, proofs and networks look on a terminal and in JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.network_facts import NetworkFacts
from edge_inspector.engine.passport import Passport, Proof
from edge_inspector.engine.store import Stored

PIPED_COLUMNS = 200
"""Width of what goes into a file or another program."""
DIGITS = 12
"""Of a fingerprint; enough to tell engines apart."""
_COLORS: Mapping[str, str] = {"passed": "green", "failed": "red", "unverified": "yellow"}


def stored(engines: Sequence[Stored]) -> None:
    """A table of what is in a store."""
    table = _table("engine", "bundle", "backend", "precision", "built", "size", "proof")
    table.columns[0].no_wrap = True  # its digits are copied
    for one in engines:
        if one.passport is None:
            table.add_row(one.folder.name[:DIGITS], "", "", "", "", size(one.size), escape(one.problem))
            continue
        facts = one.passport.facts
        table.add_row(
            one.folder.name[:DIGITS],
            escape(f"{one.passport.bundle} {one.passport.version}"),
            escape(facts.get("backend", "")),
            escape(facts.get("precision", facts.get("builder.precision", ""))),
            one.passport.built_utc,
            size(one.size),
            _colored(one.passport.proof.outcome),
        )
    _print(table)


def stored_facts(one: Stored) -> dict[str, Any]:
    """For JSON; `passport` is null where there is a problem."""
    return {
        "engine": one.folder.name,
        "folder": str(one.folder),
        "size": one.size,
        "problem": one.problem,
        "passport": None if one.passport is None else one.passport.model_dump(mode="json", by_alias=True),
    }


def passport(one: Passport, folder: Path) -> None:
    """All that a passport says."""
    table = _table("", "")
    table.show_header = False
    table.add_row("engine", one.digest)
    table.add_row("bundle", escape(f"{one.bundle} {one.version}"))
    table.add_row("built", f"{one.built_utc} in {one.build_s:.1f} s")
    table.add_row("folder", escape(str(folder)))
    for name, sums in one.files.items():
        table.add_row(f"  {escape(name)}", size(sums.size))
    for name, value in sorted(one.facts.items()):
        table.add_row(escape(name), escape(value) or "-")
    for name, value in sorted(one.report.items()):
        table.add_row(f"report: {escape(name)}", escape(_short(value)))
    _print(table)
    _console().print()
    proof(one.proof)
    if one.proof.outcome == "unverified":
        told = f'a station is READY with it only if its file says accept_unverified = ["{one.bundle}"] in [station]'
        _console().print(told, soft_wrap=True, markup=False)


def proof(one: Proof) -> None:
    """What a comparison has shown, each differing picture on a line of its own."""
    console = _console()
    console.print(f"{_colored(one.outcome)}: {escape(one.text)}", soft_wrap=True)
    console.print(f"compared with {escape(one.reference)} on {one.pictures} pictures", soft_wrap=True)
    for thresholds in one.thresholds:
        console.print(f"judged by the thresholds {', '.join(f'{value:g}' for value in thresholds)} too")
    if one.flips:
        table = _table("picture", "labelled", "reference", "engine", "")
        for flip in one.flips:
            table.add_row(
                escape(flip.picture),
                flip.label or "-",
                escape(f"{flip.reference}: {flip.reference_text}"),
                escape(f"{flip.engine}: {flip.engine_text}"),
                "[red]escape[/red]" if flip.escape else "",
            )
        _print(table)
    for text in one.unanswered:
        console.print(f"no answer: {escape(text)}", soft_wrap=True)
    for name, figures in one.tensors.items():
        console.print(f"output {escape(name)}: {escape(_figures(figures))}", soft_wrap=True)
    if one.detections:
        console.print(f"findings: {_figures(one.detections)}", soft_wrap=True)
    console.print(f"same verdicts with so many pictures in a run: {', '.join(map(str, one.batch_sizes))}")
    for mode, times in one.latency.items():
        times_ms = f"{times.median_ms:.2f} ms a picture, p99 {times.p99_ms:.2f} ms, {times.runs} runs"
        console.print(f"power mode {escape(mode)}: {times_ms}")


def bundle(one: Bundle, network: NetworkFacts) -> None:
    """What a bundle is, and its network."""
    table = _table("", "")
    table.show_header = False
    for name, value in {**bundle_facts(one), "network": size(network.size)}.items():
        table.add_row(name, escape(_short(value)))
    table.add_row("made by", escape(network.producer) or "-")
    table.add_row("opset", str(network.opset))
    for name, values in (("input", network.inputs), ("output", network.outputs)):
        for value in values:
            table.add_row(name, escape(value))
    table.add_row("parameters", f"{network.parameters:,} ({_counts(network.weights)})")
    table.add_row("operators", _counts(network.operators))
    table.add_row("8 bits", _eight_bits(network))
    _print(table)


def bundle_facts(one: Bundle) -> dict[str, Any]:
    """For JSON."""
    return {
        "bundle": f"{one.name} {one.version}",
        "folder": str(one.folder),
        "task": one.task,
        "decoder": one.decoder,
        "classes": list(one.classes),
        "thresholds": list(one.default_thresholds),
        "golden": None if one.golden is None else str(one.golden.images),
        "licence": one.licence,
        "sha256": one.sha256,
        "model_hash": one.model_hash,
    }


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _eight_bits(network: NetworkFacts) -> str:
    if network.dynamic:
        return (
            f"dynamic: {', '.join(network.dynamic[:3])} and others find their scales while they run; TensorRT refuses "
            "them: export in float32 and use engine quantize"
        )
    return f"{network.quantised} Q/DQ nodes" if network.quantised else "none"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"


def _figures(figures: object) -> str:
    if not isinstance(figures, dict):
        return str(figures)
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.3g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in figures.items()
    )


def _short(value: object) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:400]}... (all of it: --json)"


def _colored(outcome: str) -> str:
    return f"[{_COLORS[outcome]}]{outcome}[/]"


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_COLUMNS)


def _print(table: Table) -> None:
    """Without the blanks that fill its last column."""
    console = _console()
    with console.capture() as drawn:
        console.print(table)
    for line in drawn.get().splitlines():
        console.file.write(line.rstrip() + "\n")


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
