"""The tag image: what every tag that the station writes reads, given the contract."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from edge_inspector.datatypes import ERROR_CODE, Evaluation, Identity, InspectionResult, Mode, Reason
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.states import State, resting_state
from edge_inspector.plc.tags import INTERFACE_VERSION, MAX_DEFECTS, MAX_TEXT, RING_WORDS, ZEROS, Value

_RESULT_ZEROS = {name: zero for name, zero in ZEROS.items() if name.startswith("Result.") and name != "Result.Ring"}
_FLAGS_LAST = ("Status.Word", "Status.ResultsValid", "Status.TriggerReady")


def identity_image(identity: Identity) -> dict[str, Value]:
    """The tags that never change while the station runs."""
    return {
        "Ident.InterfaceVersion": INTERFACE_VERSION,
        "Ident.SoftwareVersion": identity.software_version,
        "Ident.StationId": identity.station,
        "Status.BootId": identity.boot_id,
    }


def image(contract: Contract) -> dict[str, Value]:
    """Every changing tag; the status flags come last, so that data is in place when ResultsValid rises.

    Until the PLC has echoed our boot id, TriggerReady and Result.* read zero.
    """
    status = contract.status
    error_code, error_text = _error(contract)
    word, word2 = _word(contract, error_code), _word2(contract)
    state = int(_state(contract, error_code))
    tags: dict[str, Value] = dict(_RESULT_ZEROS if contract.shown is None else result_image(contract.shown))
    tags["Result.Ring"] = _ring(contract)
    ok, not_ok, undecidable, undefined = (
        contract.counters.by_evaluation[e]
        for e in (Evaluation.OK, Evaluation.NOT_OK, Evaluation.NOT_DECIDABLE, Evaluation.UNDEFINED)
    )
    newest = contract.ring[(contract.ring_count - 1) % len(contract.ring)]
    tags |= {
        "Counter.Total": (ok + not_ok + undecidable + undefined) % 2**32,
        "Counter.Ok": ok,
        "Counter.NotOk": not_ok,
        "Counter.NotDecidable": undecidable,
        "Counter.Undefined": undefined,
        "Counter.Refused": contract.counters.refused,
        "Counter.Missed": contract.counters.missed,
        "Counter.Unannounced": contract.counters.unannounced,
        "Health.QueueDepth": status.queue_depth,
        "Status.Heartbeat": contract.heartbeat,
        "Status.State": state,
        "Status.Mode": int(status.mode),
        "Status.RefusedSeq": contract.refused_seq,
        "Status.RefusedReason": int(contract.refused_reason),
        "Status.ErrorCode": error_code,
        "Status.ErrorText": error_text[:MAX_TEXT],
        "Status.ActiveRecipe": status.recipe,
        "Status.ActiveRecipeNo": status.recipe_no,
        "Status.RecipeReqAckSeq": contract.recipe_ack[0],
        "Status.RecipeReqResult": contract.recipe_ack[1],
        "Status.CommandAckSeq": contract.command_ack[0],
        "Status.CommandResult": contract.command_ack[1],
        "Status.Error": error_code != 0,
        "Status.PlcLinkOk": contract.linked,
        "Status.Busy": status.busy,
        "Status.Word2": word2,
        "Status.TriggerAckSeq": contract.trigger_ack_seq,
        "Status.Block": (
            contract.heartbeat,
            contract.boot_id,
            word | word2 << 16,
            state | int(status.mode) << 16,
            contract.trigger_ack_seq,
            error_code,
            status.recipe_no,
            newest.trigger.trigger_seq if newest is not None else 0,
        ),
        "Status.Word": word,
        "Status.ResultsValid": contract.shown is not None,
        "Status.TriggerReady": contract.ready,
    }
    return tags


def changes(old: Mapping[str, Value], new: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """What must be written, in order: falling flags first, then data, then rising flags."""
    changed = [(name, value) for name, value in new.items() if old.get(name) != value]
    falls = old.get("Status.ResultsValid") is True and not new["Status.ResultsValid"]
    flags = [c for c in changed if c[0] in _FLAGS_LAST]
    data = [c for c in changed if c[0] not in _FLAGS_LAST]
    return [*flags, *data] if falls else [*data, *flags]


def result_image(r: InspectionResult) -> dict[str, Value]:
    """Result.* of one result. Outside Production the evaluation reads 0 and stands in GoldenOutcome instead."""
    production = r.trigger.mode is Mode.PRODUCTION
    listed = r.defects[:MAX_DEFECTS]
    unused = MAX_DEFECTS - len(listed)
    return {
        "Result.TriggerSeq": r.trigger.trigger_seq,
        "Result.ResultId": r.result_id,
        "Result.BootId": r.trigger.boot_id,
        "Result.PlcBootId": r.trigger.plc_boot_id,
        "Result.Evaluation": int(r.evaluation) if production else 0,
        "Result.Mode": int(r.trigger.mode),
        "Result.GoldenOutcome": 0 if production else int(r.evaluation),
        "Result.Reason": r.reason_no,
        "Result.ReasonText": r.reason_text[:MAX_TEXT],
        "Result.PartId": r.trigger.part_id,
        "Result.RecipeId": r.trigger.recipe,
        "Result.RecipeNo": r.trigger.recipe_no,
        "Result.ModelHash": r.model_hash[:16],
        "Result.ViewsExpected": r.views_expected,
        "Result.ViewsJudged": r.views_judged,
        "Result.DefectCount": min(len(r.defects), 0xFFFF),
        "Result.DefectClass": (*(d.class_id for d in listed), *[0] * unused),
        "Result.DefectScore": (*(d.score for d in listed), *[0.0] * unused),
        "Result.DefectBox": (*(side for d in listed for side in d.box), *[0.0] * (4 * unused)),
        "Result.DefectView": (*(r.views.index(d.camera) + 1 for d in listed), *[0] * unused),
        "Result.Unit": "px",
        "Result.Score": r.max_score,
        "Result.Threshold": min(r.thresholds, default=0.0),
        "Result.CycleMs": r.cycle_ms,
        "Result.AcquisitionMs": r.stage_ns.get("acquire", 0) / 1e6,
        "Result.InferenceMs": r.stage_ns.get("infer", 0) / 1e6,
        "Result.TimeUtc": r.trigger.wall_utc,
    }


def _ring(contract: Contract) -> tuple[int, ...]:
    words: list[int] = []
    for r in contract.ring:
        words += [0] * RING_WORDS if r is None else _ring_row(r)
    return tuple(words)


def _ring_row(r: InspectionResult) -> list[int]:
    evaluation = int(r.evaluation) if r.trigger.mode is Mode.PRODUCTION else 0
    flags = int(r.trigger.attempt > 1)
    return [
        r.trigger.trigger_seq,
        evaluation | int(r.trigger.mode) << 8 | flags << 16,
        r.reason_no,
        r.trigger.recipe_no,
        r.trigger.boot_id,
        r.trigger.plc_boot_id,
        zlib.crc32(r.trigger.part_id.encode()),
        min(max(0, round(r.cycle_ms * 1000)), 2**32 - 1),
    ]


def _word(c: Contract, error_code: int) -> int:
    acknowledged = c.accepted and c.trigger_ack_seq == c.plc.trigger_seq
    valid = c.shown is not None
    bits = (
        True,
        c.ready,
        acknowledged,
        c.status.acquiring,
        c.exposure_done,
        c.status.busy,
        valid,
        c.toggle,
        c.overall_ok,
        valid and not c.overall_ok,
        c.overrun,
        c.missed,
        c.status.recipe_ready,
        c.status.warning,
        error_code != 0,
        c.linked,
    )
    return sum(1 << i for i, bit in enumerate(bits) if bit)


def _word2(c: Contract) -> int:
    golden_ready = c.status.mode is Mode.GOLDEN and c.ready
    return int(golden_ready) | int(c.status.clock_synced) << 4


def _state(c: Contract, error_code: int) -> State:
    """`Ready` means that a trigger written now is accepted on this link."""
    resting = State.Error if error_code else resting_state(c.status)
    if resting is not State.Ready:
        return resting
    return State.SingleExecution if c.status.busy else State.Ready if c.ready else State.Initialized


def _error(c: Contract) -> tuple[int, str]:
    """The station's error, or else what is wrong with this link."""
    if c.status.error_code:
        return c.status.error_code, c.status.error_text
    if c.overrun:
        return ERROR_CODE[Reason.BUFFER_OVERRUN], "results were not acknowledged in time; acknowledge them or Reset"
    if c.echoed and not c.alive:
        return ERROR_CODE[Reason.PLC_LINK], "Control.Heartbeat does not change any more"
    return 0, c.status.error_text
