"""Models of many recipes in a bounded memory: which stay, which go, and that the recipe in use never loses its own."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from station_rig import FakeBackend, FakeLink, FakeModel, Rig

from edge_inspector.datatypes import Evaluation, PreparePlan, Reason
from edge_inspector.errors import BundleError
from edge_inspector.health.clock import SystemClock
from edge_inspector.health.progress import ProgressBook
from edge_inspector.interfaces import ModelFile, RecipeRequest
from edge_inspector.station.engines import Engines
from edge_inspector.station.events import (
    EngineBuilt,
    LineEvent,
    ModelLoaded,
    ModelRefused,
    ModelUnloaded,
    ModelWarm,
    Noticed,
)
from edge_inspector.station.gpu_thread import GpuThread
from edge_inspector.station.model_room import WARM_RUNS, ModelRoom
from edge_inspector.station.models import Models

SIZES = {"sha-a": 4, "sha-b": 3, "sha-c": 2, "sha-d": 8}


class Sized(FakeModel):
    def __init__(self, backend: SizedBackend, name: str) -> None:
        super().__init__(backend)
        self.name, self.memory_bytes = name, SIZES[name]
        self.closed = False
        self.kept_warm = 0

    def keep_warm(self) -> None:
        self.kept_warm += 1

    def close(self) -> None:
        assert not self.closed, "closed once"
        self.closed = True


class SizedBackend(FakeBackend):
    """Knows what is loaded at this moment, and the most that ever was together."""

    def __init__(self) -> None:
        super().__init__()
        self.models: list[Sized] = []
        self.peak = 0
        self.broken: set[str] = set()

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> Sized:
        if model.sha256 in self.broken:
            raise BundleError(f"{model.sha256} is damaged")
        self.models.append(Sized(self, model.sha256))
        self.peak = max(self.peak, sum(one.memory_bytes for one in self.models if not one.closed))
        return self.models[-1]

    @property
    def there(self) -> list[str]:
        return [one.name[-1] for one in self.models if not one.closed]


class Room:
    """A room with the recipes a (4), b (3), c (2) and d (8 bytes), and what it said."""

    def __init__(self, folder: Path, budget: int | None, names: str = "abc") -> None:
        self.rig, self.backend = Rig(folder), SizedBackend()
        for number, name in enumerate(names, 1):
            self.rig.recipe(name, number=number)
        self.said: list[LineEvent] = []
        engines = Engines(self.backend, None, {}, frozenset())  # type: ignore[arg-type]
        self.room = ModelRoom(self.backend, engines, self.rig.recipes, budget, self.said.append)

    def kinds(self, kind: type[LineEvent]) -> list[str]:
        return [one.recipe for one in self.said if isinstance(one, kind)]  # type: ignore[union-attr]


def test_without_a_budget_every_model_stays(tmp_path: Path) -> None:
    room = Room(tmp_path, None)
    room.room.preload("b")
    assert room.backend.there == ["b", "a", "c"], "that of the active recipe is loaded first"
    assert room.room.memory_bytes() == {"b": 3, "a": 4, "c": 2}
    assert room.kinds(ModelUnloaded) == []


def test_each_model_has_its_own_time_to_load(tmp_path: Path) -> None:
    room = Room(tmp_path, None)
    begun: list[int] = []
    room.room.preload("a", lambda: begun.append(len(room.backend.models)))
    assert begun == [0, 1, 2]


def test_the_model_of_the_recipe_in_use_is_kept_warm(tmp_path: Path) -> None:
    room = Room(tmp_path, None)
    room.room.preload("a")
    room.room.select("b")
    room.room.keep_warm()
    assert {one.name[-1]: one.kept_warm for one in room.backend.models} == {"a": 0, "b": 1, "c": 0}


@pytest.mark.parametrize(
    ("budget", "there"), [(9, "abc"), (8, "ab"), (7, "ab"), (6, "ac"), (5, "a"), (4, "a"), (0, "a")]
)
def test_at_a_start_the_active_models_room_comes_first_and_others_fill_what_is_left(
    tmp_path: Path, budget: int, there: str
) -> None:
    room = Room(tmp_path, budget)
    room.room.preload("a")
    assert "".join(room.backend.there) == there


def test_a_model_that_is_too_large_for_the_budget_is_kept_and_told(tmp_path: Path) -> None:
    room = Room(tmp_path, 6, "da")
    room.room.preload("d")
    assert room.backend.there == ["d"]
    (told,) = [one for one in room.said if isinstance(one, Noticed)][:1]
    assert (told.severity, told.code) == ("warning", "model_memory")


def test_what_was_selected_longest_ago_goes(tmp_path: Path) -> None:
    room = Room(tmp_path, 7)
    room.room.preload("a")
    room.room.select("c")
    assert room.backend.there == ["a", "c"], "a was active until now, b never"
    room.room.select("b")
    assert room.backend.there == ["c", "b"]
    assert room.kinds(ModelWarm) == ["c", "b"]


def test_a_size_that_is_known_makes_room_before_the_model_is_loaded_again(tmp_path: Path) -> None:
    room = Room(tmp_path, 7)
    room.room.preload("a")
    first = room.backend.peak
    for recipe in "cbacb":
        room.room.select(recipe)
    assert (first, room.backend.peak) == (9, 9), "only the first loading of c took more than the budget"
    room.backend.peak = 0
    for recipe in "acbacb":
        room.room.select(recipe)
    assert room.backend.peak <= 7


def test_recipes_of_one_network_share_their_model_and_lose_it_together(tmp_path: Path) -> None:
    room = Room(tmp_path, 4, "abc")
    a, b = room.rig.recipes["a"], room.rig.recipes["b"]
    room.rig.recipes["b"] = replace(b, model_file=a.model_file)
    room.room.preload("a")
    assert room.room.memory_bytes() == {"a": 4, "b": 4}
    assert len(room.backend.models) == 2, "a's, and c's, which found no room"
    room.said.clear()
    room.room.select("c")
    assert sorted(room.kinds(ModelUnloaded)) == ["a", "b"]
    assert room.backend.there == ["c"]
    room.room.select("b")
    assert room.room.memory_bytes() == {"b": 4}


def test_a_broken_model_of_another_recipe_is_told_and_tried_again_when_it_is_selected(tmp_path: Path) -> None:
    room = Room(tmp_path, None)
    room.backend.broken = {"sha-b"}
    room.room.preload("a")
    assert room.kinds(ModelRefused) == ["b"]
    assert room.kinds(ModelLoaded) == ["a", "c"]
    room.room.select("b")
    assert room.kinds(ModelRefused) == ["b", "b"]
    room.backend.broken.clear()
    room.room.select("b")
    assert room.kinds(ModelWarm) == ["b"]


def test_a_broken_model_of_the_active_recipe_ends_the_start(tmp_path: Path) -> None:
    room = Room(tmp_path, None)
    room.backend.broken = {"sha-a"}
    with pytest.raises(BundleError, match="sha-a is damaged"):
        room.room.preload("a")


def test_a_warm_up_runs_every_view_as_often_as_it_says(tmp_path: Path) -> None:
    room = Room(tmp_path, None, "ab")
    plan = room.rig.recipes["b"].plans["a"]
    room.rig.recipes["b"] = replace(room.rig.recipes["b"], plans={"x": plan, "y": plan})
    room.room.preload("a")
    assert room.backend.runs == [], "to load it has run it already"
    room.room.select("b")
    assert room.backend.runs == [1] * (2 * WARM_RUNS)


def test_everything_is_closed_at_the_end(tmp_path: Path) -> None:
    room = Room(tmp_path, 7)
    room.room.preload("a")
    room.room.close()
    assert room.backend.there == []
    assert room.room.memory_bytes() == {}


@asynccontextmanager
async def tight(rig: Rig) -> AsyncIterator[FakeLink]:
    """A station with room for one of its two models."""
    rig.recipe("one")
    rig.recipe("two", number=2)
    parts = rig.parts()
    async with rig.running_parts(replace(parts, limits=replace(parts.limits, model_memory_bytes=1))) as link:
        await link.ready()
        yield link


@pytest.mark.anyio
async def test_a_model_that_had_to_go_is_loaded_when_its_recipe_is_selected(rig: Rig) -> None:
    async with tight(rig) as link:
        loaded = len(rig.backend.loaded)
        for seq, (number, name) in enumerate(((2, "two"), (1, "one"), (2, "two")), 1):
            link.ask(RecipeRequest(seq, number, ""))
            await link.status(lambda s, name=name: s.ready and s.recipe == name)  # type: ignore[misc]
            link.trigger(seq)
            part = await link.result(seq)
            assert (part.evaluation, part.trigger.recipe) == (Evaluation.OK, name)
        assert len(rig.backend.loaded) == loaded + 3


@pytest.mark.heavy
@pytest.mark.anyio
async def test_a_part_in_flight_keeps_its_model_until_it_has_its_verdict(rig: Rig) -> None:
    async with tight(rig) as link:
        rig.backend.slow.set()
        link.trigger(1)
        with anyio.fail_after(10):
            while not rig.backend.runs:  # noqa: ASYNC110 - its thread sets no event of the loop
                await anyio.sleep(0.002)
        link.ask(RecipeRequest(1, 2, ""))
        await link.status(lambda s: s.recipe == "two" and not s.recipe_ready)
        rig.backend.slow.clear()
        assert (await link.result(1)).evaluation is Evaluation.OK
        await link.status(lambda s: s.ready and s.recipe == "two")


@pytest.mark.heavy
@pytest.mark.anyio
async def test_selected_to_and_fro_faster_than_models_load_the_last_one_wins(rig: Rig) -> None:
    async with tight(rig) as link:
        for seq, number in enumerate((2, 1, 2, 1, 2), 1):
            link.ask(RecipeRequest(seq, number, ""))
        await link.status(lambda s: s.ready and s.recipe == "two")
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK


@pytest.mark.heavy
@pytest.mark.anyio
async def test_a_model_that_fails_to_load_blocks_its_own_recipe_and_no_other(rig: Rig) -> None:
    async with tight(rig) as link:
        rig.backend.load_error = BundleError("the file is damaged")
        link.ask(RecipeRequest(1, 2, ""))
        status = await link.status(lambda s: s.error_code == 301)
        assert (status.error_text, status.recipe_ready) == ("the file is damaged", False)
        rig.backend.load_error = None
        link.ask(RecipeRequest(2, 1, ""))
        await link.status(lambda s: s.ready and s.recipe == "one")
    assert rig.events("engine_refused") == ["the file is damaged"]


def test_what_finds_no_room_was_looked_at_too(tmp_path: Path) -> None:
    room = Room(tmp_path, 4)
    room.room.preload("a")
    assert room.kinds(ModelLoaded) == ["a", "b", "c"]
    assert room.kinds(ModelUnloaded) == ["b", "c"]


def test_of_several_orders_the_newest_counts(tmp_path: Path) -> None:
    rig, clock = Rig(tmp_path), SystemClock()
    for number, name in enumerate("abc", 1):
        rig.recipe(name, number=number)
    warm: list[str] = []
    seen = threading.Event()

    def post(event: LineEvent) -> None:
        if isinstance(event, ModelWarm):
            warm.append(event.recipe)
            seen.set()

    engines = Engines(rig.backend, None, {}, frozenset())  # type: ignore[arg-type]
    thread = GpuThread(rig.backend, engines, rig.recipes, clock, ProgressBook(clock), 64, post)
    for recipe in "bc":
        thread.order_load(recipe)
    running = threading.Thread(target=thread.run)
    running.start()
    assert seen.wait(10)
    thread.stop()
    running.join(10)
    assert not running.is_alive()
    assert warm == ["c"]


def test_an_engine_that_is_built_for_a_model_that_was_refused_is_loaded() -> None:
    """One that still serves would go on until the next start."""
    loads: list[str] = []
    models = Models(["r"], lambda *_: None)
    models.order_load = loads.append
    models.loaded(ModelLoaded("r", ""))
    models.refused(ModelRefused("r", "it fails on a black picture"))
    assert models.why_not("r") == (Reason.INFERENCE, "it fails on a black picture")
    models.built(EngineBuilt("r", "passed", ""), "r")
    assert loads == ["r"]
