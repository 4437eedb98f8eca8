"""What somebody who is no PLC may order: over the control socket, or through a publisher that takes orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import structlog
from pydantic import Field, StrictBool, StringConstraints, ValidationError

from edge_inspector.interfaces import OrderAnswer
from edge_inspector.settings import Settings
from edge_inspector.station import commands
from edge_inspector.station.booking import Booking
from edge_inspector.station.condition import Condition
from edge_inspector.station.events import Ordered
from edge_inspector.station.inbox import Posted
from edge_inspector.station.live_view import WATCHED_NS, LiveView
from edge_inspector.station.manual import Manual, Reply
from edge_inspector.station.parts import LoadedRecipe
from edge_inspector.station.setup_mode import SetupMode

log = structlog.get_logger()
_Text = Annotated[str, StringConstraints(max_length=1000)]
DONE = OrderAnswer(done=True)
UNWRITABLE = OrderAnswer(
    done=False, text="the ledger cannot be written, so nobody could see who has looked", facts={"not_ready": True}
)


Known: TypeAlias = tuple[type[Settings], Callable[..., OrderAnswer | None]]
"""An order's arguments, and what carries it out: it takes who, the arguments and where a later answer goes."""


class Nothing(Settings):
    """An order that needs no more than its name."""


class Audit(Settings):
    """Somebody has seen or done something outside the daemon; it stands in the audit trail."""

    what: str = Field(pattern="^[a-z][a-z0-9_]{0,63}$")
    detail: _Text


class Setup(Settings):
    on: StrictBool


class ByRecipe(Settings):
    """By its number or, when that is 0, by its name."""

    number: int = Field(0, ge=0, le=2**32 - 1)
    name: str = ""


class Live(Settings):
    camera: str


class Inspect(Settings):
    """One picture of each camera of the active recipe."""

    part_id: str = Field("", max_length=254)
    pictures: dict[str, Posted]


