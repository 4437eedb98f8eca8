"""What the PLC may order besides a part: recipes and commands, and what they do to the station's condition."""

from __future__ import annotations

import structlog

from edge_inspector.datatypes import Mode, Reason
from edge_inspector.interfaces import CommandRequest, RecipeAnswer, RecipeRequest
from edge_inspector.station.condition import Condition

log = structlog.get_logger()
DONE, NOT_SUPPORTED, REFUSED = 0, 1, 2
RESET, HALT, SELECT_AUTOMATIC, ABORT, CLEAR_COUNTERS, SIMULATION_ON, SIMULATION_OFF = range(1, 8)


def select_recipe(condition: Condition, request: RecipeRequest) -> RecipeAnswer:
    """A refused recipe keeps the station not READY until a valid one succeeds: the line has changed product."""
    if condition.parts.local_master:
        return RecipeAnswer(request.seq, accepted=False, reason=Reason.WRONG_MASTER)
    for recipe in condition.parts.recipes.values():
        if (recipe.settings.number == request.number) if request.number else (recipe.name == request.name):
            condition.recipe, condition.recipe_error = recipe, ""
            log.info("recipe_selected", recipe=recipe.name)
            return RecipeAnswer(request.seq, accepted=True, reason=Reason.NONE)
    wanted = request.number or repr(request.name)
    condition.recipe_error = f"the PLC ordered recipe {wanted}, which this station does not have"
    log.warning("recipe_refused", wanted=wanted, known=sorted(condition.parts.recipes))
    return RecipeAnswer(request.seq, accepted=False, reason=Reason.RECIPE)


def carry_out(condition: Condition, request: CommandRequest) -> int:
    """Status.CommandResult. The line settles open parts on ABORT; the contract does RESET and CLEAR_COUNTERS."""
    if condition.parts.local_master:
        return REFUSED
    log.info("plc_command", command=request.command)
    if request.command in (HALT, SELECT_AUTOMATIC):
        condition.halted = request.command == HALT
    elif request.command in (SIMULATION_ON, SIMULATION_OFF):
        condition.mode = Mode.SIMULATION if request.command == SIMULATION_ON else Mode.PRODUCTION
    elif request.command not in (RESET, ABORT, CLEAR_COUNTERS):
        return NOT_SUPPORTED
    return DONE
