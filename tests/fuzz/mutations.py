"""What can be wrong with a message: each function takes bytes and a random generator, and gives other bytes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

Mutation = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
"""The third argument is every recorded message: something to splice with."""

NUMBERS = (
    *(0, 1, -1, -2, -4, -40, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 1_000_000),
    *(2**31 - 1, -(2**31), 2**30, 0x7FFFFFF0),
)
BYTES = (0x00, 0x01, 0x16, 0x18, 0x19, 0x40, 0x7F, 0x80, 0x98, 0xC6, 0xFF)
LONGEST = 60_000
"""A chunk that a server with the usual buffers takes."""


def flip_bits(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _n in range(rng.randint(1, 8)):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def set_byte(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([rng.choice(BYTES)]) + data[at + 1 :]


def set_number(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A length, a count or an id becomes another."""
    at = rng.randrange(len(data))
    order = rng.choice("<>")
    number = rng.choice((*NUMBERS, len(data)))
    packed = struct.pack(order + "i", number) if rng.random() < 0.7 else struct.pack(order + "H", number & 0xFFFF)
    return data[:at] + packed + data[at + len(packed) :]


def cut(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data))]


def append(data: bytes, rng: random.Random, all_messages: Sequence[bytes]) -> bytes:
    tail = rng.choice((data, rng.choice(all_messages), rng.randbytes(rng.randint(1, 300))))
    return (data + tail)[:LONGEST]


def repeat_part(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randint(1, 64))
    return (data[:end] + data[start:end] * rng.choice((1, 2, 10, 200)) + data[end:])[:LONGEST]


def drop_part(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 32) :]


def splice(data: bytes, rng: random.Random, all_messages: Sequence[bytes]) -> bytes:
    other = rng.choice(all_messages)
    return (data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :])[:LONGEST]


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, set_byte, set_number, set_number, cut, append, repeat_part, drop_part, splice),
)


def mutated(data: bytes, rng: random.Random, all_messages: Sequence[bytes], most: int = 3) -> bytes:
    """One to `most` things are wrong with it; it may be empty."""
    for _ in range(rng.randint(1, most)):
        if data:
            data = rng.choice(MUTATIONS)(data, rng, all_messages)
    return data
