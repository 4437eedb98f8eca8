"""The tag table: every name, type, length and writer of the PLC contract, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

TagType = Literal["Boolean", "UInt16", "UInt32", "Int32", "Float", "String", "DateTime"]
Value: TypeAlias = bool | int | float | str | tuple[int, ...] | tuple[float, ...]

INTERFACE_VERSION = 1
MAX_TEXT = 254
"""Longest string that every PLC family can hold."""
RING_ROWS = 16
RING_WORDS = 8
MAX_DEFECTS = 16


@dataclass(frozen=True)
class Tag:
    """One tag; `length` 0 is a scalar, otherwise a one-dimensional array of that length."""

    name: str
    type: TagType
    writer: Literal["station", "plc"]
    meaning: str
    length: int = 0

    @property
    def zero(self) -> Value:
        """The value before anything happened."""
        text, number = self.type in ("String", "DateTime"), 0.0 if self.type == "Float" else 0
        scalar: str | bool | float = "" if text else False if self.type == "Boolean" else number
        return (scalar,) * self.length if self.length else scalar  # type: ignore[return-value]


def _station(name: str, type: TagType, meaning: str, length: int = 0) -> Tag:
    return Tag(name, type, "station", meaning, length)


def _plc(name: str, type: TagType, meaning: str, length: int = 0) -> Tag:
    return Tag(name, type, "plc", meaning, length)


TAGS: tuple[Tag, ...] = (
    _station("Ident.InterfaceVersion", "UInt16", "Version of this tag table"),
    _station("Ident.SoftwareVersion", "String", "Version of edge-inspector"),
    _station("Ident.StationId", "String", "Name of the station"),
    _station("Status.Heartbeat", "UInt32", "+1 each 100 ms while the verdict path makes progress"),
    _station("Status.BootId", "UInt32", "Random at each start of the station"),
    _station(
        "Status.Word",
        "UInt16",
        "Bits: 0 Online 1 TriggerReady 2 TriggerAck 3 Acquiring 4 ExposureDone 5 Busy 6 ResultsValid 7 InspectionToggle"
        " 8 OverallOK 9 OverallNotOK 10 BufferOverrun 11 MissedTrigger 12 RecipeReady 13 Warning 14 Error 15 PlcLinkOk",
    ),
    _station("Status.Word2", "UInt16", "Bits: 0 GoldenReady 1 GoldenDue 2 LineStop 3 Alarm 4 ClockSynced 5 Degraded"),
    _station("Status.TriggerReady", "Boolean", "A trigger written now is accepted; 0 in Golden mode, see Word2"),
    _station("Status.Busy", "Boolean", "At least one part is being inspected"),
    _station("Status.ResultsValid", "Boolean", "Result.* belong together and to Result.TriggerSeq"),
    _station("Status.Error", "Boolean", "ErrorCode is not 0"),
    _station("Status.PlcLinkOk", "Boolean", "The PLC's heartbeat is fresh and BootIdEcho is right"),
    _station(
        "Status.State",
        "UInt16",
        "OPC 40100 state: 1 Preoperational 2 Halted 3 Error 4 Operational 5 Initialized 6 Ready 7 SingleExecution"
        " 8 ContinuousExecution",
    ),
    _station("Status.Mode", "UInt16", "1 Production 2 Golden 3 Simulation 4 Setup"),
    _station("Status.TriggerAckSeq", "UInt32", "The last accepted TriggerSeq; before the first, the baseline"),
    _station("Status.RefusedSeq", "UInt32", "The last refused TriggerSeq; before the first, the baseline"),
    _station("Status.RefusedReason", "Int32", "Why it was refused: a number of the reason table; 0 = none was"),
    _station("Status.ErrorCode", "Int32", "0 none, 1xx camera, 2xx engine, 3xx recipe, 4xx link, 5xx storage"),
    _station("Status.ErrorText", "String", "Why the station is not ready, or what is wrong, in words"),
    _station("Status.ActiveRecipe", "String", "Name of the recipe in use"),
    _station("Status.ActiveRecipeNo", "UInt16", "Its number"),
    _station("Status.RecipeReqAckSeq", "UInt32", "The last RecipeReqSeq that was answered"),
    _station("Status.RecipeReqResult", "Int32", "0 accepted, otherwise a number of the reason table"),
    _station("Status.CommandAckSeq", "UInt32", "The last CommandSeq that was answered"),
    _station("Status.CommandResult", "Int32", "0 done, 1 not supported, 2 refused"),
    _station("Status.LineStopReason", "Int32", "Why the line should stop; 0 = it need not"),
    _station(
        "Status.Block",
        "UInt32",
        "Heartbeat, BootId, Word + 65536*Word2, State + 65536*Mode, TriggerAckSeq, ErrorCode, ActiveRecipeNo,"
        " TriggerSeq of the newest result",
        8,
    ),
    _plc("Control.Heartbeat", "UInt32", "Must change within the configured time, or triggers are refused"),
    _plc(
        "Control.BootIdEcho",
        "UInt32",
        "Write Status.BootId here; until then all counts are baselines, Result.* reads 0",
    ),
    _plc(
        "Control.PlcBootId",
        "UInt32",
        "Random at each start of the PLC; a change asks for a new BootIdEcho and new counts",
    ),
    _plc(
        "Control.TriggerSeq",
        "UInt32",
        "+1 is a trigger; wraps at 2^32; write PartId first; no number twice in one PlcBootId",
    ),
    _plc("Control.PartId", "String", "Any text up to 254 characters; latched at the trigger"),
    _plc("Control.RecipeReq", "String", "Name of the wanted recipe; used when RecipeReqNo is 0"),
    _plc("Control.RecipeReqNo", "UInt16", "Number of the wanted recipe"),
    _plc("Control.RecipeReqSeq", "UInt32", "A change orders the recipe"),
    _plc(
        "Control.ResultAckSeq",
        "UInt32",
        "A change acknowledges the results up to this TriggerSeq that were there before it",
    ),
    _plc("Control.PartFeedback", "UInt16", "1 confirmed good, 2 confirmed bad"),
    _plc("Control.FeedbackSeq", "UInt32", "A change hands in PartFeedback for the part with this TriggerSeq"),
    _plc(
        "Control.Command",
        "UInt16",
        "1 Reset 2 Halt 3 SelectAutomatic 4 Abort 5 ClearCounters 6/7 Simulation on/off 8 GoldenRun 9 AckLineStop",
    ),
    _plc("Control.CommandSeq", "UInt32", "A change gives the command"),
    _plc(
        "Control.Block",
        "UInt32",
        "Heartbeat, PlcBootId, BootIdEcho, TriggerSeq, RecipeReqNo, RecipeReqSeq, ResultAckSeq,"
        " Command + 65536*(CommandSeq mod 65536)",
        8,
    ),
    _station("Result.TriggerSeq", "UInt32", "Whose result this is"),
    _station("Result.ResultId", "String", "<station>.<book>.<seq>: unique for ever"),
    _station("Result.BootId", "UInt32", "The station's boot id when the trigger was accepted"),
    _station("Result.PlcBootId", "UInt32", "The PLC's boot id when the trigger was accepted"),
    _station("Result.Evaluation", "UInt16", "0 UNDEFINED 1 OK 2 NOT_OK 3 NOT_DECIDABLE; 0 outside Production"),
    _station("Result.Mode", "UInt16", "The mode in which the part was inspected"),
    _station("Result.GoldenOutcome", "UInt16", "The evaluation outside Production"),
    _station("Result.Reason", "Int32", "A number of the reason table; 1000 + class index for a defect"),
    _station("Result.ReasonText", "String", "The same in words"),
    _station("Result.PartId", "String", "Echo of Control.PartId"),
    _station("Result.RecipeId", "String", "Recipe of this part"),
    _station("Result.RecipeNo", "UInt16", "Its number"),
    _station("Result.ModelHash", "String", "First 16 hex digits of the model bundle's hash"),
    _station("Result.ViewsExpected", "UInt16", "Pictures that the recipe asks for"),
    _station("Result.ViewsJudged", "UInt16", "Pictures that were judged"),
    _station("Result.DefectCount", "UInt16", "All defects, also those beyond the 16 listed"),
    _station("Result.DefectClass", "UInt16", "Class index", MAX_DEFECTS),
    _station("Result.DefectScore", "Float", "Confidence 0..1", MAX_DEFECTS),
    _station("Result.DefectBox", "Float", "x, y, width, height of each defect", 4 * MAX_DEFECTS),
    _station("Result.DefectView", "UInt16", "Index of the view in the recipe, from 1", MAX_DEFECTS),
    _station("Result.Unit", "String", "Unit of DefectBox: px or mm"),
    _station("Result.Score", "Float", "Highest confidence among the defects"),
    _station("Result.Threshold", "Float", "Lowest threshold in force"),
    _station("Result.CycleMs", "Float", "Trigger to verdict, ms"),
    _station("Result.AcquisitionMs", "Float", "Trigger to last picture, ms"),
    _station("Result.InferenceMs", "Float", "Inference of all views, ms"),
    _station("Result.TimeUtc", "DateTime", "When the trigger was accepted"),
    _station(
        "Result.Ring",
        "UInt32",
        "The last 16 results of 8 words: TriggerSeq, Evaluation + 256*Mode + 65536*flags (bit 0 rework, bit 1 settled"
        " after its deadline), Reason, RecipeNo, BootId, PlcBootId, CRC-32 of PartId (UTF-8), cycle in us",
        RING_ROWS * RING_WORDS,
    ),
    _station("Counter.Total", "UInt32", "Production results since the last ClearCounters"),
    _station("Counter.Ok", "UInt32", "OK among them"),
    _station("Counter.NotOk", "UInt32", "NOT_OK among them"),
    _station("Counter.NotDecidable", "UInt32", "NOT_DECIDABLE among them"),
    _station("Counter.Undefined", "UInt32", "UNDEFINED among them"),
    _station("Counter.Refused", "UInt32", "Refused triggers"),
    _station("Counter.Missed", "UInt32", "Skipped numbers of TriggerSeq"),
    _station("Counter.Unannounced", "UInt32", "Pictures that no trigger announced"),
    _station("Health.TempC", "Float", "Hottest sensor, degrees Celsius; 0 = unknown"),
    _station("Health.GpuLoad", "Float", "0..1; 0 = unknown"),
    _station("Health.DiskFreePct", "Float", "Free space of the state folder, percent; 0 = unknown"),
    _station("Health.QueueDepth", "UInt16", "Open inspections"),
    _station("Health.PowerMode", "String", "Name of the power mode"),
)

BY_NAME: Mapping[str, Tag] = {tag.name: tag for tag in TAGS}
ZEROS: Mapping[str, Value] = {tag.name: tag.zero for tag in TAGS if tag.writer == "station"}
