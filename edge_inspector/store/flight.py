"""The flight record: what was accepted and decided, kept in a memory-mapped file until the ledger has it."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import mmap
import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from edge_inspector.datatypes import InspectionResult, Refusal, Trigger
from edge_inspector.errors import StorageError

SLOT_BYTES = 4096  # a trigger needs about 400 bytes (2.3 kB at worst), a verdict 300 and 130 for each defect
PART_ID_CHARS = 254  # the longest part id of the PLC contract

_MAGIC = b"EI-FLGHT"
_VERSION = 1
_HEADER = struct.Struct("<8sIIII")  # magic, version, bytes of a slot, slots, CRC-32 of what stands before
_HEADER_BYTES = 64
_SLOT = struct.Struct("<QIIII")  # order, length and CRC-32 of the trigger, length and CRC-32 of the verdict
_SLOT_AT = 8  # the state byte is alone in the first word: it is written last, by itself
_BODY_AT = 32
_BODY_BYTES = SLOT_BYTES - _BODY_AT
_FREE, _TRIGGER, _REFUSAL, _VERDICT, _TOLD = range(5)
_REASON_TEXT_CHARS = 200  # what is left of a reason when the slot is too small for all of it

_TRIGGERS = TypeAdapter(Trigger)
_REFUSALS = TypeAdapter(Refusal)
_RESULTS = TypeAdapter(InspectionResult)
_Record = TypeVar("_Record", Trigger, Refusal)


@dataclass(frozen=True)
class FlightEntry:
    """One thing that an earlier process left unbooked: a trigger with or without its verdict, or a refusal.

    `told` is whether the write to the PLC had ended.
    """

    slot: int
    trigger: Trigger | None
    refusal: Refusal | None
    result: InspectionResult | None
    told: bool


class FlightRecord:
    """A preallocated file of fixed slots; put it on a tmpfs. It survives SIGKILL and never waits for a disk.

    `trigger`, `refusal`, `verdict` and `told` belong to the event loop, `free` to the ledger's thread. A slot number is
    never used twice, so a late `told` or `free` cannot hit another part. A file of other software or a damaged one is
    renamed to `set_aside`; one of ours keeps the number of slots it was made with.
    """

    def __init__(self, path: Path, slots: int = 10_000, map_file: Callable[[int, int], mmap.mmap] = mmap.mmap) -> None:
        self.path = path
        self.set_aside: Path | None = None
        self.is_new = False
        self._slots = slots
        self._map_file = map_file
        self._lock = threading.Lock()
        self._free: deque[int] = deque()
        self._held: list[int] = []
        self._left: list[FlightEntry] = []
        self._next_order = 0

    def __enter__(self) -> FlightRecord:
        """Map the file, making it when there is none. StorageError: no room, no right, or another process has it."""
        try:
            self._file = self._open()
            try:
                self._map = self._map_file(self._file.fileno(), os.fstat(self._file.fileno()).st_size)
            except BaseException:
                self._file.close()
                raise
        except OSError as exc:
            raise StorageError(
                f"flight record {self.path} cannot be made with {self._slots} slots of {SLOT_BYTES} bytes: {exc}; "
                "give the runtime folder more room or make it writable"
            ) from exc
        self._read_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._map.close()
        self._file.close()

    @property
    def slots(self) -> int:
        """How many entries it holds when it is full."""
        return self._slots

    @property
    def used(self) -> int:
        """Slots that wait for the ledger."""
        return self._slots - len(self._free)

    @property
    def full(self) -> bool:
        """Nothing more can be accepted."""
        return not self._free

    def left(self) -> list[FlightEntry]:
        """What an earlier process left unbooked, in the order of acceptance; each is freed like any other."""
        return list(self._left)

    def trigger(self, trigger: Trigger) -> int:
        """Keep an accepted trigger; its slot. StorageError when no slot is free."""
        body = _dump(_TRIGGERS, trigger, lambda t: dataclasses.replace(t, part_id=clean_text(t.part_id, PART_ID_CHARS)))
        return self._put(_TRIGGER, body)

    def refusal(self, refusal: Refusal) -> int:
        """Keep a refusal; its slot. StorageError when no slot is free."""
        body = _dump(_REFUSALS, refusal, lambda r: dataclasses.replace(r, part_id=clean_text(r.part_id, PART_ID_CHARS)))
        return self._put(_REFUSAL, body)

    def verdict(self, slot: int, result: InspectionResult) -> None:
        """Keep the verdict on the trigger of a slot. StorageError when the slot is not one of an open trigger.

        Too large for the slot: the last defects are left out, then times, text and thresholds, never the verdict.
        """
        at = self._at(slot)
        if self._held[slot % self._slots] != slot or self._map[at] != _TRIGGER:
            raise StorageError(f"flight slot {slot} holds no open trigger: {result.result_id} was settled twice")
        order, trigger_bytes, trigger_crc, _, _ = _SLOT.unpack_from(self._map, at + _SLOT_AT)
        body = _fitting(result, _BODY_BYTES - trigger_bytes)
        start = at + _BODY_AT + trigger_bytes
        self._map[start : start + len(body)] = body
        header = _SLOT.pack(order, trigger_bytes, trigger_crc, len(body), zlib.crc32(body))
        self._map[at + _SLOT_AT : at + _SLOT_AT + _SLOT.size] = header
        self._map[at : at + 1] = bytes((_VERDICT,))

    def told(self, slot: int) -> None:
        """The write to the PLC has ended. Nothing to do when the ledger was faster and the slot is free."""
        with self._lock:
            at = self._at(slot)
            if self._held[slot % self._slots] == slot and self._map[at] == _VERDICT:
                self._map[at : at + 1] = bytes((_TOLD,))

    def free(self, slot: int) -> None:
        """The ledger has it. StorageError when the slot is not held."""
        with self._lock:
            index = slot % self._slots
            if self._held[index] != slot:
                raise StorageError(f"flight slot {slot} was freed already")
            self._map[self._at(slot) : self._at(slot) + 1] = bytes((_FREE,))
            self._held[index] = -1
            self._free.append(index)

    def _put(self, state: int, body: bytes) -> int:
        if len(body) > _BODY_BYTES:
            raise StorageError(f"flight record: a record of {len(body)} bytes does not fit a slot of {_BODY_BYTES}")
        try:
            index = self._free.popleft()
        except IndexError:
            raise StorageError(
                f"flight record {self.path} is full: {self._slots} records wait for the ledger; "
                "see why the ledger cannot write"
            ) from None
        order = self._next_order
        self._next_order += 1
        slot = order * self._slots + index
        at = self._at(slot)
        # Body, lengths, then the one byte that makes them count: killed in between, the slot is still free.
        self._map[at + _BODY_AT : at + _BODY_AT + len(body)] = body
        self._map[at + _SLOT_AT : at + _SLOT_AT + _SLOT.size] = _SLOT.pack(order, len(body), zlib.crc32(body), 0, 0)
        self._map[at : at + 1] = bytes((state,))
        self._held[index] = slot
        return slot

    def _at(self, slot: int) -> int:
        return _HEADER_BYTES + (slot % self._slots) * SLOT_BYTES

    def _open(self) -> _File:
        """The file, locked, whole and of this format."""
        file = _File(self.path)
        try:
            slots = file.slots()
            if slots is None and file.started():
                self.set_aside = self.path.with_name(self.path.name + ".set-aside")
                self.path.replace(self.set_aside)
                file.close()
                file = _File(self.path)
            if slots is None:
                file.make(self._slots)
                self.is_new = True
            else:
                self._slots = slots
        except BaseException:
            file.close()
            raise
        return file

    def _read_all(self) -> None:
        self._held = [-1] * self._slots
        found: list[tuple[int, FlightEntry]] = []
        for index in range(self._slots):
            at = _HEADER_BYTES + index * SLOT_BYTES
            entry = None if self._map[at] == _FREE else self._read(index, at)
            if entry is None:
                self._free.append(index)
                continue
            order = entry.slot // self._slots
            self._held[index] = entry.slot
            self._next_order = max(self._next_order, order + 1)
            found.append((order, entry))
        self._left = [entry for _, entry in sorted(found, key=lambda pair: pair[0])]

    def _read(self, index: int, at: int) -> FlightEntry | None:
        """The slot's content; a damaged verdict leaves its trigger, a damaged trigger leaves nothing."""
        state = self._map[at]
        order, trigger_bytes, trigger_crc, verdict_bytes, verdict_crc = _SLOT.unpack_from(self._map, at + _SLOT_AT)
        first = self._checked(at + _BODY_AT, trigger_bytes, trigger_crc)
        if first is None:
            return None
        slot = order * self._slots + index
        try:
            if state == _REFUSAL:
                return FlightEntry(slot, None, _REFUSALS.validate_json(first), None, told=False)
            trigger = _TRIGGERS.validate_json(first)
        except ValidationError:
            return None
        second = self._checked(at + _BODY_AT + trigger_bytes, verdict_bytes, verdict_crc)
        if state not in (_VERDICT, _TOLD) or second is None:
            return FlightEntry(slot, trigger, None, None, told=False)
        try:
            result = _RESULTS.validate_python({**json.loads(second), "trigger": trigger})
        except ValidationError:
            return FlightEntry(slot, trigger, None, None, told=False)
        return FlightEntry(slot, trigger, None, result, told=state == _TOLD)

    def _checked(self, start: int, length: int, crc: int) -> bytes | None:
        if not 0 < length <= _BODY_BYTES:
            return None
        data = self._map[start : start + length]
        return data if zlib.crc32(data) == crc else None


