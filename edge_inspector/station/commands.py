"""What the PLC may order besides a part: recipes and commands, and what they do to the station's condition."""

from __future__ import annotations

import structlog

from edge_inspector.datatypes import Mode
from edge_inspector.station.condition import Condition
from edge_inspector.station.parts import LoadedRecipe

log = structlog.get_logger()
DONE, NOT_SUPPORTED, REFUSED = 0, 1, 2
RESET, HALT, SELECT_AUTOMATIC, ABORT, CLEAR_COUNTERS, SIMULATION_ON, SIMULATION_OFF = range(1, 8)
GOLDEN_RUN, ACK_LINE_STOP = 8, 9
IN_WORDS = {
    RESET: ("alarms_reset", "the station's alarm is off until the next one"),
    HALT: ("halted", "no part is accepted"),
    SELECT_AUTOMATIC: ("resumed", "production"),
    ABORT: ("aborted", "every open part is UNDEFINED"),
    CLEAR_COUNTERS: ("counters_cleared", "those of the PLC contract"),
    SIMULATION_ON: ("simulation_mode", "on"),
    SIMULATION_OFF: ("simulation_mode", "off"),
    GOLDEN_RUN: ("golden_mode", "on"),
    ACK_LINE_STOP: ("line_stop_acknowledged", "reason number"),
}
"""What the audit trail says of each command."""
_MODES = {SIMULATION_ON: Mode.SIMULATION, SIMULATION_OFF: Mode.PRODUCTION, GOLDEN_RUN: Mode.GOLDEN}


def find_recipe(condition: Condition, number: int, name: str) -> LoadedRecipe | None:
    """By its number or, when that is 0, by its name; None = the station does not have it."""
    for recipe in condition.parts.recipes.values():
        if (recipe.settings.number == number) if number else (recipe.name == name):
            return recipe
    return None


def refuse_recipe(condition: Condition, number: int, name: str, who: str) -> None:
    """Keeps the station not READY until a valid one succeeds: what stands in front of the cameras is not the old
    recipe's product any more."""
    wanted = number or f"{name!r:.100}"
    condition.recipe_error = f"{who} ordered recipe {wanted}, which this station does not have; order one that it has"
    log.warning("recipe_refused", wanted=wanted, who=who, known=sorted(condition.parts.recipes))


def carry_out(condition: Condition, command: int) -> int:
    """Status.CommandResult. The line settles open parts on ABORT and forgets its alarms on RESET.

    RESET and CLEAR_COUNTERS are the contract's, too. A part keeps the mode in which it was accepted.
    """
    log.info("plc_command", command=command)
    if command == HALT:
        condition.halted = True
    elif command == SELECT_AUTOMATIC:
        condition.halted, condition.mode = False, Mode.PRODUCTION
    elif command in _MODES:
        condition.mode = _MODES[command]
    elif command == ACK_LINE_STOP:
        condition.line_rules.acknowledge()
    elif command == RESET:
        condition.line_rules.reset()
    elif command not in (ABORT, CLEAR_COUNTERS):
        return NOT_SUPPORTED
    return DONE
