"""Pictures judged as a whole: classes and measured values against what is labelled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_inspector.datatypes import Classification, Measurement
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.evaluate.curves import Doubles, auroc
from edge_inspector.engine.evaluate.labels import whole_class
from edge_inspector.engine.evaluate.looking import Seen
from edge_inspector.engine.evaluate.records import Confusion, ValueFigures, WholeClass, WholeFigures

TOP = (1, 2, 3, 5)


def whole_figures(seen: Sequence[Seen], bundle: Bundle) -> tuple[WholeFigures, Confusion] | None:
    """None: no picture has one class, or the model does not classify."""
    pairs = [
        (c, one.findings.scores)
        for one in seen
        if isinstance(one.findings, Classification) and (c := whole_class(one.picture, bundle)) is not None
    ]
    if not pairs:
        return None
    truth = np.array([c for c, _ in pairs])
    scores = np.array([s for _, s in pairs], np.float64)
    best = scores.argmax(axis=1)
    count = len(bundle.classes)
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (truth, best), 1)
    rows = tuple(_class(name, c, table, auroc(scores[:, c], truth == c)) for c, name in enumerate(bundle.classes))
    told = [row for row in rows if row.labelled]
    return (
        WholeFigures(
            pictures=len(pairs),
            accuracy=float((best == truth).mean()),
            balanced_accuracy=float(np.mean([row.recall for row in told])),
            macro_f1=float(np.mean([row.f1 for row in rows if row.f1 is not None])),
            top_k={str(k): top_k(scores, truth, k) for k in TOP if k < count},
            classes=rows,
        ),
        Confusion(bundle.classes, tuple(tuple(row) for row in table.tolist())),
    )


def top_k(scores: Doubles, truth: np.ndarray[tuple[int], np.dtype[np.int64]], k: int) -> float:
    """The share of pictures whose class has one of the k best scores; of equal scores the first class is the better."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(axis=1).mean())


def _class(name: str, c: int, table: np.ndarray[tuple[int, int], np.dtype[np.int64]], area: float | None) -> WholeClass:
    right, labelled, seen = int(table[c, c]), int(table[c].sum()), int(table[:, c].sum())
    return WholeClass(
        name=name,
        labelled=labelled,
        precision=right / seen if seen else None,
        recall=right / labelled if labelled else None,
        f1=2 * right / (labelled + seen) if labelled + seen else None,
        auroc=area,
    )


def value_figures(seen: Sequence[Seen], bundle: Bundle) -> tuple[ValueFigures, ...]:
    """Of each value that is labelled on a picture that the model answered."""
    figures = []
    for c, name in enumerate(bundle.classes):
        pairs = [
            (one.findings.values[c], one.picture.values[name])
            for one in seen
            if isinstance(one.findings, Measurement) and name in one.picture.values
        ]
        if not pairs:
            continue
        measured, labelled = np.array(pairs, np.float64).T
        error = measured - labelled
        spread = float(((labelled - labelled.mean()) ** 2).sum())
        figures.append(
            ValueFigures(
                name=name,
                unit=bundle.criteria.limits[c].unit,
                pictures=len(pairs),
                mae=float(np.abs(error).mean()),
                rmse=float(np.sqrt((error**2).mean())),
                bias=float(error.mean()),
                worst=float(np.abs(error).max()),
                r2=1 - float((error**2).sum()) / spread if spread > 0 else None,
            )
        )
    return tuple(figures)
