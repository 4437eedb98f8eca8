"""From one recipe to the next: what is in flight is finished by its own recipe, and READY waits for all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from order_rig import JumpingClock, order, quiet_line
from station_rig import FakeCamera, FakeLink, Rig

from edge_inspector.datatypes import Evaluation, FeatureValue, InspectionResult, Picture, Reason
from edge_inspector.errors import InferenceError
from edge_inspector.interfaces import (
    OrderAnswer,
    RecipeAnswer,
    RecipeRequest,
    StationStatus,
    TriggerRefused,
    TriggerRequest,
)
from edge_inspector.station.events import (
    CameraDown,
    CameraUp,
    EngineBuilt,
    EngineNeeded,
    Exposed,
    FromPlc,
    ModelRefused,
    ModelUnloaded,
    ModelWarm,
    Pulse,
    Setting,
    SettingDone,
)
from edge_inspector.station.model_room import WARM_RUNS
from edge_inspector.station.parts import Parts

pytestmark = pytest.mark.anyio
SHORT, LONG, GLARE = {"ExposureTime": 100.0}, {"ExposureTime": 900.0}, {"ExposureTime": 5.0}


class PatientRig(Rig):
    """A picture may take long: the test says when it comes."""

    def parts(self) -> Parts:
        parts = super().parts()
        return replace(parts, limits=replace(parts.limits, grab_timeout_s=30.0))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = PatientRig(tmp_path)
    rig.recipe("short", features=SHORT, deadline_ms=9000)
    rig.recipe("long", number=2, features=LONG, deadline_ms=9000)
    rig.recipe("glare", number=3, features=GLARE, deadline_ms=9000)
    return rig


async def until(seen: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not seen():  # noqa: ASYNC110 - fakes on threads set no event of the loop
            await anyio.sleep(0.002)


async def ready_with(link: FakeLink, recipe: str) -> StationStatus:
    return await link.status(lambda s: s.ready and s.recipe == recipe)


async def says(link: FakeLink, text: str) -> StationStatus:
    return await link.status(lambda s: text in s.error_text and not s.ready and not s.recipe_ready)


async def test_features_are_set_only_after_the_last_picture_of_the_recipe_before(rig: Rig) -> None:
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.hang.set()
        link.trigger(1)
        await link.status(lambda s: s.acquiring)
        link.ask(RecipeRequest(1, 2, ""))
        await says(link, "recipe long waits for the last picture of recipe short")
        assert camera.features == [SHORT]
        link.trigger(2)
        assert (await link.until(TriggerRefused)).reason is Reason.NOT_READY
        camera.hang.clear()
        part = await link.result(1)
        assert (part.evaluation, part.trigger.recipe) == (Evaluation.OK, "short")
        await ready_with(link, "long")
        assert camera.features == [SHORT, LONG]
    (told,) = rig.events("changeover")
    assert told.startswith("recipe long is set up ")
    assert "plc:plc ordered it" in told


async def test_no_camera_is_set_while_another_still_photographs_a_part_that_was_aborted(rig: Rig) -> None:
    """One camera's output may be the other one's light."""
    rig.recipes.clear()
    rig.recipe("short", cameras=("a", "b"), features=SHORT)
    rig.recipe("long", cameras=("a", "b"), number=2, features=LONG)
    async with quiet_line(rig, JumpingClock()) as line:
        ordered: list[str] = []
        line.cameras.set = lambda camera, setting: ordered.append(camera)  # type: ignore[method-assign]
        await line.handle(FromPlc(rig.link, TriggerRequest(1, "part", time.monotonic_ns(), 9)))
        await line.handle(Exposed(Picture("b", 1), 1, "short", time.monotonic_ns()))
        await line.work.settle_all(Reason.ABORTED, "aborted")
        await line.handle(FromPlc(rig.link, RecipeRequest(1, 2, "")))
        assert ordered == []
        await line.handle(Exposed(Picture("a", 1), 1, "short", time.monotonic_ns()))
        line.changeover.look(line.work, line.condition)
        assert ordered == ["a", "b"]


async def test_the_new_model_runs_warm_after_the_last_verdict_and_before_ready(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.trigger(1)
        await until(lambda: len(rig.backend.runs) == 1)
        link.ask(RecipeRequest(1, 2, ""))
        await says(link, "recipe long waits for the last verdict")
        await until(lambda: rig.cameras["a"].features == [SHORT, LONG])
        assert len(rig.backend.runs) == 1, "a part in work waits for no warm-up"
        rig.backend.slow.clear()
        assert (await link.result(1)).trigger.recipe == "short"
        await ready_with(link, "long")
        assert len(rig.backend.runs) == 1 + WARM_RUNS


@pytest.mark.heavy
async def test_ready_waits_for_the_warm_up(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.ask(RecipeRequest(1, 2, ""))
        await says(link, "the model of recipe long is being warmed up")
        answer = await link.until(RecipeAnswer)
        assert answer.accepted
        told_before = link.told[: link.told.index(answer)]
        last = next(m for m in reversed(told_before) if isinstance(m, StationStatus))
        assert not last.ready, "who reads the answer must not read the READY of the recipe before beside it"
        rig.backend.slow.clear()
        await ready_with(link, "long")


@pytest.mark.heavy
async def test_a_second_request_in_the_middle_goes_straight_to_its_own_recipe(rig: Rig) -> None:
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.hang.set()
        link.trigger(1)
        await link.status(lambda s: s.acquiring)
        link.ask(RecipeRequest(1, 2, ""))
        await says(link, "recipe long waits for the last picture")
        link.ask(RecipeRequest(2, 3, ""))
        await says(link, "recipe glare waits for the last picture of recipe short")
        camera.hang.clear()
        assert (await link.result(1)).trigger.recipe == "short"
        await ready_with(link, "glare")
        assert camera.features == [SHORT, GLARE]
        link.trigger(2)
        assert (await link.result(2)).trigger.recipe == "glare"
    assert [text.split()[1] for text in rig.events("changeover")] == ["glare"], "the other one never came to its end"


@pytest.mark.heavy
async def test_back_to_the_recipe_before_while_its_part_is_still_photographed(rig: Rig) -> None:
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.hang.set()
        link.trigger(1)
        await link.status(lambda s: s.acquiring)
        link.ask(RecipeRequest(1, 2, ""))
        link.ask(RecipeRequest(2, 1, ""))
        await link.status(lambda s: s.recipe == "short" and not s.recipe_ready)
        camera.hang.clear()
        assert (await link.result(1)).evaluation is Evaluation.OK
        await ready_with(link, "short")
    assert LONG not in camera.features


async def test_the_recipe_that_is_there_already_costs_nothing(rig: Rig) -> None:
    """Some PLCs order the recipe before each part."""
    async with rig.running() as link:
        await link.ready()
        link.ask(RecipeRequest(1, 0, "short"))
        assert (await link.until(RecipeAnswer)).accepted
        assert [s.ready for s in link.told if isinstance(s, StationStatus)][-1]
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK
        told = [s.ready for s in link.told if isinstance(s, StationStatus)]
        assert "".join("R" if ready else "-" for ready in told).strip("-").count("-") <= 1, (
            "not READY for the part only"
        )
        assert rig.cameras["a"].features == [SHORT]
    assert rig.events("changeover") == []


async def test_refusal_after_refusal_keeps_the_station_not_ready_until_a_valid_request(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        for seq, number in enumerate((77, 78), 1):
            link.ask(RecipeRequest(seq, number, ""))
            answer = await link.until(RecipeAnswer, lambda a, seq=seq: a.seq == seq)  # type: ignore[misc]
            assert (answer.accepted, answer.reason) == (False, Reason.RECIPE)
            status = await says(link, f"the PLC ordered recipe {number}")
            assert status.error_code == 301
            link.trigger(seq)
            refused = await link.until(TriggerRefused, lambda r, seq=seq: r.trigger_seq == seq)  # type: ignore[misc]
            assert refused.reason is Reason.RECIPE
        link.ask(RecipeRequest(3, 1, ""))
        await ready_with(link, "short")
        assert rig.cameras["a"].features == [SHORT], "nothing had changed but what the line wants"
    assert len(rig.events("recipe_refused")) == 2


@pytest.mark.heavy
async def test_a_refusal_in_the_middle_of_a_changeover_is_ended_by_the_same_request_again(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.ask(RecipeRequest(1, 2, ""))
        link.ask(RecipeRequest(2, 99, ""))
        await says(link, "the PLC ordered recipe 99")
        rig.backend.slow.clear()
        await until(lambda: rig.cameras["a"].features == [SHORT, LONG])
        await until(lambda: len(rig.backend.runs) == WARM_RUNS)
        assert not (await link.status(lambda s: s.error_code == 301)).recipe_ready
        link.ask(RecipeRequest(3, 2, ""))
        await ready_with(link, "long")


async def test_a_camera_that_is_lost_in_the_middle_comes_back_with_the_new_features(rig: Rig) -> None:
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.ask(RecipeRequest(1, 2, ""))
        await says(link, "being warmed up")
        camera.lost.set()
        await link.status(lambda s: s.error_code == 101)
        rig.backend.slow.clear()
        await until(lambda: len(rig.backend.runs) == WARM_RUNS)
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.CAMERA
        assert rig.events("changeover") == [], "without its camera the recipe is not set up"
        camera.lost.clear()
        await ready_with(link, "long")
        assert camera.features == [SHORT, LONG, LONG]
        link.trigger(2)
        assert (await link.result(2)).evaluation is Evaluation.OK
    assert len(rig.events("changeover")) == 1


@pytest.mark.heavy
async def test_a_camera_that_was_away_takes_the_newest_recipes_features_and_only_once(rig: Rig) -> None:
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.lost.set()
        await link.status(lambda s: s.error_code == 101)
        for seq, number in enumerate((2, 1, 3), 1):
            link.ask(RecipeRequest(seq, number, ""))
        await link.until(RecipeAnswer, lambda a: a.seq == 3)
        camera.lost.clear()
        await ready_with(link, "glare")
        link.trigger(1)
        assert (await link.result(1)).trigger.recipe == "glare"
        assert camera.features == [SHORT, GLARE]


@pytest.mark.heavy
async def test_a_camera_lost_with_the_last_part_lets_the_changeover_go_on(rig: Rig) -> None:
    camera = rig.cameras["a"]
    async with rig.running() as link:
        await link.ready()
        camera.hang.set()
        link.trigger(1)
        await link.status(lambda s: s.acquiring)
        link.ask(RecipeRequest(1, 2, ""))
        await says(link, "waits for the last picture")
        camera.lost.set()
        assert (await link.result(1)).reason is Reason.CAMERA
        camera.hang.clear()
        camera.lost.clear()
        await ready_with(link, "long")
        assert camera.features[-1] == LONG


@pytest.mark.heavy
async def test_a_model_that_fails_its_warm_up_keeps_the_station_not_ready_until_it_is_ordered_again(rig: Rig) -> None:
    async with rig.running() as link:
        await link.ready()
        rig.backend.error = InferenceError("out of memory")
        link.ask(RecipeRequest(1, 2, ""))
        status = await says(link, "the model of recipe long fails on a black picture: out of memory")
        assert status.error_code == 301
        rig.backend.error = None
        link.ask(RecipeRequest(2, 2, ""))
        await ready_with(link, "long")


async def test_from_a_slow_timer_to_a_fast_one_no_old_period_is_waited_for(rig: Rig) -> None:
    rig.recipes.clear()
    rig.recipe("hourly", trigger="timer", period_s=3600)
    rig.recipe("fast", number=2, trigger="timer", period_s=0.02)
    rig.master = ""
    async with rig.running() as link:
        await link.ready()
        assert await order(rig, "recipe", name="fast") == OrderAnswer(done=True)
        part = await link.until(InspectionResult)
        assert (part.trigger.recipe, part.evaluation) == ("fast", Evaluation.OK)
    assert rig.events("changeover")[0].startswith("recipe fast is set up ")


async def test_the_last_picture_of_a_line_camera_belongs_to_the_recipe_that_was_active_when_it_came(rig: Rig) -> None:
    rig.recipes.clear()
    rig.recipe("one", trigger="line", deadline_ms=60_000)
    rig.recipe("two", trigger="line", number=2, deadline_ms=60_000)
    rig.cameras["a"].trigger_mode = "line"
    async with quiet_line(rig, JumpingClock()) as line:
        before_ns = time.monotonic_ns()
        await line.handle(FromPlc(rig.link, RecipeRequest(1, 2, "")))
        await line.handle(Exposed(Picture("a", 1), None, "one", before_ns))
        await line.handle(Exposed(Picture("a", 2), None, "one", time.monotonic_ns()))
        assert [opened.recipe.name for opened in line.work.open.values()] == ["one"]
        assert [(r.trigger.recipe, r.reason) for r in rig.link.results] == [("two", Reason.RECIPE)], "that one is late"
        await line.handle(SettingDone("a", line.condition.asked["a"], ""))
        assert line.by_itself("a") == ("two", rig.recipes["two"].plans["a"])
        await line.handle(Exposed(Picture("a", 3), None, "two", time.monotonic_ns()))
        assert [opened.recipe.name for opened in line.work.open.values()] == ["one", "two"]


async def test_a_picture_from_before_the_order_is_of_no_recipe_while_the_station_was_not_fit(rig: Rig) -> None:
    rig.recipes.clear()
    rig.recipe("one", trigger="line", deadline_ms=60_000)
    rig.recipe("two", trigger="line", number=2, deadline_ms=60_000)
    async with quiet_line(rig, JumpingClock()) as line:
        await line.handle(FromPlc(rig.link, RecipeRequest(1, 99, "")))
        before_ns = time.monotonic_ns()
        await line.handle(FromPlc(rig.link, RecipeRequest(2, 2, "")))
        await line.handle(Exposed(Picture("a", 1), None, "one", before_ns))
        assert [(r.evaluation, r.reason) for r in rig.link.results] == [(Evaluation.UNDEFINED, Reason.RECIPE)]


class Sending(FakeCamera):
    """A picture is on its way while it is set."""

    sending = False

    def apply(self, features: Mapping[str, FeatureValue]) -> None:
        super().apply(features)
        if self.sending:
            self.push()


async def test_a_line_cameras_picture_that_was_begun_before_the_features_were_set_is_never_ok(rig: Rig) -> None:
    rig.recipes.clear()
    rig.cameras["a"] = camera = Sending("a", "line")
    rig.recipe("one", trigger="line", features=SHORT)
    rig.recipe("two", trigger="line", number=2, features=LONG)
    async with rig.running() as link:
        await link.ready()
        camera.sending = True
        link.ask(RecipeRequest(1, 2, ""))
        early = await link.result(1)
        assert camera.features == [SHORT, LONG]
        assert (early.evaluation, early.reason) == (Evaluation.UNDEFINED, Reason.NOT_READY)
        await ready_with(link, "two")
        camera.push()
        assert (await link.result(2)).evaluation is Evaluation.OK


async def test_an_engine_built_meanwhile_is_loaded_after_the_last_part_of_the_recipe_before(rig: Rig) -> None:
    """To load it could push out the model that this part needs."""
    async with quiet_line(rig, JumpingClock()) as line:
        loads: list[str] = []
        line.models.order_load, line.models.order_build = loads.append, lambda _: None
        line.models.unloaded(ModelUnloaded("long"), "short")
        await line.handle(EngineNeeded("long"))
        await line.handle(FromPlc(rig.link, TriggerRequest(1, "part", time.monotonic_ns(), 9)))
        await line.handle(Exposed(Picture("a", 1), 1, "short", time.monotonic_ns()))
        await line.handle(FromPlc(rig.link, RecipeRequest(1, 2, "")))
        await line.handle(EngineBuilt("long", "passed", ""))
        assert loads == []
        await line.work.settle_all(Reason.ABORTED, "aborted")
        line.changeover.look(line.work, line.condition)
        assert loads == ["long"]


async def test_the_time_is_told_in_the_metrics(rig: Rig) -> None:
    parts = rig.parts()
    async with rig.running_parts(parts) as link:
        await link.ready()
        assert "edge_inspector_changeovers_total 0.0\n" in parts.metrics.openmetrics().decode()
        link.ask(RecipeRequest(1, 2, ""))
        await ready_with(link, "long")
        await until(lambda: "edge_inspector_changeovers_total 1.0\n" in parts.metrics.openmetrics().decode())
        seconds = parts.metrics.readings().changeover_s
        assert seconds is not None
        assert parts.metrics.flat()["changeover_s"] == seconds > 0


async def test_a_camera_that_obeys_an_order_which_is_not_the_newest_is_not_set(rig: Rig) -> None:
    """Long, short, long: it has told of the first, and takes the second at this moment."""
    async with quiet_line(rig, JumpingClock()) as line:
        orders: list[Setting] = []
        line.cameras.set = lambda camera, setting: orders.append(setting)  # type: ignore[method-assign]
        for seq, number in enumerate((2, 1, 2), 1):
            await line.handle(FromPlc(rig.link, RecipeRequest(seq, number, "")))
        await line.handle(SettingDone("a", orders[0], ""))
        line.changeover.look(line.work, line.condition)
        assert "is taking the features of recipe long" in str(line.condition.blocked())
        await line.handle(SettingDone("a", orders[2], ""))
        line.changeover.look(line.work, line.condition)
        assert line.condition.blocked() is None


async def test_a_plc_that_orders_until_it_sees_ready_does_not_begin_the_changeover_again(rig: Rig) -> None:
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        orders: list[Setting] = []
        line.cameras.set = lambda camera, setting: orders.append(setting)  # type: ignore[method-assign]
        for seq in (1, 2, 3):
            await line.handle(FromPlc(rig.link, RecipeRequest(seq, 2, "")))
            clock.jump(5)
        await line.handle(SettingDone("a", orders[0], ""))
        line.changeover.look(line.work, line.condition)
        assert line.condition.blocked() is None
        assert len(orders) == 1
        assert (line.changeover.seconds or 0) > 15, "counted from the first order"


async def test_what_was_refused_is_tried_again_when_the_recipe_is_ordered_again(rig: Rig) -> None:
    async with quiet_line(rig, JumpingClock()) as line:
        await line.handle(FromPlc(rig.link, RecipeRequest(1, 2, "")))
        loads: list[str] = []
        line.models.order_load = loads.append
        for seq, refusal in (
            (2, SettingDone("a", line.condition.asked["a"], "too long")),
            (3, ModelRefused("long", "damaged")),
        ):
            await line.handle(refusal)
            line.changeover.look(line.work, line.condition)
            before = line.condition.asked["a"]
            await line.handle(FromPlc(rig.link, RecipeRequest(seq, 2, "")))
            assert line.condition.asked["a"] is not before
            assert line.condition.refused == {}
        assert loads == ["long", "long"]


class Early(FakeCamera):
    """A part triggers it as soon as it is open."""

    def __enter__(self) -> FakeCamera:
        super().__enter__()
        self.push()
        return self


async def test_a_line_cameras_picture_from_before_it_had_the_recipes_features_is_never_ok(rig: Rig) -> None:
    rig.recipes.clear()
    rig.cameras["a"] = camera = Early("a", "line")
    rig.recipe("one", trigger="line", features=SHORT)
    async with rig.running() as link:
        early = await link.result(1)
        assert (early.evaluation, early.reason) == (Evaluation.UNDEFINED, Reason.CAMERA)
        await link.ready()
        camera.push()
        assert (await link.result(2)).evaluation is Evaluation.OK


async def test_only_the_recipes_own_model_and_cameras_that_are_there_end_a_changeover(rig: Rig) -> None:
    async with quiet_line(rig, JumpingClock()) as line:
        line.models.order_load = lambda recipe: None
        await line.handle(FromPlc(rig.link, RecipeRequest(1, 2, "")))
        await line.handle(SettingDone("a", line.condition.asked["a"], ""))
        for event, ends in (
            (ModelWarm("short"), False),
            (CameraDown("a", "unplugged"), False),
            (ModelWarm("long"), False),
            (CameraUp("a", 2), True),
        ):
            await line.handle(event)
            line.changeover.look(line.work, line.condition)
            assert line.changeover.under_way is not ends, event


async def test_an_announced_part_is_never_judged_by_a_picture_that_was_prepared_for_another_recipe(rig: Rig) -> None:
    rig.recipes.clear()
    for number, name in enumerate(("one", "two"), 1):
        rig.recipe(name, number=number, trigger="announced", window_ms=(0, 5000), deadline_ms=60_000)
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        clock.jump(60)
        await line.handle(Pulse(alive=True))
        await line.handle(FromPlc(rig.link, TriggerRequest(1, "part", clock.monotonic_ns(), 9)))
        await line.handle(Exposed(Picture("a", 1), None, "two", clock.monotonic_ns()))
        assert [(r.evaluation, r.reason) for r in rig.link.results] == [(Evaluation.UNDEFINED, Reason.RECIPE)]


async def test_a_model_that_was_pushed_out_is_loaded_again_where_its_recipe_is_in_use(rig: Rig) -> None:
    async with quiet_line(rig, JumpingClock()) as line:
        loads: list[str] = []
        line.models.order_load = loads.append
        await line.handle(ModelUnloaded("short"))
        assert loads == ["short"]
        assert line.condition.blocked() == (Reason.NOT_READY, "the model is being loaded")
