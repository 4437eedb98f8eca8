"""What a PLC orders besides parts: a recipe or a command; and what it says of parts that it has had."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

from edge_inspector.datatypes import Mode, Reason
from edge_inspector.interfaces import (
    CommandAnswer,
    CommandRequest,
    PartFeedback,
    PlcLink,
    RecipeAnswer,
    RecipeRequest,
    ResultWritten,
)
from edge_inspector.station import commands
from edge_inspector.station.booking import Booking
from edge_inspector.station.condition import Condition
from edge_inspector.station.in_work import InWork
from edge_inspector.station.parts import LoadedRecipe

log = structlog.get_logger()
PlcOrder: TypeAlias = RecipeRequest | CommandRequest | PartFeedback | ResultWritten


class PlcOrders:
    """On the event loop. What changes something is written down with the link that ordered it."""

    def __init__(
        self,
        condition: Condition,
        booking: Booking,
        work: InWork,
        tell_status: Callable[[], Awaitable[None]],
    ) -> None:
        """`tell_status` tells every link what the station is now."""
        self._condition = condition
        self._booking = booking
        self._work = work
        self._tell_status = tell_status

    async def carry_out(self, link: PlcLink, order: PlcOrder) -> None:
        """Answers where the PLC waits for it."""
        if isinstance(order, ResultWritten):
            self._condition.links.written(link, order)
        elif isinstance(order, PartFeedback):
            self._booking.feedback(order)
            self._condition.thresholds.feedback(order)
        elif isinstance(order, RecipeRequest):
            answer = self._recipe(link, order)
            await self._tell_status()  # first: the answer must not be read beside the READY of the recipe before
            await link.tell(answer)
        else:
            await link.tell(CommandAnswer(order.seq, await self._command(link, order.command)))

    def select(self, recipe: LoadedRecipe, who: str) -> None:
        """Make it the active one.

        Nothing has to be done for the recipe that is there already, or on its way: some PLCs order it before each part.
        """
        condition = self._condition
        before, fit = condition.recipe, condition.blocked() is None
        condition.recipe_error = ""
        log.info("recipe_selected", recipe=recipe.name)
        if recipe is before and (condition.set_up or (condition.changeover.under_way and not condition.failed)):
            return
        # The changeover first: cameras' threads ask it whose their pictures are.
        condition.changeover.begins(before, recipe, who, fit=fit)
        condition.recipe = recipe
        condition.golden.selected(recipe)
        condition.camera_health.selected(recipe)

    def _recipe(self, link: PlcLink, request: RecipeRequest) -> RecipeAnswer:
        """A refused recipe keeps the station not READY until a valid one succeeds: the line has changed product."""
        condition, who = self._condition, f"plc:{link.name}"
        if not condition.links.may_command(link):
            return RecipeAnswer(request.seq, accepted=False, reason=Reason.WRONG_MASTER)
        recipe, before = commands.find_recipe(condition, request.number, request.name), condition.recipe
        if recipe is None:
            commands.refuse_recipe(condition, request.number, request.name, "the PLC")
            self._booking.event("warning", "recipe_refused", condition.recipe_error)
            return RecipeAnswer(request.seq, accepted=False, reason=Reason.RECIPE)
        self.select(recipe, who)
        if recipe is not before:
            self._booking.audit(who, "recipe_selected", f"{before.name} -> {recipe.name}")
        return RecipeAnswer(request.seq, accepted=True, reason=Reason.NONE)

    async def _command(self, link: PlcLink, command: int) -> int:
        """Status.CommandResult."""
        condition, who = self._condition, f"plc:{link.name}"
        if not condition.links.may_command(link):
            return commands.REFUSED
        stopped_for = condition.line_rules.reason
        golden_before = condition.mode is Mode.GOLDEN
        result = commands.carry_out(condition, command)
        if result == commands.DONE:
            what, detail = commands.IN_WORDS[command]
            if command == commands.ACK_LINE_STOP:
                detail = f"{detail} {stopped_for}"
            self._booking.audit(who, what, detail)
        golden_now = condition.mode is Mode.GOLDEN
        if golden_now and command == commands.GOLDEN_RUN:
            condition.golden.mode_on(condition.recipe, who)
        elif golden_before and not golden_now:
            condition.golden.mode_off()
        if command == commands.ABORT:
            await self._work.settle_all(Reason.ABORTED, "aborted by command")
        elif command == commands.RESET:
            self._booking.alarmed = False
            condition.camera_health.again()
        return result
