"""Any interleaving of scans, torn and repeated and late writes, restarts and results: no part passes on another's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from contract_parts import READY, SECOND, TOP
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason, Trigger
from edge_inspector.interfaces import (
    Alive,
    PlcRequest,
    RecipeAnswer,
    RecipeRequest,
    RefusedByLink,
    ResultAcknowledged,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
)
from edge_inspector.plc.function_block import READS, FunctionBlock
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import changes, image
from edge_inspector.plc.sequence import ahead
from edge_inspector.plc.tags import Value

MS = 1_000_000
GATE_MS, ANSWER_MS, STALE_MS = 1500, 500, 1000
MOST_OPEN = 3
SELDOM = st.sampled_from([False] * 6 + [True])
"""Faults that come in every second step let nothing else happen."""
WORDS = ("Heartbeat", "PlcBootId", "BootIdEcho", "TriggerSeq", "RecipeReqNo", "RecipeReqSeq", "ResultAckSeq")
Key = tuple[int, int, int]


class PlcAndStation(RuleBasedStateMachine):
    """The shipped function block against the shipped contract; the machine alone knows what each picture showed."""

    @initialize(
        through=st.sampled_from(["slot", "ring"]),
        acknowledge=st.booleans(),
        seq=st.sampled_from([0, 1, 2**31 - 2, TOP - 1, TOP]),
        cut=st.integers(0, 20),
        checks_part_id=st.booleans(),
        calm=st.sampled_from([0, 4, 4, 5]),
    )
    def start(self, through: str, acknowledge: bool, seq: int, cut: int, checks_part_id: bool, calm: int) -> None:
        self.now, self.boot, self.plc_boot, self.first_seq = 0, 1, 1, seq
        self.cut, self.mode, self.recipe, self.refused = cut, Mode.PRODUCTION, 1, False
        self.contract = Contract(self.boot, acknowledge, STALE_MS * MS)
        self.block = FunctionBlock(
            1, 1, GATE_MS * MS, ANSWER_MS * MS, STALE_MS * MS, acknowledge,
            "slot" if through == "slot" else "ring", one_read=False, checks_part_id=checks_part_id, seq=seq,
        )  # fmt: skip
        self.half: dict[str, Value] = {}
        self.wire: dict[str, Value] = {}
        self.sent: dict[str, Value] = {}
        self.requests: list[dict[str, Value]] = []
        self.queue: list[PlcRequest] = []
        self.open: list[tuple[Trigger, int]] = []
        self.announced = self.present = 0
        self.truth: dict[Key, tuple[int, bool, int]] = {}
        self.accepted: list[Key] = []
        self.unread: set[str] = set()
        self.tell_status()
        for _ in range(calm):
            self.all_is_as_it_should_be("nothing")

    @rule(wants=st.sampled_from(["a part", "nothing"]))
    def all_is_as_it_should_be(self, wants: str) -> None:
        """A whole scan that writes every tag, and the station answers at once."""
        self.sent = {}
        self.now += 20 * MS
        self.contract = self.contract.told(Alive(), self.now)
        self.half = {}
        self.plc_reads_the_rest_and_scans(wants)
        values, self.wire = self.wire, {}
        self.requests = [*self.requests[-5:], values]
        self.write(values)
        while self.queue:
            self.station_answers(willing=True)

    @precondition(lambda self: self.open)
    @rule(evaluation=st.sampled_from([Evaluation.OK, Evaluation.OK, Evaluation.NOT_OK]))
    def the_oldest_part_settles_and_the_plc_reads_it(self, evaluation: Evaluation) -> None:
        self.station_settles(0, evaluation)
        self.all_is_as_it_should_be("nothing")
        self.all_is_as_it_should_be("nothing")

    # --- the PLC ---

    @rule()
    def plc_reads_some(self) -> None:
        self.half = {name: self.tags()[name] for name in READS[self.block.through][: self.cut]}

    @rule(wants=st.sampled_from([*["nothing", "a part", "a part"] * 3, "recipe 1", "recipe 2", "recipe 9"]))
    def plc_reads_the_rest_and_scans(self, wants: str) -> None:
        """What the scan before has not written by now is never written."""
        self.block = self.block.scanned({**self.tags(), **self.half}, self.now)
        self.half = {}
        if wants == "a part" and self.block.ready:
            self.announced += 1
            self.present = self.announced
            self.block = self.block.announce(f"part {self.announced}", self.now)
        elif wants.startswith("recipe"):
            self.block = self.block.order(int(wants[-1]))
        writes = self.block.writes()
        self.wire |= {name: value for name, value in writes.items() if self.sent.get(name) != value}
        self.sent |= writes

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def plc_writes(self, data: st.DataObject) -> None:
        """Some of what waits, in any order but PartId before TriggerSeq; at times as a block."""
        names = data.draw(st.lists(st.sampled_from(sorted(self.wire)), min_size=1, unique=True))
        if "Control.TriggerSeq" in names and "Control.PartId" in self.wire:
            names.append("Control.PartId")
        values = {name: self.wire.pop(name) for name in dict.fromkeys(names)}
        if not self.wire and data.draw(st.booleans()):
            words = tuple(self.sent.get(f"Control.{name}", 0) for name in WORDS)
            values["Control.Block"] = (*words, 0)  # type: ignore[assignment]
        self.requests = [*self.requests[-5:], values]
        self.write(values)

    @precondition(lambda self: self.requests)
    @rule(now=SELDOM, which=st.integers(0, 5))
    def an_old_write_comes_again(self, now: bool, which: int) -> None:
        if now:
            self.write(self.requests[which % len(self.requests)])

    @precondition(lambda self: self.block.parts)
    @rule()
    def a_part_leaves(self) -> None:
        self.block = self.block.left(self.block.parts[0].seq)

    @rule(now=SELDOM, retains=st.booleans())
    def plc_restarts(self, now: bool, retains: bool) -> None:
        if not now:
            return
        self.plc_boot += 1
        seq = self.block.seq if retains else self.first_seq
        self.block = replace(self.block.restarted(self.plc_boot), seq=seq)
        self.half, self.wire, self.sent, self.requests = {}, {}, {}, []

    # --- the station ---

    @rule(by_ms=st.sampled_from([*[1, 20, 100] * 4, 300, 600, 1600]))
    def time_passes(self, by_ms: int) -> None:
        self.now += by_ms * MS
        self.contract, requests = self.contract.ticked(self.now)
        self.take(requests)

    @rule()
    def station_beats(self) -> None:
        self.contract = self.contract.told(Alive(), self.now)

    @precondition(lambda self: self.queue)
    @rule(willing=st.booleans())
    def station_answers(self, willing: bool) -> None:
        request = self.queue.pop(0)
        if isinstance(request, RecipeRequest):
            self.refused = request.number not in (1, 2)
            self.recipe = self.recipe if self.refused else request.number
            answer = RecipeAnswer(request.seq, not self.refused, Reason.RECIPE if self.refused else Reason.NONE)
            self.contract = self.contract.told(answer, self.now)
        elif isinstance(request, TriggerRequest):
            if self.refused or len(self.open) == MOST_OPEN or not willing:
                self.contract = self.contract.told(TriggerRefused(request.trigger_seq, Reason.OVERLOAD), self.now)
            else:
                self.open.append((self.trigger(request), self.present))
                self.accepted.append((self.boot, request.plc_boot_id, request.trigger_seq))
                self.contract = self.contract.told(TriggerAccepted(request.trigger_seq), self.now)
        self.tell_status()

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 9), evaluation=st.sampled_from([Evaluation.OK, *Evaluation]))
    def station_settles(self, which: int, evaluation: Evaluation) -> None:
        trigger, shows = self.open.pop(which % len(self.open))
        good = evaluation is Evaluation.OK and trigger.mode is Mode.PRODUCTION
        self.truth[trigger.boot_id, trigger.plc_boot_id, trigger.trigger_seq] = shows, good, trigger.recipe_no
        if self.contract.acknowledge and trigger.plc_boot_id == self.contract.plc.plc_boot_id:
            self.unread.add(trigger.result_id)
        result = InspectionResult(trigger, evaluation, Reason.NONE, "", (), ("a",), 1, (0.5,), "h", self.now, {})
        self.contract = self.contract.told(result, self.now)
        self.tell_status()

    @rule(mode=st.sampled_from([*[Mode.PRODUCTION] * 6, Mode.GOLDEN, Mode.SIMULATION, Mode.SETUP]))
    def somebody_changes_the_mode(self, mode: Mode) -> None:
        self.mode = mode
        self.tell_status()

    @rule(now=SELDOM)
    def station_restarts(self, now: bool) -> None:
        if not now:
            return
        self.boot += 1
        self.contract = Contract(self.boot, self.contract.acknowledge, STALE_MS * MS)
        self.queue, self.open, self.unread = [], [], set()
        self.mode, self.recipe, self.refused = Mode.PRODUCTION, 1, False
        self.half, self.wire, self.sent, self.requests = {}, {}, {}, []  # the connection is lost with it
        self.tell_status()

    # --- between them ---

    def tags(self) -> Mapping[str, Value]:
        return {**image(self.contract), "Status.BootId": self.contract.boot_id}

    def write(self, values: dict[str, Value]) -> None:
        before = self.contract
        self.contract, requests = before.written(values, self.now)
        self.take(requests)
        self.each_trigger_is_asked_or_refused_once(before, values, requests)

    def take(self, requests: tuple[PlcRequest, ...]) -> None:
        self.queue += [one for one in requests if isinstance(one, TriggerRequest | RecipeRequest)]
        for one in requests:
            if isinstance(one, ResultAcknowledged):
                assert self.unread >= set(one.result_ids), "acknowledged twice, or never told"
                self.unread -= set(one.result_ids)
        if self.contract.plc.plc_boot_id != self.plc_boot or not self.contract.greeted:
            self.unread &= {r.result_id for r in self.contract.results.unread}

    def each_trigger_is_asked_or_refused_once(
        self, before: Contract, values: dict[str, Value], requests: tuple[PlcRequest, ...]
    ) -> None:
        after, last = self.contract, before.last_seq
        named = [
            one.trigger_seq
            for one in requests
            if isinstance(one, TriggerRequest) or (isinstance(one, RefusedByLink) and one.reason is not Reason.MISSED)
        ]
        known = before.greeted and after.greeted and before.plc.plc_boot_id == after.plc.plc_boot_id
        seq = after.plc.trigger_seq
        if known and last is not None and seq not in (before.plc.trigger_seq, last):
            first = not before.plc.counted and ahead(seq, last) != 1
            assert named == ([] if first else [seq])
        else:
            assert named == []

    def trigger(self, request: TriggerRequest) -> Trigger:
        key = f"{self.boot}.{request.plc_boot_id}.{request.trigger_seq}"
        return Trigger(
            len(self.accepted), key, request.trigger_seq, request.part_id, 1, self.mode, f"r{self.recipe}",
            self.recipe, self.boot, request.plc_boot_id, self.now, self.now + SECOND, "2026-11-22T00:00:00.000Z", True,
        )  # fmt: skip

    def tell_status(self) -> None:
        fit = not self.refused and len(self.open) < MOST_OPEN
        status = replace(READY, ready=fit, mode=self.mode, recipe_no=self.recipe, recipe_ready=not self.refused)
        self.contract = self.contract.told(status, self.now)

    # --- what holds ---

    @invariant()
    def no_part_passes_but_a_good_one_that_was_looked_at(self) -> None:
        for part in self.block.parts:
            if self.block.at_gate(part.seq, self.now):
                key = (self.block.station_boot_id, self.block.plc_boot_id, part.seq)
                assert self.truth[key] == (int(part.part_id.removeprefix("part ")), True, part.recipe_no)

    @invariant()
    def no_number_is_accepted_twice(self) -> None:
        assert len(set(self.accepted)) == len(self.accepted)

    @invariant()
    def the_outputs_say_ok_of_good_parts_alone(self) -> None:
        tags = self.tags()
        shown = (tags["Result.BootId"], tags["Result.PlcBootId"], tags["Result.TriggerSeq"])
        good = {key for key, (_, fine, _) in self.truth.items() if fine}
        word = tags["Status.Word"]
        assert isinstance(word, int)
        if word >> 8 & 1 or tags["Result.Evaluation"] == 1:
            assert shown in good
            assert tags["Status.ResultsValid"]
        ring = tags["Result.Ring"]
        assert isinstance(ring, tuple)
        for row in range(0, len(ring), 8):
            if int(ring[row + 1]) & 0xFF == 1:
                assert (ring[row + 4], ring[row + 5], ring[row]) in good

    @invariant()
    def ready_means_that_a_trigger_is_forwarded(self) -> None:
        if self.tags()["Status.TriggerReady"]:
            seq = ((self.contract.last_seq or 0) + 1) % 2**32
            _, requests = self.contract.written({"Control.TriggerSeq": seq}, self.now)
            assert [type(one) for one in requests] == [TriggerRequest]

    @invariant()
    def nothing_can_be_read_before_the_echo(self) -> None:
        if self.contract.plc.boot_id_echo != self.boot:
            tags = self.tags()
            assert not tags["Status.ResultsValid"]
            assert not tags["Status.TriggerReady"]
            assert not any(tags["Result.Ring"])  # type: ignore[arg-type]

    @invariant()
    def what_changed_is_all_that_is_written(self) -> None:
        other = replace(self.contract, heartbeat=self.contract.heartbeat + 1, results=self.contract.results.emptied())
        old, new = image(other), image(self.contract)
        assert {**old, **dict(changes(old, new))} == new


PlcAndStation.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestAnyInterleaving = PlcAndStation.TestCase
