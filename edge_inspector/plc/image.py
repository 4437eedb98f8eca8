"""The tag image: what every tag that the station writes reads, given the contract."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from edge_inspector.datatypes import ERROR_CODE, Identity, InspectionResult, Mode, Reason
from edge_inspector.plc.answers import Answers
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.states import State, resting_state
from edge_inspector.plc.tags import INTERFACE_VERSION, MAX_DEFECTS, MAX_TEXT, RING_WORDS, ZEROS, Value

_RESULT_ZEROS = {name: zero for name, zero in ZEROS.items() if name.startswith("Result.")}
_FLAGS_LAST = ("Status.Word", "Status.ResultsValid", "Status.TriggerReady")
_VITALS = {
    "Health.TempC": "temp_c",
    "Health.GpuLoad": "gpu_load",
    "Health.DiskFreePct": "disk_free_pct",
    "Health.PowerMode": "power_mode",
}
_REWORK, _LATE = 1, 2


def identity_image(identity: Identity) -> dict[str, Value]:
    """The tags that never change while the station runs."""
    return {
        "Ident.InterfaceVersion": INTERFACE_VERSION,
        "Ident.SoftwareVersion": identity.software_version,
        "Ident.StationId": identity.station,
        "Status.BootId": identity.boot_id,
    }


def uncertain(contract: Contract) -> frozenset[str]:
    """The tags of the station whose value says nothing: Health.* that is not known here."""
    return frozenset(name for name, field in _VITALS.items() if getattr(contract.vitals, field) is None)


def image(contract: Contract) -> dict[str, Value]:
    """Every changing tag; the status flags come last, so that data is in place when ResultsValid rises.

    Until the PLC has greeted us, TriggerReady, ResultsValid, Result.* with its ring, and every answer to the PLC
    (TriggerAckSeq, RefusedSeq, RecipeReqAckSeq, CommandAckSeq and what belongs to them) read zero.
    """
    status, shown, counters = contract.status, contract.shown, contract.counters
    answers = contract.answers if contract.greeted else Answers()
    error_code, error_text = _error(contract)
    word, word2 = _word(contract, answers, error_code), _word2(contract)
    state = int(_state(contract, error_code))
    newest = contract.results.newest if contract.greeted else None
    tags: dict[str, Value] = dict(_RESULT_ZEROS if shown is None else result_image(shown))
    if contract.greeted:
        tags["Result.Ring"] = _ring(contract)
    tags |= {name: getattr(contract.vitals, field) or ZEROS[name] for name, field in _VITALS.items()}
    tags |= {
        "Counter.Total": counters.total,
        "Counter.Ok": counters.ok,
        "Counter.NotOk": counters.not_ok,
        "Counter.NotDecidable": counters.not_decidable,
        "Counter.Undefined": counters.undefined,
        "Counter.Refused": counters.refused,
        "Counter.Missed": counters.missed,
        "Counter.Unannounced": counters.unannounced,
        "Health.QueueDepth": status.queue_depth,
        "Status.Heartbeat": contract.heartbeat,
        "Status.State": state,
        "Status.Mode": int(status.mode),
        "Status.RefusedSeq": answers.refused_seq,
        "Status.RefusedReason": int(answers.refused_reason),
        "Status.ErrorCode": error_code,
        "Status.ErrorText": error_text[:MAX_TEXT],
        "Status.ActiveRecipe": status.recipe,
        "Status.ActiveRecipeNo": status.recipe_no,
        "Status.RecipeReqAckSeq": answers.recipe_ack[0],
        "Status.RecipeReqResult": answers.recipe_ack[1],
        "Status.CommandAckSeq": answers.command_ack[0],
        "Status.CommandResult": answers.command_ack[1],
        "Status.LineStopReason": status.line_stop,
        "Status.Error": error_code != 0,
        "Status.PlcLinkOk": contract.linked,
        "Status.Busy": status.busy,
        "Status.Word2": word2,
        "Status.TriggerAckSeq": answers.trigger_ack_seq,
        "Status.Block": (
            contract.heartbeat,
            contract.boot_id,
            word | word2 << 16,
            state | int(status.mode) << 16,
            answers.trigger_ack_seq,
            error_code,
            status.recipe_no,
            newest.trigger.trigger_seq if newest is not None else 0,
        ),
        "Status.Word": word,
        "Status.ResultsValid": shown is not None,
        "Status.TriggerReady": _trigger_ready(contract),
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
    for r in contract.results.ring:
        words += [0] * RING_WORDS if r is None else _ring_row(r)
    return tuple(words)


def _ring_row(r: InspectionResult) -> list[int]:
    evaluation = int(r.evaluation) if r.trigger.mode is Mode.PRODUCTION else 0
    flags = _REWORK * (r.trigger.attempt > 1) | _LATE * (r.settled_ns > r.trigger.deadline_ns)
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


def _trigger_ready(c: Contract) -> bool:
    """Golden parts have a bit of their own, so that no production part is sent in among them."""
    return c.accepts and c.status.mode is not Mode.GOLDEN


def _word(c: Contract, answers: Answers, error_code: int) -> int:
    valid = c.shown is not None
    bits = (
        True,
        _trigger_ready(c),
        answers.accepted and answers.trigger_ack_seq == c.plc.trigger_seq,
        c.status.acquiring,
        answers.exposure_done,
        c.status.busy,
        valid,
        c.results.toggle,
        c.overall_ok,
        valid and not c.overall_ok,
        c.results.overrun,
        c.missed,
        c.status.recipe_ready and not c.recipe_refused,
        c.status.warning or c.bad_feedback is not None,
        error_code != 0,
        c.linked,
    )
    return sum(1 << i for i, bit in enumerate(bits) if bit)


def _word2(c: Contract) -> int:
    bits = (
        c.accepts and c.status.mode is Mode.GOLDEN,
        c.status.golden_due,
        c.status.line_stop != 0,
        c.status.alarm,
        c.status.clock_synced,
        c.status.degraded,
    )
    return sum(1 << i for i, bit in enumerate(bits) if bit)


def _state(c: Contract, error_code: int) -> State:
    """`Ready` means that a trigger written now is accepted on this link."""
    resting = State.Error if error_code else resting_state(c.status)
    if resting is not State.Ready:
        return resting
    return State.SingleExecution if c.status.busy else State.Ready if c.accepts else State.Initialized


def _error(c: Contract) -> tuple[int, str]:
    """The station's error, or else what is wrong with this link; a text without a code says why it is not ready."""
    if c.status.error_code:
        return c.status.error_code, c.status.error_text
    if c.recipe_refused:
        return ERROR_CODE[Reason.RECIPE], "the ordered recipe was refused; order one that this station has"
    if c.results.overrun:
        return ERROR_CODE[Reason.BUFFER_OVERRUN], "results were not acknowledged in time; acknowledge them or Reset"
    if c.greeted and not c.linked:
        return ERROR_CODE[Reason.PLC_LINK], "Control.Heartbeat does not change any more"
    return 0, c.status.error_text or _advice(c)


def _advice(c: Contract) -> str:
    """What the PLC should do next or otherwise, in words."""
    if c.plc.boot_id_echo not in (0, c.boot_id):
        return f"Control.BootIdEcho is {c.plc.boot_id_echo}, expected {c.boot_id}: echo Status.BootId"
    if c.bad_feedback is not None:
        return f"Control.PartFeedback was {c.bad_feedback}, expected 1 (good) or 2 (bad): ignored"
    return ""