class Orders:
    """On the event loop. What changes something, or shows a picture, is written down with who ordered it."""

    def __init__(
        self,
        condition: Condition,
        booking: Booking,
        setup: SetupMode,
        live: LiveView,
        manual: Manual,
        select: Callable[[LoadedRecipe, str], None],
        more: Mapping[str, Known],
    ) -> None:
        """`select` makes a recipe the active one, ordered by whom; `more` are orders that others carry out."""
        self._condition = condition
        self._booking = booking
        self._setup = setup
        self._live = live
        self._manual = manual
        self._select = select
        self._watching: dict[tuple[str, str], int] = {}
        self._known: Mapping[str, Known] = {
            "audit": (Audit, self._audit),
            "ack_line_stop": (Nothing, self._ack_line_stop),
            "reset": (Nothing, self._reset),
            "halt": (Nothing, self._halt),
            "resume": (Nothing, self._resume),
            "setup": (Setup, self._set_up),
            "recipe": (ByRecipe, self._recipe),
            "live": (Live, self._look),
            "inspect": (Inspect, self._inspect),
            **more,
        }

    def carry_out(self, event: Ordered) -> None:
        """Answers once: now or, for `inspect`, with the verdict."""
        order = event.order
        if order.name not in self._known:
            text = f"order {order.name!r:.100} is not known; known are {', '.join(self._known)}"
            event.reply(OrderAnswer(done=False, text=text))
            return
        model, carry_out = self._known[order.name]
        try:
            arguments = model.model_validate(order.arguments)
        except ValidationError as exc:
            event.reply(OrderAnswer(done=False, text=_utf8(f"order {order.name}: {_first(exc)}")))
            return
        who = _utf8(order.who)
        answer = carry_out(who, arguments, event.reply)
        if answer is not None:
            event.reply(answer)
            if order.name not in ("audit", "live", "thresholds"):
                log.info("order", name=order.name, who=who, done=answer.done, text=answer.text)

    def _audit(self, who: str, asked: Audit, _: Reply) -> OrderAnswer:
        if not self._condition.parts.ledger.healthy:  # what cannot be written down must not happen
            return UNWRITABLE
        self._booking.audit(who, asked.what, asked.detail)
        return DONE

    def _ack_line_stop(self, who: str, _asked: Nothing, _: Reply) -> OrderAnswer:
        reason = self._condition.line_rules.reason
        if not reason:
            return OrderAnswer(done=True, text="no line stop was asked for")
        self._condition.line_rules.acknowledge()
        self._booking.audit(who, "line_stop_acknowledged", f"reason number {reason}")
        return DONE

    def _reset(self, who: str, _asked: Nothing, _: Reply) -> OrderAnswer:
        condition = self._condition
        shown = condition.camera_health.why_not(condition.recipe) or condition.line_rules.notice
        if not self._booking.alarmed and not shown:
            return OrderAnswer(done=True, text="there was no alarm")
        self._booking.alarmed = False
        condition.camera_health.again()
        condition.line_rules.reset()
        self._booking.audit(who, "alarms_reset", "the station's alarm is off until the next one")
        return DONE

    def _halt(self, who: str, _asked: Nothing, _: Reply) -> OrderAnswer:
        if self._condition.held_by:
            return OrderAnswer(done=True, text=f"was halted by {self._condition.held_by} before")
        self._condition.held_by = who
        self._booking.audit(who, "halted", "no part is accepted")
        self._booking.event("warning", "halted", f"halted by {who}")
        return DONE

    def _resume(self, who: str, _asked: Nothing, _: Reply) -> OrderAnswer:
        """Ends what an order began. What the PLC has halted is the PLC's."""
        held_by, self._condition.held_by = self._condition.held_by, ""
        if held_by:
            self._booking.audit(who, "resumed", f"was halted by {held_by}")
            self._booking.event("info", "resumed", f"resumed by {who}")
        if self._condition.halted:
            text = "the PLC has halted the station: it has to send SelectAutomatic"
            return OrderAnswer(done=False, text=text)
        return DONE if held_by else OrderAnswer(done=True, text="was not halted")

    def _set_up(self, who: str, asked: Setup, _: Reply) -> OrderAnswer:
        if not asked.on:
            return DONE if self._setup.end(who) else OrderAnswer(done=True, text="was not in setup mode")
        if self._condition.stopping:
            return OrderAnswer(done=False, text="the station is stopping")
        return DONE if self._setup.begin(who) else OrderAnswer(done=True, text="was in setup mode before")

    def _recipe(self, who: str, asked: ByRecipe, _: Reply) -> OrderAnswer:
        condition = self._condition
        master = condition.parts.master
        if master:
            text = f"recipes are selected by the PLC of link {master!r} (station.master); there it has to be done"
            return OrderAnswer(done=False, text=text)
        found = commands.find_recipe(condition, asked.number, asked.name)
        if found is None:
            known = ", ".join(f"{one.settings.number} {name}" for name, one in condition.parts.recipes.items())
            commands.refuse_recipe(condition, asked.number, asked.name, who)
            self._booking.event("warning", "recipe_refused", condition.recipe_error)
            text = f"recipe {asked.number or repr(asked.name)}: expected one of {known}"
            return OrderAnswer(done=False, text=f"{text}; the station is not READY until one of them is ordered")
        before = condition.recipe.name
        self._select(found, who)
        self._booking.audit(who, "recipe_selected", f"{before} -> {found.name}")
        return DONE

    def _look(self, who: str, asked: Live, _: Reply) -> OrderAnswer:
        """To begin to watch a camera stands in the audit trail, not each picture."""
        if not self._condition.parts.ledger.healthy:
            return UNWRITABLE
        answer = self._live.look(asked.camera)
        if not self._live.watched(asked.camera):  # there is no such camera
            return answer
        now = self._condition.parts.clock.monotonic_ns()
        self._watching = {one: at for one, at in self._watching.items() if now - at <= WATCHED_NS}
        if (who, asked.camera) not in self._watching:
            self._booking.audit(who, "live_view", f"camera {asked.camera}")
        self._watching[who, asked.camera] = now
        return answer

    def _inspect(self, who: str, asked: Inspect, reply: Reply) -> None:
        self._manual.order(who, asked.part_id, asked.pictures, reply)


def _first(error: ValidationError) -> str:
    """What is wrong with the first argument that is."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def _utf8(text: str) -> str:
    """As every encoder takes it: JSON lets lone surrogates through."""
    return text.encode("utf-8", "replace").decode()
