"""Thresholds: those of a recipe, and the policies that let them follow the line. Pure."""

from edge_inspector.stages.thresholds.advance import advance, rebound
from edge_inspector.stages.thresholds.given import fixed
from edge_inspector.stages.thresholds.kept import dumps, loads
from edge_inspector.stages.thresholds.limits import (
    LEAST_DEFECTS,
    ClassLimits,
    GoldenDefect,
    bounds_of,
    golden_limits,
)
from edge_inspector.stages.thresholds.records import (
    Bounds,
    Estimate,
    Proposal,
    Seen,
    State,
    Word,
    begin,
    proposals,
    stamp,
)
from edge_inspector.stages.thresholds.tail import needed

__all__ = [
    "LEAST_DEFECTS",
    "Bounds",
    "ClassLimits",
    "Estimate",
    "GoldenDefect",
    "Proposal",
    "Seen",
    "State",
    "Word",
    "advance",
    "begin",
    "bounds_of",
    "dumps",
    "fixed",
    "golden_limits",
    "loads",
    "needed",
    "proposals",
    "rebound",
    "stamp",
]
