"""Engines are built, proven and chosen while the station already serves its PLC; doubt keeps it from being READY."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import networks
import pytest
from station_rig import FakeLink, Rig

from edge_inspector.datatypes import ERROR_CODE, Evaluation, InspectionResult, Reason, ThresholdState
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.engine.fingerprint import fingerprint
from edge_inspector.errors import BundleError, DeviceLostError, InferenceError
from edge_inspector.interfaces import RecipeRequest, StationStatus, TriggerRefused

pytestmark = pytest.mark.anyio
CHILD = Path(__file__).with_name("build_child.py")


@dataclass
class Builder:
    """The hands on the child process that builds; `waits` until `go_on`."""

    rig: Rig
    outcome: str = "passed"
    text: str = "48 pictures, the same verdicts"
    says: str = ""
    dies: str = ""
    golden: str = ""
    waits: bool = False
    begun: list[str] = field(default_factory=list)

    def command(self, recipe: str) -> Sequence[str]:
        self.begun.append(recipe)
        facts = dict(fingerprint(self.rig.bundles[recipe], self.rig.backend).facts)
        told = {
            "begun": str(self.path(f"begun-{len(self.begun)}")),
            "wait_for": str(self.path("go")) if self.waits else "",
            "says": self.says,
            "dies": self.dies,
            "proof": {"outcome": self.outcome, "text": self.text, "golden": self.golden},
            "facts": facts,
            "store": str(self.path("engines")),
            "built_utc": f"2026-11-22T00:00:{len(self.begun):02d}Z",
        }
        return [sys.executable, str(CHILD), json.dumps(told)]

    def path(self, name: str) -> Path:
        return self.rig.folder / name

    def go_on(self) -> None:
        self.path("go").touch()

    def build_now(self, recipe: str) -> None:
        """As a start before this one would have done."""
        subprocess.run(self.command(recipe), check=True, stdout=subprocess.DEVNULL)
        self.begun.clear()


@pytest.fixture
def builder(rig: Rig) -> Builder:
    """A station whose backend needs a proof that is kept; one recipe."""
    rig.backend.proof = "kept"
    made = Builder(rig)
    rig.build_command = made.command
    add_recipe(rig, "r")
    return made


def add_recipe(rig: Rig, name: str, number: int = 1, **settings: object) -> None:
    rig.recipe(name, number=number, **settings)
    folder = networks.bundle("yolo", rig.folder / f"bundle-{name}", size=32, classes=2, seed=number)
    rig.bundles[name] = load_bundle(folder)


async def is_judged(rig: Rig, link: FakeLink, seq: int) -> None:
    for gray, expected in ((0, Evaluation.OK), (255, Evaluation.NOT_OK)):
        await link.ready()
        rig.cameras["a"].gray = gray
        link.trigger(seq)
        assert (await link.result(seq)).evaluation is expected
        seq += 1


async def error_text(link: FakeLink, words: str) -> StationStatus:
    return await link.status(lambda status: words in status.error_text)


async def test_a_missing_engine_is_built_while_the_station_is_not_ready_and_says_how_far_it_is(
    builder: Builder, rig: Rig
) -> None:
    builder.waits = True
    async with rig.running() as link:
        status = await error_text(link, "the engine of recipe r is being built: 10%")
        assert not status.ready
        assert not status.recipe_ready
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.NOT_READY
        builder.go_on()
        await is_judged(rig, link, 2)
    assert any("60%" in text for text in rig.events("engine_build"))
    assert (Path(rig.backend.loaded[0].engine_dir) / "model.plan").read_bytes() == b"a plan"


async def test_an_engine_of_an_earlier_start_is_used_at_once(builder: Builder, rig: Rig) -> None:
    builder.build_now("r")
    async with rig.running() as link:
        await is_judged(rig, link, 1)
    assert builder.begun == []


async def test_an_engine_that_was_proven_with_another_golden_set_is_proven_again(builder: Builder, rig: Rig) -> None:
    builder.golden = "of a set that is there no more"
    builder.build_now("r")
    builder.golden = ""
    async with rig.running() as link:
        await is_judged(rig, link, 1)
    assert builder.begun == ["r"]


async def test_an_engine_that_is_not_the_one_asked_for_is_not_built_for_ever(builder: Builder, rig: Rig) -> None:
    builder.golden = "of a set that the station does not know"
    async with rig.running() as link:
        status = await error_text(link, "start the station again")
        assert not status.ready
    assert builder.begun == ["r"]


async def test_an_engine_that_fails_its_proof_never_serves(builder: Builder, rig: Rig) -> None:
    builder.outcome, builder.text = "failed", "bad-07.png: NOT_OK became OK"
    async with rig.running() as link:
        status = await error_text(link, "bad-07.png: NOT_OK became OK")
        assert not status.ready
        assert status.error_code == ERROR_CODE[Reason.INFERENCE]
        link.trigger(1)
        assert (await link.until(TriggerRefused)).reason is Reason.INFERENCE
    assert rig.backend.loaded == []


async def test_an_unverified_engine_serves_only_where_the_station_file_names_its_bundle(
    builder: Builder, rig: Rig
) -> None:
    builder.outcome, builder.text = "unverified", "3 good pictures, expected 20"
    async with rig.running() as link:
        status = await error_text(link, "3 good pictures, expected 20")
        assert not status.ready
    rig.accepted = (rig.bundles["r"].name,)
    rig.link = FakeLink()
    async with rig.running() as link:
        status = await link.ready()
        assert status.warning
        assert "unverified" in status.error_text
        assert status.error_code == 0
        await is_judged(rig, link, 1)
        assert (await link.ready()).warning


async def test_an_older_engine_of_the_same_model_serves_while_a_new_one_is_built(builder: Builder, rig: Rig) -> None:
    builder.build_now("r")
    rig.backend.chosen = {"option.level": "5"}
    builder.waits = True
    async with rig.running() as link:
        status = await link.ready()
        assert status.warning
        await is_judged(rig, link, 1)
        builder.go_on()
        await rig.booked("engine_built")
        await is_judged(rig, link, 3)
        assert len(rig.backend.loaded) == 1  # what parts are judged by does not change under way
    assert "from the next start on" in rig.events("engine_built")[0]
    rig.link = FakeLink()
    async with rig.running() as link:
        assert not (await link.ready()).warning


async def test_an_older_engine_that_was_not_proven_by_the_recipes_thresholds_does_not_serve_meanwhile(
    builder: Builder, rig: Rig
) -> None:
    builder.build_now("r")
    rig.backend.chosen = {"option.level": "5"}
    rig.recipes["r"] = replace(rig.recipes["r"], thresholds=ThresholdState((0.9, 0.9)))
    builder.waits = True
    async with rig.running() as link:
        assert not (await error_text(link, "is being built: 10%")).ready


async def test_an_older_engine_goes_on_when_the_new_one_fails_its_proof(builder: Builder, rig: Rig) -> None:
    builder.build_now("r")
    rig.backend.chosen = {"option.level": "5"}
    builder.outcome, builder.text = "failed", "bad-07.png: NOT_OK became OK"
    async with rig.running() as link:
        assert (await link.ready()).warning
        await rig.booked("engine_not_built")
        await is_judged(rig, link, 1)
    rig.link = FakeLink()
    async with rig.running() as link:
        assert "NOT_OK became OK" in (await link.ready()).error_text
        await is_judged(rig, link, 1)
    assert len(rig.backend.loaded) == 2
    assert builder.begun == ["r"]  # a failed engine is known, and not built again
    assert "NOT_OK became OK" in rig.events("engine_not_built")[0]


async def test_an_engine_of_another_machine_does_not_serve_meanwhile(builder: Builder, rig: Rig) -> None:
    builder.build_now("r")
    rig.backend.chosen = {"gpu": "another"}
    builder.waits = True
    async with rig.running() as link:
        assert not (await error_text(link, "is being built: 10%")).ready


async def test_a_picture_that_comes_by_itself_while_the_engine_is_built_is_accepted_and_undefined(
    builder: Builder, rig: Rig
) -> None:
    builder.waits = True
    rig.recipes.clear()
    add_recipe(rig, "own", cameras=("b",), trigger="line")
    async with rig.running() as link:
        await error_text(link, "is being built: 10%")
        rig.cameras["b"].push(0)
        result = await link.result(1)
        assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.NOT_READY)
        builder.go_on()
        await link.ready()
        rig.cameras["b"].push(0)
        assert (await link.result(2)).evaluation is Evaluation.OK
    assert rig.books().balanced


async def test_a_build_that_dies_is_told_with_its_last_words(builder: Builder, rig: Rig) -> None:
    builder.dies = "model.onnx: node Conv_7 is not supported"
    async with rig.running() as link:
        status = await error_text(link, "node Conv_7 is not supported")
        assert not status.ready
    assert rig.events("engine_refused")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\xff\xfe\n", id="no UTF-8"),
        pytest.param(b"[" * 50_000 + b"\n", id="nested beyond measure"),
        pytest.param(b'{"progress": 1' + b"0" * 400 + b', "text": ""}\n', id="no float"),
        pytest.param(b'{"proof": {}, "engine": ""}\nnull\n3\n', id="no proof"),
    ],
)
async def test_what_else_a_build_prints_harms_nobody(builder: Builder, rig: Rig, said: bytes) -> None:
    builder.says = said.hex()
    async with rig.running() as link:
        await is_judged(rig, link, 1)


async def test_a_build_that_cannot_be_run_is_told(builder: Builder, rig: Rig) -> None:
    rig.build_command = lambda recipe: [str(rig.folder / "no-such-program")]
    async with rig.running() as link:
        assert not (await error_text(link, "no-such-program")).ready


async def test_a_recipe_whose_proof_is_tried_again_holds_up_no_other(builder: Builder, rig: Rig) -> None:
    rig.backend.proof = "each_start"
    add_recipe(rig, "s", number=2)
    rig.build_command = lambda recipe: ["false"] if recipe == "r" else builder.command(recipe)
    async with rig.running() as link:
        await error_text(link, "tried again in")
        link.ask(RecipeRequest(1, 2, ""))
        await link.status(lambda status: status.recipe == "s" and status.ready)


async def test_a_stop_ends_a_build_that_is_under_way(builder: Builder, rig: Rig) -> None:
    builder.waits = True
    async with rig.running() as link:
        await error_text(link, "is being built: 10%")
        begun = time.monotonic()
    assert time.monotonic() - begun < 30  # the child would wait for ever


async def test_a_backend_that_is_proven_at_each_start_keeps_no_proof(builder: Builder, rig: Rig) -> None:
    rig.backend.proof = "each_start"
    for _ in range(2):
        rig.link = FakeLink()
        async with rig.running() as link:
            await is_judged(rig, link, 1)
    assert builder.begun == ["r", "r"]


async def test_a_proof_of_another_server_than_the_stations_is_none(builder: Builder, rig: Rig) -> None:
    """The child reads the station file anew, and a server may change its model until it is asked to load it."""
    rig.backend.proof = "each_start"
    builder.waits = True
    async with rig.running() as link:
        await error_text(link, "is being built: 10%")
        rig.backend.chosen = {"model_version": "2"}
        builder.go_on()
        assert not (await error_text(link, "start the station again")).ready
    assert rig.backend.loaded == []


async def test_another_recipes_engine_is_built_beside_and_loaded_when_it_is_selected(
    builder: Builder, rig: Rig
) -> None:
    builder.build_now("r")
    add_recipe(rig, "s", number=2)
    async with rig.running() as link:
        await is_judged(rig, link, 1)
        await rig.booked("engine_built")
        assert len(rig.backend.loaded) == 1
        link.ask(RecipeRequest(1, 2, ""))
        await link.status(lambda status: status.recipe == "s" and status.ready)
        await is_judged(rig, link, 3)
    assert builder.begun == ["s"]
    assert len(rig.backend.loaded) == 2


async def test_a_recipe_whose_golden_set_is_gone_is_refused_and_the_others_go_on(builder: Builder, rig: Rig) -> None:
    builder.build_now("r")
    add_recipe(rig, "s", number=2)
    golden = load_bundle(networks.bundle("yolo", rig.folder / "golden", size=32, classes=2, golden=1))
    rig.bundles["s"] = golden
    async with rig.running() as link:
        await link.ready()
        await rig.booked("engine_built")
        assert golden.golden is not None
        (golden.golden.images / "good_000.png").unlink()
        link.ask(RecipeRequest(1, 2, ""))
        await error_text(link, "good_000.png")
        link.ask(RecipeRequest(2, 1, ""))
        await link.status(lambda status: status.recipe == "r" and status.ready)
        await is_judged(rig, link, 1)


async def test_pictures_of_a_line_camera_whose_model_is_not_there_are_rejects_and_do_not_keep_it_from_being_loaded(
    builder: Builder, rig: Rig
) -> None:
    rig.recipes.clear()
    rig.cameras.clear()
    rig.recipe("r", trigger="line")
    builder.waits = True

    async def parts_pass() -> None:
        while True:
            rig.cameras["a"].push(255)
            await anyio.sleep(0.05)

    async with rig.running() as link:
        await error_text(link, "is being built: 10%")
        async with anyio.create_task_group() as line:
            line.start_soon(parts_pass)
            first = await link.until(InspectionResult)
            assert (first.evaluation, first.reason) == (Evaluation.UNDEFINED, Reason.NOT_READY)
            builder.go_on()
            await link.until(InspectionResult, lambda result: result.evaluation is Evaluation.NOT_OK)
            line.cancel_scope.cancel()


@pytest.mark.parametrize("error", [BundleError("the plan is damaged"), InferenceError("no memory for the maps")])
async def test_a_model_that_cannot_be_loaded_later_keeps_its_own_recipe_from_being_inspected(
    builder: Builder, rig: Rig, error: Exception
) -> None:
    builder.build_now("r")
    add_recipe(rig, "s", number=2)
    async with rig.running() as link:
        await is_judged(rig, link, 1)
        await rig.booked("engine_built")
        rig.backend.load_error = error
        link.ask(RecipeRequest(1, 2, ""))
        status = await error_text(link, str(error))
        assert not status.ready
        link.ask(RecipeRequest(2, 1, ""))
        await link.status(lambda status: status.recipe == "r" and status.ready)
        await is_judged(rig, link, 3)


async def test_when_the_device_is_lost_the_part_is_told_before_the_process_ends(rig: Rig) -> None:
    rig.recipe("r")
    with pytest.raises(BaseException) as ended:  # noqa: PT012 - the station dies inside of it
        async with rig.running() as link:
            await link.ready()
            rig.backend.error = DeviceLostError("an illegal address was encountered")
            link.trigger(1)
            with anyio.fail_after(10):
                await anyio.sleep_forever()
    assert ended.group_contains(DeviceLostError)
    (result,) = rig.link.results
    assert (result.evaluation, result.reason) == (Evaluation.UNDEFINED, Reason.INFERENCE)
    assert "illegal address" in result.reason_text
