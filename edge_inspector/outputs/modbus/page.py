"""The register map as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable

from edge_inspector.outputs.modbus.registers import (
    BITS,
    CONTROL,
    CONTROL_END,
    CONTROL_START,
    IMAGE,
    IMAGE_END,
    MAP_VERSION,
    RING_ROW,
    Place,
)
from edge_inspector.plc.tags import BY_NAME, RING_ROWS

_INTRODUCTION = f"""\
# Modbus registers

Where each [tag](tags.md) stands in the registers of a link of type `modbus_server`. How the tags play together:
[connect a PLC](../how-to/connect-a-plc.md); how to set up the link: [Modbus TCP](../how-to/modbus.md).

Addresses are those of the request, counted from 0. A program that counts holding registers from 40001 adds 40001, one
that counts input registers from 30001 adds 30001. The addresses never change; register 0 is the version of this map,
now {MAP_VERSION}.

- Functions: 01 and 02 read the bits, 03 and 04 the registers (both the same ones), 06 and 16 write. All others are
  answered with exception 01.
- At most 125 registers a read, 123 a write. All registers of one request are of the same moment.
- UInt32, Int32 and Float take two registers. `word_order = "big"`: the high half has the lower address; `"little"`: the
  low half. Within a register the high byte comes first, always.
- Texts are UTF-8, two bytes a register, the first byte in the high half, filled up with 0; a longer text is cut at a
  whole character. `word_order` does not touch them.
- Result.TimeUtc: seconds since 1970-01-01 UTC as a UInt32, then milliseconds as a UInt16; 0 = none.
- A register between two tags reads 0.
"""


def register_map_markdown() -> str:
    """docs/reference/modbus-registers.md, without the line that says that it is generated."""
    return "\n".join(
        [
            _INTRODUCTION,
            f"## The station's registers: 0 to {IMAGE_END - 1}",
            "",
            "Read with function 03 or 04. Registers 0 to 103 hold all that the PLC's rule needs: one request.",
            "",
            *_table(IMAGE, f"| 0 | 1 | *version of this map* | UInt16 | {MAP_VERSION} |"),
            "",
            f"Result.Ring: row *n* (0 to {RING_ROWS - 1}) begins at 656 + {RING_ROW} *n*; seven rows fit into a read.",
            "",
            f"## The PLC's registers: {CONTROL_START} to {CONTROL_END - 1}",
            "",
            "Write with function 16; single 16-bit values also with 06. One request is taken whole or not at all:",
            "",
            "- Half of a 32-bit value, or a text from its middle on, is never taken: exception 02.",
            "- A text may be cut short: what follows in it is then empty. What is no UTF-8 becomes `?`.",
            "- All values of a request are taken at the same moment: PartId and TriggerSeq belong into one request.",
            "  A driver that splits it sends PartId first.",
            "- Registers from 2100 are taken only with `commands = true`, otherwise answered with exception 02.",
            "",
            *_table(CONTROL),
            "",
            "What is read here is what was taken last. `Control.Block` has no registers: these are a block already.",
            "",
            "## Bits: 0 to 31",
            "",
            "Read with function 01 or 02. The Boolean tags have no registers: they are among these.",
            "",
            "| address | bit |",
            "| --- | --- |",
            *_bits(),
            "",
        ]
    )


def _table(places: Iterable[Place], *first: str) -> list[str]:
    head = ["| address | registers | tag | type | meaning |", "| --- | --- | --- | --- | --- |", *first]
    return head + [
        f"| {place.address} | {place.registers} | `{place.tag.name}` | {_type(place)} | {place.tag.meaning} |"
        for place in places
    ]


def _type(place: Place) -> str:
    if place.tag.type == "String":
        return f"text, {2 * place.registers} bytes"
    return f"{place.tag.type}[{place.tag.length}]" if place.tag.length else place.tag.type


def _bits() -> list[str]:
    """The names stand in the tag's meaning: "Bits: 0 Online 1 TriggerReady ..."."""
    rows = []
    for word, name in enumerate(BITS):
        parts = BY_NAME[name].meaning.removeprefix("Bits: ").split()
        named = zip(parts[0::2], parts[1::2], strict=True)
        rows += [f"| {16 * word + int(bit)} | {meaning} (`{name}` bit {bit}) |" for bit, meaning in named]
    return rows