class _File:
    """The record's file: locked against a second process for as long as it is open."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(self._fd)
            raise StorageError(
                f"flight record {path} is in use: another station runs with this runtime folder"
            ) from exc

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def slots(self) -> int | None:
        """The number of slots; None when this is not a whole file of this format."""
        head = os.pread(self._fd, _HEADER.size, 0)
        if len(head) < _HEADER.size:
            return None
        magic, version, slot_bytes, slots, crc = _HEADER.unpack(head)
        ours = (magic, version, slot_bytes, crc) == (_MAGIC, _VERSION, SLOT_BYTES, zlib.crc32(head[:-4]))
        whole = os.fstat(self._fd).st_size == _HEADER_BYTES + slots * SLOT_BYTES
        return slots if ours and whole and slots > 0 else None

    def started(self) -> bool:
        """Whether somebody wrote a header; a process killed in `make` leaves none."""
        return any(os.pread(self._fd, _HEADER_BYTES, 0))

    def make(self, slots: int) -> None:
        """Room for all slots now (a hole in a full tmpfs would be a SIGBUS later), the header last."""
        os.ftruncate(self._fd, 0)
        os.posix_fallocate(self._fd, 0, _HEADER_BYTES + slots * SLOT_BYTES)
        head = _HEADER.pack(_MAGIC, _VERSION, SLOT_BYTES, slots, 0)[:-4]
        os.pwrite(self._fd, head + struct.pack("<I", zlib.crc32(head)), 0)


def clean_text(text: str, chars: int | None = None) -> str:
    """Text that every encoder takes: lone surrogates become "?", and at most `chars` characters stay."""
    return text[:chars].encode("utf-8", "replace").decode("utf-8")


def _dump(adapter: TypeAdapter[_Record], record: _Record, cleaned: Callable[[_Record], _Record]) -> bytes:
    part_id = record.part_id
    return adapter.dump_json(record if part_id.isascii() and len(part_id) <= PART_ID_CHARS else cleaned(record))


def _fitting(result: InspectionResult, room: int) -> bytes:
    """The result without its trigger as JSON of at most `room` bytes."""
    body = _dump_result(result)
    if len(body) <= room:
        return body
    few, many = 0, len(result.defects)
    while few < many:  # the most defects that fit
        middle = (few + many + 1) // 2
        if len(_dump_result(dataclasses.replace(result, defects=result.defects[:middle]))) <= room:
            few = middle
        else:
            many = middle - 1
    smaller = dataclasses.replace(result, defects=result.defects[:few])
    sheddings: tuple[dict[str, Any], ...] = (
        {"stage_ns": {}},
        {"reason_text": result.reason_text[:_REASON_TEXT_CHARS]},
        {"thresholds": ()},
    )
    for less in sheddings:
        if len(body := _dump_result(smaller)) <= room:
            return body
        smaller = dataclasses.replace(smaller, **less)
    return _dump_result(smaller)


def _dump_result(result: InspectionResult) -> bytes:
    try:
        return _RESULTS.dump_json(result, exclude={"trigger"})
    except (PydanticSerializationError, UnicodeEncodeError):
        defects = tuple(dataclasses.replace(d, class_name=clean_text(d.class_name)) for d in result.defects)
        clean = dataclasses.replace(result, reason_text=clean_text(result.reason_text), defects=defects)
        return _RESULTS.dump_json(clean, exclude={"trigger"})
