"""A small world around the shipped contract and function block: what a moment of it is, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from edge_inspector.datatypes import Mode, Trigger
from edge_inspector.interfaces import (
    RecipeRequest,
    TriggerRequest,
)
from edge_inspector.plc.function_block import FunctionBlock
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.results import Results
from edge_inspector.plc.states import STARTING
from edge_inspector.plc.tags import Value

FIT = replace(STARTING, ready=True, recipe="r1", recipe_no=1, recipe_ready=True, error_text="")
MODULUS = 4
BEFORE_THE_WRAP = 2
"""Where the PLC's count stands first: its second trigger has the number 0."""
ANSWER, STALE, GATE = 2, 5, 8
"""Time-outs of both sides; the units mean nothing."""
KNOWN_RECIPES = (1, 2)
UNKNOWN_RECIPE = 9


@dataclass(frozen=True)
class Bounds:
    """What may happen, and how often; everything else may happen in any order."""

    triggers: int = 2
    station_restarts: int = 0
    plc_restarts: int = 0
    jumps: tuple[int, ...] = ()
    """By how much time may jump, each once and in any order."""
    orders: tuple[int, ...] = ()
    """Recipes that the PLC may order, in this order."""
    mode: Mode | None = None
    """A mode to which the station may go once, and come back."""
    meddles: bool = False
    """Somebody else selects another recipe, once."""
    tears_reads: bool = False
    """The tags of a scan are read in two requests, also while those of the scan before are still being written."""
    any_order: bool = False
    """Tags of one scan are written in any order, PartId before TriggerSeq; otherwise in the order of the block."""
    may_refuse: bool = False
    impatient: bool = False
    """The PLC announces parts whenever it is linked; each part takes its own picture."""
    leaves: bool = False
    """Parts leave their gate, and are forgotten, at any time after their announcement."""
    late_wire: bool = False
    """What a scan had still to write when a side restarted may arrive afterwards."""
    max_open: int = 2
    buffer: int = 8
    ring: int = 4


Key = tuple[int, int, int]
"""Boot id, the PLC's boot id, TriggerSeq: no two accepted parts share it."""


class Truth(NamedTuple):
    """Which part was really looked at, whether it was found good in Production, and with which recipe."""

    shows: str
    good: bool
    recipe_no: int


class Open(NamedTuple):
    """An accepted part: `shows` is the part that stood in front of the cameras."""

    trigger: Trigger
    shows: str


class World(NamedTuple):
    """One moment. `wire` is what the PLC has still to write of its last scan, `sent` what it wrote last of each tag."""

    bounds: Bounds
    contract: Contract
    block: FunctionBlock
    now: int = 0
    queue: tuple[TriggerRequest | RecipeRequest, ...] = ()
    open: tuple[Open, ...] = ()
    half: tuple[tuple[str, Value], ...] = ()
    seen: tuple[tuple[str, Value], ...] = ()
    wire: tuple[tuple[str, Value], ...] = ()
    sent: tuple[tuple[str, Value], ...] = ()
    present: str = ""
    announced: int = 0
    recipe: int = 1
    refused: bool = False
    mode: Mode = Mode.PRODUCTION
    truth: tuple[tuple[Key, Truth], ...] = ()
    """Every verdict."""
    jumped: int = 0
    station_restarts: int = 0
    plc_restarts: int = 0
    ordered: int = 0
    moded: int = 0
    meddled: bool = False


Move: TypeAlias = "tuple[str, World]"


def start(bounds: Bounds, contract: Contract, block: FunctionBlock) -> World:
    """Both sides have just started."""
    fresh = replace(contract, results=Results(buffer=bounds.buffer, ring=(None,) * bounds.ring))
    return World(bounds, fresh.told(FIT, 0), block)


def a_contract(acknowledge: bool = True) -> Contract:
    return Contract(1, acknowledge=acknowledge, stale_ns=STALE, hold_ns=ANSWER, modulus=MODULUS)


def key_of(trigger: Trigger) -> Key:
    return trigger.boot_id, trigger.plc_boot_id, trigger.trigger_seq
