"""A client's methods as the writes of a PLC, and the waiting for what the station answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from edge_inspector.outputs.live import LiveContract
from edge_inspector.outputs.opcua_server.machine_vision.methods import Error, Refusal, refused_by_station
from edge_inspector.plc.tags import Value

RESET, HALT, SELECT_AUTOMATIC, ABORT = 1, 2, 3, 4
_RECIPE_READY = 1 << 12  # of Status.Word
_WRAP = 2**32

Write = Callable[[Mapping[str, Value]], Awaitable[None]]


@dataclass(frozen=True)
class Patience:
    """How long a method waits for the station.

    A trigger is accepted or refused within `answer_s`, as the contract promises the PLC. After `recipe_s` PrepareRecipe
    returns with IsCompleted = false, before clients give up (asyncua's after 4 s).
    """

    answer_s: float = 0.5
    recipe_s: float = 3.0


class VirtualPlc:
    """Writes Control tags and looks at Status tags, as a PLC would. One request at a time."""

    def __init__(self, live: LiveContract, write: Write) -> None:
        self.patience = Patience()
        self._live = live
        self._write = write
        self._trigger_seq = 0
        self._recipe_seq = 0
        self._command_seq = 0
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def next_trigger_seq(self) -> int:
        return (self._trigger_seq + 1) % _WRAP

    async def trigger(self, part_id: str) -> None:
        """Returns when the station has accepted the part. Refusal when it has not."""
        seq = self._trigger_seq = self.next_trigger_seq
        await self._write({"Control.PartId": part_id, "Control.TriggerSeq": seq})
        answered = await self.until(
            lambda: seq in (self._tag("TriggerAckSeq"), self._tag("RefusedSeq")), self.patience.answer_s
        )
        if not answered:
            raise Refusal(Error.NO_ANSWER)
        if self._tag("TriggerAckSeq") != seq:
            raise refused_by_station(self._tag("RefusedReason"))

    async def command(self, number: int) -> None:
        """Returns when the command is carried out. Refusal when it is not."""
        seq = self._command_seq = (self._command_seq + 1) % _WRAP
        await self._write({"Control.Command": number, "Control.CommandSeq": seq})
        if not await self.until(lambda: self._tag("CommandAckSeq") == seq, self.patience.answer_s):
            raise Refusal(Error.NO_ANSWER)
        if self._tag("CommandResult"):
            raise Refusal(Error.COMMAND_REFUSED)

    async def recipe(self, name: str) -> bool:
        """Order a recipe; whether it is ready for parts already. Refusal when the station does not take it."""
        seq = self._recipe_seq = (self._recipe_seq + 1) % _WRAP
        await self._write({"Control.RecipeReqNo": 0, "Control.RecipeReq": name, "Control.RecipeReqSeq": seq})
        until = asyncio.get_running_loop().time() + self.patience.recipe_s
        if not await self.until(lambda: self._tag("RecipeReqAckSeq") == seq, self.patience.recipe_s):
            raise Refusal(Error.NO_ANSWER)
        if self._tag("RecipeReqResult"):
            raise refused_by_station(self._tag("RecipeReqResult"))
        rest_s = max(0.0, until - asyncio.get_running_loop().time())
        return await self.until(lambda: self.prepared() == name, rest_s)

    def prepared(self) -> str:
        """Name of the recipe that is ready for parts, empty = none."""
        ready = self._tag("Word") & _RECIPE_READY
        return str(self._live.image["Status.ActiveRecipe"]) if ready else ""

    async def until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `look` finds that it is reached; False = not in time."""
        if reached():
            return True
        waiting = (reached, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            done, _ = await asyncio.wait([waiting[1]], timeout=timeout_s)
        finally:
            self._waiting.remove(waiting)
        return bool(done)

    def look(self) -> None:
        """The station has said something: wake those who have waited for it."""
        for reached, future in self._waiting:
            if not future.done() and reached():
                future.set_result(None)

    def _tag(self, name: str) -> int:
        value = self._live.image[f"Status.{name}"]
        return value if isinstance(value, int) else 0
