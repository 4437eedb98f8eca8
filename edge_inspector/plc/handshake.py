"""The handshake as a pure state machine: what the PLC wrote and what the station said -> requests and the tag image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason
from edge_inspector.interfaces import (
    Alive,
    CommandRequest,
    ExposureDone,
    LinkState,
    PartFeedback,
    PlcMessage,
    PlcRequest,
    RecipeAnswer,
    RecipeRequest,
    RefusedByLink,
    ResultAcknowledged,
    StationStatus,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
    Unannounced,
    Vitals,
)
from edge_inspector.plc.answers import Answer, Answers, Asked, without_first
from edge_inspector.plc.counters import Counters
from edge_inspector.plc.plc_side import PlcSide
from edge_inspector.plc.results import Results
from edge_inspector.plc.sequence import MODULUS, ahead
from edge_inspector.plc.states import STARTING
from edge_inspector.plc.tags import Value

COMMAND_RESET = 1
COMMAND_CLEAR_COUNTERS = 5
COMMAND_DONE = 0
CONFIRMED_GOOD, CONFIRMED_BAD = 1, 2
MOST_FORMER = 8
"""Earlier starts of the PLC that are remembered: more than can pass while a part is in work."""


@dataclass(frozen=True)
class Contract:
    """One PLC's view of one station. Every method returns a new contract; time comes in as an argument.

    `acknowledge` False: the PLC does not acknowledge, and ResultsValid holds for `hold_ns`. `paired` False: nobody
    echoes our boot id or shows a heartbeat; the PLC counts as there from the first step on. `last_seq` is the highest
    TriggerSeq of this start of the PLC; no number up to it is ever accepted again. `former` are the PlcBootIds before
    this one.
    """

    boot_id: int
    acknowledge: bool = True
    stale_ns: int = 2_000_000_000
    hold_ns: int = 500_000_000
    paired: bool = True
    modulus: int = MODULUS
    status: StationStatus = STARTING
    vitals: Vitals = field(default_factory=Vitals)
    heartbeat: int = 0
    plc: PlcSide = field(default_factory=PlcSide)
    alive: bool = False
    last_seq: int | None = None
    former: tuple[int, ...] = ()
    asked: tuple[Asked, ...] = ()
    answers: Answers = field(default_factory=Answers)
    recipe_refused: bool = False
    missed: bool = False
    bad_feedback: int | None = None
    results: Results = field(default_factory=Results)
    counters: Counters = field(default_factory=Counters)

    @property
    def greeted(self) -> bool:
        """The PLC knows which start of the station it talks to."""
        return not self.paired or self.plc.boot_id_echo == self.boot_id

    @property
    def linked(self) -> bool:
        """The PLC has greeted us, and its heartbeat is fresh."""
        return not self.paired or (self.greeted and self.alive)

    @property
    def accepts(self) -> bool:
        """A trigger written now is accepted, as far as this link knows; in Golden mode too."""
        ordering = any(one.kind == "recipe" for one in self.asked)
        fit = self.status.ready and not self.recipe_refused and not ordering
        return fit and self.linked and not self.results.overrun

    @property
    def shown(self) -> InspectionResult | None:
        """The result in the named slot."""
        return self.results.slot if self.greeted else None

    @property
    def overall_ok(self) -> bool:
        """Whether the shown result is an OK that the PLC may act on."""
        r = self.shown
        return r is not None and r.evaluation is Evaluation.OK and r.trigger.mode is Mode.PRODUCTION

    # --- from the PLC -------------------------------------------------------------------------------------------------

    def written(self, values: Mapping[str, Value], now_ns: int) -> tuple[Contract, tuple[PlcRequest, ...]]:
        """One write request of the PLC: tag name -> value. The order of the tags in it does not matter.

        What stands in it beside a greeting is only a baseline; orders come before a trigger of the same request.
        """
        me, stale = self.ticked(now_ns)
        before, greeted = me.plc, me.greeted
        plc = before.wrote(values, now_ns)
        restarted = plc.plc_boot_id != before.plc_boot_id
        alive = me.alive or plc.heartbeat != before.heartbeat
        linked = me.linked
        me = replace(me, plc=plc, alive=alive)
        if restarted:
            me = me._forgotten(before.plc_boot_id)
        out: list[PlcRequest] = [*stale]
        if self.paired and (me.linked != linked or restarted):
            out.append(LinkState(me.linked, plc.plc_boot_id))
        if plc.result_ack_seq != before.result_ack_seq:
            me = me._acknowledged(now_ns, out)
        if greeted and me.greeted and not restarted:
            me = me._ordered(before, out)
            me = me._triggered(before, now_ns, out)
        else:
            me = me._greeting(before)
        return me, tuple(out)

    def ticked(self, now_ns: int) -> tuple[Contract, tuple[PlcRequest, ...]]:
        """Time has passed: a stale heartbeat takes the link down, a held result runs out."""
        me, at_ns = self, self.plc.heartbeat_ns
        if self.paired and me.alive and (at_ns is None or now_ns - at_ns > me.stale_ns):
            me = replace(me, alive=False)
        if not me.acknowledge and me.results.unread and now_ns - me.results.shown_ns > me.hold_ns:
            me = replace(me, results=me.results.emptied())
        if me.linked != self.linked:
            return me, (LinkState(me.linked, me.plc.plc_boot_id),)
        if not self.paired and not self.alive:  # once: nobody will ever show that he has come or gone
            return replace(me, alive=True), (LinkState(True, me.plc.plc_boot_id),)
        return me, ()

    def _forgotten(self, plc_boot_id: int) -> Contract:
        """The PLC has started again: nothing that it has not asked itself may be read as its own."""
        former = self.former if plc_boot_id == 0 else (*self.former, plc_boot_id)
        return replace(
            self,
            last_seq=None,
            former=tuple(one for one in former if one != self.plc.plc_boot_id)[-MOST_FORMER:],
            answers=Answers(),
            missed=False,
            bad_feedback=None,
            results=self.results.emptied(),
        )

    def _greeting(self, before: PlcSide) -> Contract:
        """What stands there is a baseline, but never one behind a number that this start of the PLC has used."""
        seq, last = self.plc.trigger_seq, self.last_seq
        used = last is not None and before.counted and ahead(seq, last, self.modulus) < 0
        return self if used else self._counted_from(seq)

    def _counted_from(self, seq: int) -> Contract:
        """The next trigger is one more; the answers show this number, for it can never be the next one's."""
        return replace(self, last_seq=seq, answers=self.answers.none_since(seq))

    def _acknowledged(self, now_ns: int, out: list[PlcRequest]) -> Contract:
        upto = self.plc.result_ack_seq
        if not self.acknowledge or upto is None:
            return self
        results, freed = self.results.acknowledged(upto, self.modulus, now_ns)
        if freed:
            out.append(ResultAcknowledged(upto, tuple(r.result_id for r in freed)))
        return replace(self, results=results)

    def _ordered(self, before: PlcSide, out: list[PlcRequest]) -> Contract:
        """Feedback, recipe and command, each by a change of its number."""
        me, plc = self, self.plc
        if plc.feedback_seq != before.feedback_seq:
            known = plc.feedback in (CONFIRMED_GOOD, CONFIRMED_BAD)
            me = replace(me, bad_feedback=None if known else plc.feedback)
            if known:
                out.append(PartFeedback(plc.feedback_seq, plc.plc_boot_id, plc.feedback == CONFIRMED_GOOD))
        if plc.recipe_seq != before.recipe_seq:
            me = me._asking(Asked("recipe", plc.recipe_seq, plc.plc_boot_id))
            out.append(RecipeRequest(plc.recipe_seq, plc.recipe_no, plc.recipe))
        if plc.command_seq != before.command_seq:
            me = me._asking(Asked("command", plc.command_seq, plc.plc_boot_id, plc.command))
            out.append(CommandRequest(plc.command_seq, plc.command))
        return me

    def _triggered(self, before: PlcSide, now_ns: int, out: list[PlcRequest]) -> Contract:
        seq, part_id, last = self.plc.trigger_seq, self.plc.part_id, self.last_seq or 0
        if seq in (before.trigger_seq, last):
            return self
        steps = ahead(seq, last, self.modulus)
        if not before.counted and steps != 1:  # where the count stands is written after the echo
            return self._counted_from(seq)
        if steps < 0:  # the PLC has lost its count without a new PlcBootId, or an old write has come late
            return self._refused(RefusedByLink(seq, part_id, Reason.PLC_RESTART, seen_ns=now_ns), out)
        me = replace(self, last_seq=seq)
        if steps > 1:
            out.append(RefusedByLink((last + 1) % self.modulus, "", Reason.MISSED, steps - 1))
            me = replace(me, missed=True, counters=me.counters.plus("missed", steps - 1))
        refusal = Reason.PLC_LINK if not me.linked else Reason.BUFFER_OVERRUN if me.results.overrun else None
        if refusal is not None:
            return me._refused(RefusedByLink(seq, part_id, refusal, seen_ns=now_ns), out)
        out.append(TriggerRequest(seq, part_id, now_ns, me.plc.plc_boot_id))
        return me._asking(Asked("trigger", seq, me.plc.plc_boot_id))

    def _refused(self, refusal: RefusedByLink, out: list[PlcRequest]) -> Contract:
        out.append(refusal)
        answers = self.answers.refused(refusal.trigger_seq, refusal.reason)
        return replace(self, answers=answers, counters=self.counters.plus("refused"))

    def _asking(self, asked: Asked) -> Contract:
        return replace(self, asked=(*self.asked, asked))

    # --- from the station ---------------------------------------------------------------------------------------------

    def told(self, message: PlcMessage, now_ns: int) -> Contract:
        """What the station says, taken into the tag image."""
        if isinstance(message, Alive):
            return replace(self, heartbeat=(self.heartbeat + 1) % MODULUS)
        if isinstance(message, InspectionResult):
            return self._settled(message, now_ns)
        if isinstance(message, StationStatus):
            return replace(self, status=message)
        if isinstance(message, Vitals):
            return replace(self, vitals=message)
        if isinstance(message, Unannounced):
            return replace(self, counters=self.counters.plus("unannounced"))
        if isinstance(message, ExposureDone):
            return self._exposed(message.trigger_seq)
        return self._answered(message)

    def _answered(self, answer: Answer) -> Contract:
        """What an earlier start of the PLC asked is answered without its successor seeing it."""
        asked, question = without_first(self.asked, answer)
        ours = question is None or question.plc_boot_id == self.plc.plc_boot_id
        me = replace(self, asked=asked, answers=self.answers.answered(answer) if ours else self.answers)
        if isinstance(answer, TriggerAccepted):
            return replace(me, status=replace(me.status, ready=False, busy=True, acquiring=True))
        if isinstance(answer, TriggerRefused):
            return replace(me, counters=me.counters.plus("refused"))
        if isinstance(answer, RecipeAnswer):
            wrong_master = not answer.accepted and answer.reason is Reason.WRONG_MASTER
            return me if wrong_master else replace(me, recipe_refused=not answer.accepted)
        return me._carried_out(question) if ours and question and answer.result == COMMAND_DONE else me

    def _carried_out(self, question: Asked) -> Contract:
        """The part of a command that concerns this link alone."""
        if question.command == COMMAND_RESET:
            return replace(self, results=self.results.emptied(), missed=False, bad_feedback=None)
        if question.command == COMMAND_CLEAR_COUNTERS:
            return replace(self, counters=Counters())
        return self

    def _exposed(self, trigger_seq: int) -> Contract:
        if not self.answers.accepted or trigger_seq != self.answers.trigger_ack_seq:
            return self  # a newer part is already being exposed, or it is another link's
        answers, status = replace(self.answers, exposure_done=True), replace(self.status, acquiring=False)
        return replace(self, answers=answers, status=status)

    def _settled(self, result: InspectionResult, now_ns: int) -> Contract:
        """Into the ring always; into the named slot unless it is of another start of this PLC, or of another PLC."""
        me = replace(self, results=self.results.rung(result), counters=self.counters.settled(result))
        plc_boot_id = result.trigger.plc_boot_id
        if not me.acknowledge:
            if plc_boot_id in me.former:
                return me
            return replace(me, results=me.results.replaced(result, now_ns))
        if plc_boot_id == me.plc.plc_boot_id:
            me = replace(me, results=me.results.queued(result, now_ns))
        return replace(me, results=me.results.overtaken())
