"""GET /v1/thresholds: from which score a defect counts, and where the policies would put it; POST /v1/feedback."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from edge_inspector.settings.adaptive import Policy
from edge_inspector.web.access import Operator, Reader
from edge_inspector.web.models import Done
from edge_inspector.web.problems import problems
from edge_inspector.web.service import service_of

router = APIRouter(prefix="/v1", tags=["thresholds"])


class Proposed(BaseModel):
    """What a policy says of one class. Scores are confidences, 0..1."""

    class_name: str
    threshold: float = Field(description="Where the policy has it now: within floor and ceiling, step by step.")
    wanted: float | None = Field(description="Where it would be without limits; null: too few good parts are known.")
    low: float | None = Field(description="The 95 % interval of `wanted`.")
    high: float | None
    floor: float
    ceiling: float
    learnt: int = Field(description="Good parts that it knows.")


class PolicyState(BaseModel):
    """One policy of a recipe."""

    policy: Policy
    judges: bool = Field(description="false: a shadow, which only proposes.")
    frozen: str = Field(description="Why its thresholds do not move now; empty: they may.")
    alarm: str
    classes: tuple[Proposed, ...]


class RecipeThresholds(BaseModel):
    """The thresholds of one recipe."""

    policy: Policy = Field(description="Which policy judges.")
    shadow: Policy
    released: bool = Field(description="Whether thresholds may be looser than the recipe says.")
    lapsed: str = Field(description="Why a release does not hold any more; empty: it does, or there was none.")
    frozen_by: str = Field(description="Who has frozen them; empty: nobody.")
    classes: tuple[str, ...] = Field(description="The order of `fixed` and `now`.")
    fixed: tuple[float, ...] = Field(description="The recipe's own.")
    now: tuple[float, ...] = Field(description="By which the next part is judged.")
    policies: tuple[PolicyState, ...]


class Thresholds(BaseModel):
    """By recipe."""

    recipes: dict[str, RecipeThresholds]


class Feedback(BaseModel):
    """Somebody has looked at a part again."""

    model_config = ConfigDict(extra="forbid", strict=True)
    result_id: str = Field(max_length=128)
    good: bool


@router.get("/thresholds", responses=problems())
def thresholds(request: Request, caller: Reader) -> Thresholds:
    """From which score a defect counts, who decides it, and how far it may move."""
    found = service_of(request).station.order(caller, "thresholds", {})["recipes"]
    return Thresholds(recipes={name: _recipe(one) for name, one in found.items()})


@router.post("/feedback", responses=problems(408, 409, 413))
def feedback(request: Request, caller: Operator, body: Feedback) -> Done:
    """Say whether a part of the last 10 000 was good; it stands in the audit trail, and teaches the thresholds."""
    service_of(request).station.order(caller, "feedback", body.model_dump())
    return Done()


def _recipe(found: dict[str, Any]) -> RecipeThresholds:
    policies = [{**one, "classes": [_proposed(row) for row in one["classes"]]} for one in found["policies"]]
    return RecipeThresholds.model_validate({**found, "policies": policies})


def _proposed(row: dict[str, Any]) -> dict[str, Any]:
    estimate = row["estimate"] or {"wanted": None, "low": None, "high": None}
    return {**row, **estimate, "threshold": row["now"]}
