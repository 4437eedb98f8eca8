"""Thresholds on their way through a whole station: into each verdict, out to people, and back from the PLC."""

from __future__ import annotations

from typing import Any, get_args

import anyio
import pytest
from order_rig import JumpingClock, client, order, quiet_line
from station_rig import FakeLink, Rig

from edge_inspector.health.metrics import StationMetrics
from edge_inspector.interfaces import PartFeedback
from edge_inspector.outputs.mqtt.config import Command
from edge_inspector.settings.adaptive import AdaptiveSettings

pytestmark = pytest.mark.anyio


async def test_a_part_is_judged_by_the_thresholds_of_its_trigger_and_says_whose_they_are(rig: Rig) -> None:
    rig.recipe("r", adaptive=adaptive("percentile"))
    async with rig.running() as link:
        results = [await inspected(link, seq) for seq in range(1, 13)]
        assert [one.thresholds for one in results[:10]] == [(0.5, 0.5)] * 10
        assert {one.policy for one in results} == {"percentile"}
        assert results[10].thresholds == (0.1, 0.1), "the plain rule, after ten parts that score nothing: 0 + 0.1"
        counters = await anyio.to_thread.run_sync(client(rig).counters)
        assert (counters["threshold_dark"], counters["threshold_bright"]) == (0.1, 0.1)
        assert counters["threshold_dark_proposed"] == 0.5, "guarded beside it knows too little"
        text = await anyio.to_thread.run_sync(client(rig).metrics)
        assert 'edge_inspector_threshold{class="dark",recipe="r",which="now"} 0.1' in text
        assert 'edge_inspector_threshold{class="dark",recipe="r",which="fixed"} 0.5' in text
        assert 'edge_inspector_thresholds_held{recipe="r"} 0.0' in text


async def test_what_the_plc_says_of_a_reject_is_learnt(rig: Rig) -> None:
    rig.recipe("r", adaptive=adaptive("guarded"))
    async with rig.running() as link:
        rig.cameras["a"].gray = 200
        await inspected(link, 1)
        assert await learnt(rig) == 0
        link.ask(PartFeedback(1, 9, good=True))
        with anyio.fail_after(10):
            while await learnt(rig) == 0:  # noqa: ASYNC110 - nobody tells what was learnt
                await anyio.sleep(0.02)
        assert await learnt(rig) == 1


async def test_every_order_that_a_broker_may_be_allowed_is_one_that_the_station_knows(rig: Rig) -> None:
    rig.recipe("r")
    async with quiet_line(rig, JumpingClock()) as line:
        assert set(get_args(Command)) <= set(line._orders._known)
        assert "thresholds_release" not in get_args(Command), "that is for somebody at the station"


def test_without_a_station_no_threshold_is_told() -> None:
    assert [name for name in StationMetrics().flat() if name.startswith("threshold")] == []


def adaptive(policy: str) -> AdaptiveSettings:
    return AdaptiveSettings.model_validate({"policy": policy})


async def inspected(link: FakeLink, seq: int) -> Any:
    await link.ready()
    link.trigger(seq)
    return await link.result(seq)


async def learnt(rig: Rig) -> int:
    facts = (await order(rig, "thresholds")).facts
    (shown,) = facts["recipes"]["r"]["policies"]
    return int(shown["classes"][0]["learnt"])
