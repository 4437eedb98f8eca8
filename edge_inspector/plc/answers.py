"""What the PLC asked and the station has not answered yet, and the answers that the PLC can read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from edge_inspector.datatypes import Reason
from edge_inspector.interfaces import CommandAnswer, RecipeAnswer, TriggerAccepted, TriggerRefused

Answer = TriggerAccepted | TriggerRefused | RecipeAnswer | CommandAnswer


@dataclass(frozen=True)
class Asked:
    """A question of one start of the PLC; `command` is the number of a command."""

    kind: Literal["trigger", "recipe", "command"]
    seq: int
    plc_boot_id: int
    command: int = 0


@dataclass(frozen=True)
class Answers:
    """All of one start of the PLC. `accepted`: TriggerAckSeq is an answer, and not where the count stood before.

    `recipe_ack` and `command_ack` are the number that was answered and the result.
    """

    accepted: bool = False
    trigger_ack_seq: int = 0
    exposure_done: bool = False
    refused_seq: int = 0
    refused_reason: Reason = Reason.NONE
    recipe_ack: tuple[int, int] = (0, 0)
    command_ack: tuple[int, int] = (0, 0)

    def none_since(self, seq: int) -> Answers:
        """No trigger of this start has been answered; its count stands at `seq`."""
        accepted = self.trigger_ack_seq if self.accepted else seq
        refused = self.refused_seq if self.refused_reason else seq
        return replace(self, trigger_ack_seq=accepted, refused_seq=refused)

    def refused(self, seq: int, reason: Reason) -> Answers:
        return replace(self, refused_seq=seq, refused_reason=reason)

    def answered(self, answer: Answer) -> Answers:
        if isinstance(answer, TriggerAccepted):
            return replace(self, accepted=True, trigger_ack_seq=answer.trigger_seq, exposure_done=False)
        if isinstance(answer, TriggerRefused):
            return self.refused(answer.trigger_seq, answer.reason)
        if isinstance(answer, RecipeAnswer):
            return replace(self, recipe_ack=(answer.seq, 0 if answer.accepted else int(answer.reason)))
        return replace(self, command_ack=(answer.seq, answer.result))


def without_first(asked: tuple[Asked, ...], answer: Answer) -> tuple[tuple[Asked, ...], Asked | None]:
    """Take the question that this answers, the oldest of its kind and number; the station answers in order."""
    kind, seq = _question(answer)
    for i, one in enumerate(asked):
        if (one.kind, one.seq) == (kind, seq):
            return (*asked[:i], *asked[i + 1 :]), one
    return asked, None


def _question(answer: Answer) -> tuple[str, int]:
    if isinstance(answer, TriggerAccepted | TriggerRefused):
        return "trigger", answer.trigger_seq
    return "recipe" if isinstance(answer, RecipeAnswer) else "command", answer.seq
