"""Function blocks and contracts with one thing forgotten each; the explorer must find what it leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edge_inspector.datatypes import InspectionResult
from edge_inspector.plc.answers import Answer, Answers
from edge_inspector.plc.function_block import FunctionBlock, Part, Read, Verdict
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.plc_side import PlcSide
from edge_inspector.plc.tags import Value


class Careless(FunctionBlock):
    """As the shipped one, and the same after a restart."""

    def restarted(self, plc_boot_id: int) -> FunctionBlock:
        return type(self)(**vars(super().restarted(plc_boot_id)))


class ForgetsPlcBootId(Careless):
    def _ours(self, read: Read) -> bool:
        return self.linked and read.boot_id == self.station_boot_id


class ForgetsBootId(Careless):
    """It forgets the station's restart too: a part is judged by whatever result has its number."""

    def _ours(self, read: Read) -> bool:
        return self.linked and read.plc_boot_id == self.plc_boot_id

    def _greeted(self, boot_id: int) -> FunctionBlock:
        return replace(super()._greeted(boot_id), parts=self.parts)


class ForgetsTheNumber(Careless):
    def _takes(self, read: Read) -> FunctionBlock:
        waiting = [part.seq for part in self.parts if part.verdict is None]
        return super()._takes(replace(read, seq=waiting[0]) if waiting else read)


class ForgetsTheMode(Careless):
    """It passes what the golden outcome or the last look of a fitter would call good."""

    def _judged(self, part: Part, read: Read) -> Verdict:
        return super()._judged(part, replace(read, mode=1, evaluation=1 if read.mode != 1 else read.evaluation))


class ForgetsTheRecipe(Careless):
    def _judged(self, part: Part, read: Read) -> Verdict:
        return super()._judged(part, replace(read, recipe_no=part.recipe_no))


class ForgetsToWait(Careless):
    """It announces the next part before the last one is answered."""

    @property
    def ready(self) -> bool:
        return self.linked


class EchoesAtOnce(Careless):
    """It writes the echo in the scan in which it reads the boot id, and does not look at its open parts."""

    def _greeted(self, boot_id: int) -> FunctionBlock:
        return replace(super()._greeted(boot_id), echo=boot_id, parts=self.parts)

    def writes(self) -> Mapping[str, Value]:
        tags = dict(super().writes())
        return {"Control.BootIdEcho": tags.pop("Control.BootIdEcho"), **tags}

    def _ours(self, read: Read) -> bool:
        return self.linked and read.boot_id == self.station_boot_id


class ShowsOldStarts(Contract):
    """Results of an earlier start of the PLC in the named slot."""

    def _settled(self, result: InspectionResult, now_ns: int) -> Contract:
        return replace(self, results=self.results.rung(result).queued(result, now_ns))


class KeepsAnswers(Contract):
    """A new start of the PLC reads what its predecessor was answered."""

    def _answered(self, answer: Answer) -> Contract:
        return replace(super()._answered(answer), answers=self.answers.answered(answer))

    def _forgotten(self, plc_boot_id: int) -> Contract:
        return replace(super()._forgotten(plc_boot_id), answers=self.answers)


class NeverGreeted(Contract):
    """A trigger counts before the echo."""

    @property
    def greeted(self) -> bool:
        return True


class AnswersWithZero(Contract):
    """TriggerAckSeq 0 stands for none, and is read as the answer to number 0."""

    def _counted_from(self, seq: int) -> Contract:
        return replace(self, last_seq=seq, answers=Answers())


class TakesAnyStep(Contract):
    """A number that was used is accepted again."""

    def _triggered(self, before: PlcSide, now_ns: int, out: list) -> Contract:  # type: ignore[type-arg]
        return replace(self, last_seq=(self.plc.trigger_seq - 1) % self.modulus)._as_next(before, now_ns, out)

    def _as_next(self, before: PlcSide, now_ns: int, out: list) -> Contract:  # type: ignore[type-arg]
        return super()._triggered(replace(before, trigger_seq=-1), now_ns, out)


class ForgetsTheRefusedRecipe(Contract):
    """Ready although the line has changed product."""

    @property
    def accepts(self) -> bool:
        return self.linked


class AcknowledgesByNumberAlone(Contract):
    """An acknowledgement frees lower numbers that were settled later, and that nobody has read."""

    def _acknowledged(self, now_ns: int, out: list) -> Contract:  # type: ignore[type-arg]
        upto = self.plc.result_ack_seq or 0
        kept = tuple(r for r in self.results.unread if (upto - r.trigger.trigger_seq) % self.modulus > 1)
        return replace(self, results=replace(self.results, unread=kept))
