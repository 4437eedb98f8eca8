"""Whether somebody is at the other end of a PLC link, as the metric `plc_link_up` and its alert have it."""

from __future__ import annotations

from typing import Any

import pytest
from order_rig import quiet_line
from station_rig import FakeLink, Rig

from edge_inspector.datatypes import Identity
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import LinkState
from edge_inspector.outputs.live import LiveContract
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.states import STARTING
from edge_inspector.station.events import FromPlc, LinkHealth

pytestmark = pytest.mark.anyio


def a_link(**facts: Any) -> FakeLink:
    link = FakeLink()
    for name, value in facts.items():
        setattr(link, name, value)
    return link


@pytest.mark.parametrize("dials", [False, True])
async def test_a_plc_that_can_ask_is_there_while_it_shows_that_it_lives(rig: Rig, dials: bool) -> None:
    rig.recipe("r")
    rig.link = link = a_link(dials=dials)
    async with quiet_line(rig, SystemClock()) as line:
        seen = [line.links.up]
        if dials:
            await line.handle(LinkHealth(link, connected=True, text=""))
            seen.append(line.links.up)
        for alive in (True, False, True):
            await line.handle(FromPlc(link, LinkState(alive=alive, plc_boot_id=9)))
            seen.append(line.links.up)
    assert [up["plc"] for up in seen] == [False] * (1 + dials) + [True, False, True]


async def test_a_link_that_has_lost_its_plc_is_down_whatever_the_plc_said_before(rig: Rig) -> None:
    rig.recipe("r")
    rig.link = link = a_link(dials=True)
    async with quiet_line(rig, SystemClock()) as line:
        await line.handle(LinkHealth(link, connected=True, text=""))
        await line.handle(FromPlc(link, LinkState(alive=True, plc_boot_id=9)))
        await line.handle(LinkHealth(link, connected=False, text="gone"))
        assert line.links.up == {"plc": False}


@pytest.mark.parametrize("dials", [False, True])
async def test_a_link_that_asks_nothing_is_up_as_soon_as_it_is_reached(rig: Rig, dials: bool) -> None:
    rig.recipe("r")
    rig.link = link = a_link(dials=dials, asks=False)
    async with quiet_line(rig, SystemClock()) as line:
        before = line.links.up
        await line.handle(LinkHealth(link, connected=True, text=""))
        assert (before, line.links.up) == ({"plc": not dials}, {"plc": True})


async def test_a_contract_without_a_heartbeat_counts_as_up_from_its_first_message_on(rig: Rig) -> None:
    """OPC 40100's client calls methods, and shows nothing in between."""
    rig.recipe("r")
    live = LiveContract(Contract(Identity("s", 71, "0").boot_id, acknowledge=False, paired=False), SystemClock())
    live.told(STARTING)
    live.told(STARTING)
    async with quiet_line(rig, SystemClock()) as line:
        await line.handle(FromPlc(rig.link, await live.request()))
        assert line.links.up == {"plc": True}
    assert live._requests.empty(), "it says so once"
