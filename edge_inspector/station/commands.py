"""What the PLC may order besides a part: recipes and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from edge_inspector.datatypes import Mode, Reason
from edge_inspector.interfaces import CommandAnswer, CommandRequest, RecipeAnswer, RecipeRequest

if TYPE_CHECKING:
    from edge_inspector.station.line import Line

log = structlog.get_logger()
DONE, NOT_SUPPORTED, REFUSED = 0, 1, 2


async def answer(line: Line, request: RecipeRequest | CommandRequest) -> RecipeAnswer | CommandAnswer:
    """Carry one order out and say how it went."""
    if isinstance(request, RecipeRequest):
        return _select(line, request)
    return CommandAnswer(request.seq, await _command(line, request.command))


def _select(line: Line, request: RecipeRequest) -> RecipeAnswer:
    """A refused recipe keeps the station not READY until a valid one succeeds: the line has changed product."""
    if line.parts.local_master:
        return RecipeAnswer(request.seq, accepted=False, reason=Reason.WRONG_MASTER)
    for recipe in line.parts.recipes.values():
        if (recipe.settings.number == request.number) if request.number else (recipe.name == request.name):
            line.recipe, line.recipe_error = recipe, ""
            log.info("recipe_selected", recipe=recipe.name)
            return RecipeAnswer(request.seq, accepted=True, reason=Reason.NONE)
    wanted = request.number or repr(request.name)
    line.recipe_error = f"the PLC ordered recipe {wanted}, which this station does not have"
    log.warning("recipe_refused", wanted=wanted, known=sorted(line.parts.recipes))
    return RecipeAnswer(request.seq, accepted=False, reason=Reason.RECIPE)


async def _command(line: Line, command: int) -> int:
    if line.parts.local_master:
        return REFUSED
    log.info("plc_command", command=command)
    if command in (1, 5):  # Reset, ClearCounters: the contract has done it
        return DONE
    if command == 2:
        line.halted = True
    elif command == 3:
        line.halted = False
    elif command == 4:
        await line.settle_all(Reason.ABORTED, "aborted by command")
    elif command in (6, 7):
        line.mode = Mode.SIMULATION if command == 6 else Mode.PRODUCTION
    else:
        return NOT_SUPPORTED
    return DONE
