"""Buffers of Basler cameras: their numbers, their layout, and what the stream grabber counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from basler_rig import Node, NodeMap, genicam

from edge_inspector.cameras.basler.buffers import NO_BLOCK_ID, BlockIds, continued, known_format, unpadded
from edge_inspector.cameras.basler.nodes import Nodes
from edge_inspector.cameras.basler.stream import StreamCounts
from edge_inspector.errors import FrameError

NONE = NO_BLOCK_ID


@pytest.mark.parametrize(
    ("previous", "block_id", "expected"),
    [
        pytest.param(0, 0, 0, id="the emulator and USB3 begin at 0"),
        pytest.param(0, 1, 1, id="GigE begins at 1"),
        pytest.param(0, 40_000, 40_000, id="opened while running"),
        pytest.param(7, 9, 9, id="a gap stays a gap"),
        pytest.param(65_535, 1, 65_536, id="16 bits wrap to 1"),
        pytest.param(65_534, 2, 65_537, id="a gap over the wrap"),
        pytest.param(131_070, 1, 131_071, id="the second wrap"),
        pytest.param(65_536, 65_535, 65_535, id="a late one over the wrap"),
        pytest.param(5_000_000_000, 5_000_000_001, 5_000_000_001, id="64 bits as they are"),
    ],
)
def test_block_ids_are_carried_on(previous: int, block_id: int, expected: int) -> None:
    assert continued(previous, block_id) == expected


@pytest.mark.parametrize(
    ("buffers", "expected"),
    [
        pytest.param([(0, 0), (1, 0), (2, 0)], [(0, 0), (1, 0), (2, 0)], id="USB3: one after the other"),
        pytest.param([(1, 0), (2, 0), (5, 0)], [(1, 0), (2, 0), (5, 2)], id="GigE: two lost"),
        pytest.param([(40_000, 0), (40_001, 0)], [(40_000, 0), (40_001, 0)], id="opened while running: none lost"),
        pytest.param([(65_535, 0), (2, 0)], [(65_535, 0), (65_537, 1)], id="one lost over the wrap"),
        pytest.param([(7, 7), (17, 9)], [(7, 7), (17, 9)], id="what pylon replaced is a gap, too: counted once"),
        pytest.param([(3, 0), (2, 0), (4, 0)], [(3, 0), (2, 0), (4, 0)], id="a late one is none lost"),
        pytest.param([(NONE, 0), (NONE, 0), (NONE, 4)], [(0, 0), (1, 0), (6, 4)], id="no ids: what comes is counted"),
        pytest.param([(0, 0), (0, 0), (0, 0)], [(0, 0), (1, 0), (2, 0)], id="no ids: an old GigE camera says 0"),
        pytest.param(
            [(1, 0), (NONE, 0), (3, 0)], [(1, 0), (None, 0), (3, 0)], id="a failed one without id is not lost"
        ),
        pytest.param([(1, 0), (0, 0), (4, 0)], [(1, 0), (None, 0), (4, 1)], id="beside it one was lost"),
        pytest.param([(1, 0), (2, 0), "restart", (1, 0), (3, 0)], [(1, 0), (2, 0), (3, 0), (5, 1)], id="GigE restarts"),
        pytest.param([(0, 0), (1, 0), "restart", (0, 0), (1, 0)], [(0, 0), (1, 0), (2, 0), (3, 0)], id="USB3 restarts"),
        pytest.param(
            [(65_535, 0), "restart", (1, 0), (2, 0)], [(65_535, 0), (65_536, 0), (65_537, 0)], id="at the wrap"
        ),
        pytest.param([(NONE, 0), "restart", (NONE, 2)], [(0, 0), (3, 2)], id="no ids, and pylon replaced two"),
    ],
)
def test_buffers_are_numbered_and_those_that_never_came_are_counted(
    buffers: list[Any], expected: list[tuple[int | None, int]]
) -> None:
    ids, found = BlockIds(), []
    for buffer in buffers:
        if buffer == "restart":
            ids.restart()
        else:
            found.append(ids.following(*buffer))
    assert found == expected


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Mono8", "Mono8"), ("BGR8Packed", "BGR8"), ("RGB8Packed", "RGB8"), ("BayerRG12", "BayerRG12"),
        ("Mono12Packed", None), ("Mono12p", None), ("BayerRG12Packed", None), ("Mono10", None), ("YUV422Packed", None),
    ],
)  # fmt: skip
def test_only_formats_whose_bytes_we_know_have_a_name(name: str, ours: str | None) -> None:
    assert known_format(name) == ours


@pytest.mark.parametrize(
    ("sample", "samples", "padding"), [(np.uint8, 1, 0), (np.uint8, 1, 3), (np.uint8, 3, 2), (np.uint16, 1, 5)]
)
def test_the_padding_behind_each_row_is_left_out(sample: type[Any], samples: int, padding: int) -> None:
    row_bytes = 5 * samples * np.dtype(sample).itemsize
    rows = np.random.default_rng(1).integers(0, 256, (4, row_bytes), np.uint8)
    padded = memoryview(np.pad(rows, ((0, 0), (0, padding)), constant_values=255).tobytes())
    pixels = unpadded(padded, (4, 5), np.dtype(sample), samples, padding)
    assert pixels.shape == ((4, 5) if samples == 1 else (4, 5, 3))
    assert pixels.tobytes() == rows.tobytes()


def test_a_buffer_that_is_too_short_is_refused() -> None:
    with pytest.raises(FrameError, match="19 bytes of pixels, expected 20"):
        unpadded(memoryview(bytes(19)), (4, 5), np.dtype(np.uint8), 1, 0)


def test_packets_are_counted_on_when_pylon_begins_again() -> None:
    packets, counts = Node("Statistic_Total_Packet_Count", 100), StreamCounts()
    grabber = Nodes(NodeMap([packets]), genicam)
    assert counts.read(grabber) == {"packets": 100}
    packets.value = 250
    assert counts.read(grabber) == {"packets": 250}
    packets.value = 30
    assert counts.read(grabber) == {"packets": 280}
