"""The evaluation report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from edge_inspector import __version__
from edge_inspector.datatypes import Measurement
from edge_inspector.engine.evaluate import plots
from edge_inspector.engine.evaluate.assess import Evaluated
from edge_inspector.engine.evaluate.parts import defect_classes, highest
from edge_inspector.engine.evaluate.pictures import worst
from edge_inspector.engine.evaluate.records import EvaluationReport
from edge_inspector.engine.evaluate.shares import Share
from edge_inspector.engine.evaluate.wanted import critical

HISTOGRAMS = 12
"""At most so many classes have one of their own."""


@dataclass(frozen=True)
class Plot:
    """One figure: `alt` says in words what a reader without eyes must know."""

    title: str
    source: str
    alt: str
    caption: str


def report_html(evaluated: Evaluated, pictures: int = 12) -> str:
    """The whole page, with at most so many of the worst pictures. ConfigError: matplotlib or jinja2 is missing."""
    plots.needed("matplotlib", "jinja2")
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters.update(number=number, percent=percent, brief=brief)
    source = resources.files("edge_inspector.engine.evaluate").joinpath("report.html.j2").read_text(encoding="utf-8")
    with plots.style():
        drawn = list(_plots(evaluated))
    report = evaluated.report
    return environment.from_string(source).render(
        report=report,
        facts=list(_facts(report)),
        plots=drawn,
        pictures=worst(evaluated, pictures),
        made_with=f"edge-inspector {__version__}",
    )


def number(value: float | None, digits: int = 3) -> str:
    """A figure; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(share: Share) -> str:
    """A share in words: "2 of 40 = 5.0 % (95 %: 1.4 to 16.5 %)"; numbers stay with their signs."""
    if not share.total:
        return "no such part"
    rate = f"{100 * share.count / share.total:.1f}\u00a0%"
    ends = f"{100 * share.low:.1f} to {100 * share.high:.1f}\u00a0%"
    return f"{share.count} of {share.total} = {rate} (95\u00a0%: {ends})"


def brief(share: Share) -> str:
    """The same without its interval."""
    return percent(share).partition(" (")[0]


def _visible(value: Any) -> Any:
    """Text from outside without control characters; what is markup already stays."""
    if type(value) is not str:
        return value
    return "".join(c if c.isprintable() or c in "\n\u00a0" else "�" for c in value)


def _facts(report: EvaluationReport) -> Iterator[tuple[str, str]]:
    yield "Model", f"{report.bundle} {report.version} ({report.task})"
    yield "Model hash", report.model_hash[:16]
    yield "Judged by", f"recipe {report.recipe}" if report.recipe else "the bundle's own thresholds"
    yield "Truth", f"{report.truth} ({report.truth_format})"
    yield "Parts", f"{report.parts}, of which {report.bad_parts} bad; {report.pictures} pictures"
    yield "Time", f"{report.ms_per_picture:.1f} ms a picture (median)"


def _plots(evaluated: Evaluated) -> Iterator[Plot]:
    report = evaluated.report
    if report.task != "measure":
        yield from _part_plots(evaluated)
    if any(one.curve is not None for one in report.classes):
        yield Plot(
            "Precision and recall",
            _uri(plots.precision_recall(report.classes)),
            "Curves of precision over recall, one for each class.",
            "Boxes at IoU 0.5, from the highest confidence down. The dot is the threshold.",
        )
        yield Plot(
            "F1 over confidence",
            _uri(plots.f1_over_confidence(report.classes)),
            "Curves of F1 over confidence, one for each class.",
            "Where a curve is flat, the threshold does not matter much. Dashed: the thresholds.",
        )
    if report.confusion is not None:
        boxes = report.task in ("detect", "segment")
        yield Plot(
            "Confusion",
            _uri(plots.confusion(report.confusion)),
            "Table of what was labelled and what it was seen as; the same numbers are in the JSON report.",
            "Boxes at the thresholds and IoU 0.5; “nothing” has what was missed and what was seen where nothing is."
            if boxes
            else "Pictures by their best class.",
        )
    yield from _value_plots(evaluated)


def _part_plots(evaluated: Evaluated) -> Iterator[Plot]:
    report, subject, parts = evaluated.report, evaluated.subject, evaluated.parts
    bad = np.array([part.bad for part in parts])
    scores = highest(parts, subject)
    limits = [subject.thresholds.by_class[c] for c in defect_classes(subject)]
    yield Plot(
        "Scores of parts",
        _uri(plots.histogram(scores[~bad], scores[bad], limits, ("good parts", "bad parts"))),
        "Histogram of the highest score of each part, good and bad ones.",
        "Highest score of any class of defects on each part; counts on a logarithmic scale. Dashed: thresholds.",
    )
    worth = np.array([critical(part, subject, defect_classes(subject), alone=False) for part in parts])
    wanted = report.wanted
    yield Plot(
        "Escapes against overkill",
        _uri(
            plots.operating(
                worth,
                bad,
                wanted.escapes if wanted else None,
                wanted.common.threshold if wanted else None,
                subject.bundle.score_floor,
            )
        ),
        "Shares of escapes and of overkill over one threshold for all classes.",
        "What one threshold for all classes would give, with 95 % intervals"
        + ("; dashed: the threshold for the wanted escapes." if wanted and wanted.common.threshold else "."),
    )
    told = [c for c in defect_classes(subject) if any(c in part.labelled for part in parts)]
    for c in told[:HISTOGRAMS] if len(defect_classes(subject)) > 1 else ():
        name = subject.bundle.classes[c]
        own = np.array([part.scores[c] for part in parts])
        has = np.array([c in part.labelled for part in parts])
        yield Plot(
            f"Scores of {name}",
            _uri(
                plots.histogram(
                    own[~bad], own[has], [subject.thresholds.by_class[c]], ("good parts", f"with {plots.short(name)}")
                )
            ),
            f"Histogram of the highest score of {name} on good parts and on parts with it.",
            "Highest score of this class on each part.",
        )


def _value_plots(evaluated: Evaluated) -> Iterator[Plot]:
    subject = evaluated.subject
    for one in evaluated.report.values:
        c = subject.bundle.classes.index(one.name)
        pairs = [
            (seen.picture.values[one.name], seen.findings.values[c])
            for part in evaluated.parts
            for seen in part.seen
            if isinstance(seen.findings, Measurement) and one.name in seen.picture.values
        ]
        labelled, values = np.array(pairs, np.float64).T
        limits = subject.criteria.limits[c]
        yield Plot(
            f"{one.name}: measured against labelled",
            _uri(plots.measured(labelled, values, limits.low, limits.high, limits.unit)),
            f"Scatter plot; mean absolute error {one.mae:.4g}.",
            "On the line, both agree. The band is where a part is good.",
        )


def _uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
