"""GET /v1/results: verdicts from the ledger."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import AwareDatetime, BeforeValidator

from edge_inspector.store.reading import read_result, read_results
from edge_inspector.web.access import Reader
from edge_inspector.web.models import EVALUATIONS, EvaluationName, Result, Results
from edge_inspector.web.problems import Refused, problems
from edge_inspector.web.service import service_of

router = APIRouter(prefix="/v1", tags=["results"])
LARGEST = 2**63 - 1
"""Of SQLite's integers."""
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _written_out(value: object) -> object:
    """Pydantic would also take a number for seconds since 1970."""
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("expected a time as RFC 3339 has it, such as 2026-11-22T06:00:00Z")
    return value


_Time = Annotated[AwareDatetime, BeforeValidator(_written_out)]
_Seq = Annotated[int, Query(ge=0, le=LARGEST)]


@router.get("/results", responses=problems())
def results(
    request: Request,
    _caller: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before_seq: Annotated[_Seq | None, Query(description="Only older ones than this; newest first.")] = None,
    after_seq: Annotated[_Seq | None, Query(description="Only newer ones than this; oldest first.")] = None,
    since: Annotated[_Time | None, Query(description="RFC 3339, included.")] = None,
    until: Annotated[_Time | None, Query(description="RFC 3339, not included.")] = None,
    evaluation: EvaluationName | None = None,
    part_id: Annotated[str | None, Query(max_length=254)] = None,
) -> Results:
    """The newest results first, or with `after_seq` the oldest of those that came after."""
    try:
        with service_of(request).book.open() as book:
            found = read_results(
                book,
                before_seq=before_seq,
                after_seq=after_seq,
                since=since,
                until=until,
                evaluation=None if evaluation is None else EVALUATIONS[evaluation],
                part_id=part_id,
                limit=limit,
            )
    except (OverflowError, UnicodeError) as exc:  # year 1 in a time zone east of us; half of a surrogate pair
        raise Refused(422, f"since, until or part_id: {exc}") from exc
    more = len(found) == limit
    way = "before_seq" if after_seq is None else "after_seq"
    return Results(results=tuple(Result.of(one) for one in found), next=f"{way}={found[-1].seq}" if more else None)


@router.get("/results/{result_id}", responses=problems(404))
def result(request: Request, _caller: Reader, result_id: Annotated[str, Path(max_length=128)]) -> Result:
    """One result, by the id that stands in MQTT and on the PLC's side."""
    with service_of(request).book.open() as book:
        found = read_result(book, result_id)
    if found is None:
        raise Refused(404, f"result {result_id!r}: the ledger has none of this id")
    return Result.of(found)
