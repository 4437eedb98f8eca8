"""The last results, as OPC 40100-1 shows them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asyncua import ua

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason
from edge_inspector.outputs.opcua_server.machine_vision.address_space import AddressSpace
from edge_inspector.outputs.opcua_server.machine_vision.events import utc
from edge_inspector.plc.tags import MAX_DEFECTS, MAX_TEXT

KEPT = 100
"""Results that can still be asked for; the ledger has all of them."""
COMPLETED, ABORTED, FAILED = 1, 3, 4
"""ResultState."""


@dataclass(frozen=True)
class Job:
    """What a client said when it started a job; all empty for parts that it did not start."""

    job_id: str
    meas_id: str = ""
    product_id: str = ""


@dataclass(frozen=True)
class Kept:
    """One result and the job from which it came."""

    result: InspectionResult
    job: Job

    @property
    def state(self) -> int:
        """Completed whenever there is a word on the part, a reject included."""
        if self.result.evaluation is not Evaluation.UNDEFINED:
            return COMPLETED
        return ABORTED if self.result.reason is Reason.ABORTED else FAILED


class Results:
    """The last `KEPT` results by their id, oldest first."""

    def __init__(self, configuration: str) -> None:
        """`configuration` is the id of the only configuration that the station has."""
        self._configuration = configuration
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def keep(self, result: InspectionResult, job: Job) -> Kept:
        kept = self._kept[result.result_id] = Kept(result, job)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return kept

    def by_id(self, result_id: str) -> Kept | None:
        return self._kept.get(result_id)

    def matching(self, state: int, wanted: tuple[str, ...]) -> list[Kept]:
        """What GetResultListFiltered asks for, oldest first; 0 and empty ask for nothing.

        `wanted` in its order: ids of measurement, part, external and internal recipe and configuration, product, job.
        """
        return [
            kept
            for kept in self._kept.values()
            if state in (0, kept.state) and all(w in ("", has) for w, has in zip(wanted, self._ids(kept), strict=True))
        ]

    def _ids(self, kept: Kept) -> tuple[str, ...]:
        job, trigger, configuration = kept.job, kept.result.trigger, self._configuration
        recipes = (trigger.recipe, trigger.recipe)
        return (job.meas_id, trigger.part_id, *recipes, configuration, configuration, job.product_id, job.job_id)

    def fields(self, kept: Kept, space: AddressSpace) -> dict[str, Any]:
        """The fields of ResultDataType by name, and so of the event and of GetResultComponentsById."""
        result, trigger = kept.result, kept.result.trigger
        created = utc(trigger.wall_utc)
        ended = created + timedelta(microseconds=result.cycle_ms * 1000)
        return {
            "ResultId": space.structure("ResultIdDataType", result.result_id),
            "HasTransferableDataOnFile": False,
            "IsPartial": False,
            "IsSimulated": trigger.mode is not Mode.PRODUCTION,
            "ResultState": kept.state,
            "MeasId": space.structure("MeasIdDataType", kept.job.meas_id),
            "PartId": space.structure("PartIdDataType", trigger.part_id),
            "ExternalRecipeId": space.structure("RecipeIdExternalDataType", trigger.recipe),
            "InternalRecipeId": space.structure("RecipeIdInternalDataType", trigger.recipe),
            "ProductId": space.structure("ProductIdDataType", kept.job.product_id),
            "ExternalConfigurationId": space.structure("ConfigurationIdDataType", self._configuration),
            "InternalConfigurationId": space.structure("ConfigurationIdDataType", self._configuration),
            "JobId": space.structure("JobIdDataType", kept.job.job_id),
            "CreationTime": ended,
            "ProcessingTimes": space.cls("ProcessingTimesDataType")(
                StartTime=created,
                EndTime=ended,
                AcquisitionDuration=result.stage_ns.get("acquire", 0) / 1e6,
                ProcessingDuration=result.stage_ns.get("infer", 0) / 1e6,
            ),
            "ResultContent": content(result),
        }

    def event_fields(self, kept: Kept, space: AddressSpace) -> dict[str, ua.Variant]:
        """What ResultReadyEventType adds to BaseEventType."""
        fields = self.fields(kept, space)
        del fields["HasTransferableDataOnFile"]
        result_content = fields.pop("ResultContent")
        typed = {name: ua.Variant(one, _KINDS.get(type(one), _STRUCTURE)) for name, one in fields.items()}
        return {**typed, "ResultContent": ua.Variant(result_content, ua.VariantType.Variant, is_array=True)}


_STRUCTURE = ua.VariantType.ExtensionObject
_KINDS = {bool: ua.VariantType.Boolean, int: ua.VariantType.Int32, datetime: ua.VariantType.DateTime}


def content(result: InspectionResult) -> list[ua.Variant]:
    """ResultContent: evaluation (0 outside Production, as on every output), mode, reason and its text, defects.

    Evaluation UInt16, Mode UInt16, Reason Int32, ReasonText String, DefectCount UInt16, and of the first 16 defects
    their class names String[], scores Float[] and boxes Float[] (x, y, width, height in px, four a defect).
    """
    production = result.trigger.mode is Mode.PRODUCTION
    listed = result.defects[:MAX_DEFECTS]
    kinds = ua.VariantType
    return [
        ua.Variant(int(result.evaluation) if production else 0, kinds.UInt16),
        ua.Variant(int(result.trigger.mode), kinds.UInt16),
        ua.Variant(result.reason_no, kinds.Int32),
        ua.Variant(result.reason_text[:MAX_TEXT], kinds.String),
        ua.Variant(min(len(result.defects), 0xFFFF), kinds.UInt16),
        ua.Variant([d.class_name for d in listed], kinds.String, is_array=True),
        ua.Variant([d.score for d in listed], kinds.Float, is_array=True),
        ua.Variant([side for d in listed for side in d.box], kinds.Float, is_array=True),
    ]
