"""The VisionSystem in control, as a client of OPC 40100-1 sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from asyncua import Client, ua
from machine_vision_rig import AUTOMATIC, BOOT, MACHINE, READY, STATUS, Rig, cause, result, rigged

from edge_inspector.datatypes import Evaluation, Mode, Reason
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import CommandRequest, ExposureDone, RecipeRequest, TriggerAccepted, TriggerRequest
from edge_inspector.outputs.live import LiveContract
from edge_inspector.outputs.opcua_server.machine_vision import virtual_plc
from edge_inspector.outputs.opcua_server.machine_vision.states import ALLOWED, STATE_NODE
from edge_inspector.outputs.opcua_server.machine_vision.states import AUTOMATIC as SUB_STATES
from edge_inspector.outputs.opcua_server.machine_vision.virtual_plc import VirtualPlc
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.states import State
from edge_inspector.plc.tags import Value

pytestmark = pytest.mark.anyio
WRONG_STATE, UNKNOWN_ID, NOT_SUPPORTED, NO_ANSWER, BAD_ARGUMENT, COMMAND_REFUSED, WRONG_TRIGGER = range(-1, -8, -1)
STATES = list(STATUS)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Rig]:
    async with rigged("control") as rig:
        yield rig


@pytest.fixture
async def rig(served: Rig) -> Rig:
    """The same server for every test, with a station that behaves, READY."""
    served.station.behave()
    await served.be(State.Ready)
    return served


ARGUMENTS: dict[str, Callable[[Rig], list[Any]]] = {
    f"{MACHINE}.Halt": lambda _: cause(),
    f"{MACHINE}.Reset": lambda _: cause(),
    f"{MACHINE}.SelectModeAutomatic": lambda _: [],
    f"{AUTOMATIC}.StartSingleJob": lambda rig: rig.start("p"),
    f"{AUTOMATIC}.StartContinuous": lambda rig: rig.start(),
    f"{AUTOMATIC}.Stop": lambda _: cause(),
    f"{AUTOMATIC}.Abort": lambda _: cause(),
    "RecipeManagement.PrepareRecipe": lambda rig: [rig.ident("RecipeIdExternal", "r"), rig.ident("RecipeIdInternal")],
}


async def shown(rig: Rig) -> tuple[State, State | None]:
    """The states of both machines, after it was checked that id, number, name and text say the same."""
    vision = await one_machine(rig, MACHINE)
    assert vision is not None
    return vision, await one_machine(rig, AUTOMATIC)


async def one_machine(rig: Rig, path: str) -> State | None:
    leaves = [rig.client.get_node(rig.id(f"{path}.CurrentState{leaf}")) for leaf in ("", ".Id", ".Number", ".Name")]
    values = [await leaf.read_data_value(raise_on_bad_status=False) for leaf in leaves]
    if values[0].StatusCode.is_bad():
        assert {v.StatusCode.value for v in values} == {ua.StatusCodes.BadStateNotActive}
        return None
    text, node, number, name = (v.Value.Value for v in values)
    state = State(number)
    assert (text.Text, node, name) == (
        state.name,
        ua.NodeId(STATE_NODE[state], rig.published),
        ua.QualifiedName(state.name, rig.published),
    )
    return state


@pytest.mark.parametrize("state", STATES)
async def test_both_machines_show_the_state_of_the_contract(rig: Rig, state: State) -> None:
    await rig.be(state)
    in_automatic = state in SUB_STATES
    assert await shown(rig) == ((State.Operational, state) if in_automatic else (state, None))
    special = {State.Halted: 4, State.Error: 5, State.SingleExecution: 1, State.ContinuousExecution: 1}
    assert await rig.system_state() == special.get(state, 2)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("path", ARGUMENTS)
async def test_a_method_is_accepted_in_its_states_and_refused_in_all_others(rig: Rig, path: str, state: State) -> None:
    await rig.be(state)
    if state is State.Preoperational:  # here it stays, because the station never gets a recipe ready
        rig.wait_only(0.2)
    heard = len(rig.station.heard)
    outputs = await rig.call(path, *ARGUMENTS[path](rig))
    name = path.rpartition(".")[2]
    if state in ALLOWED[name] and (name, state) != ("StartContinuous", State.Ready):
        assert outputs[-1] == (NO_ANSWER if name == "SelectModeAutomatic" else 0)
    else:
        assert outputs[-1] == (WRONG_TRIGGER if name == "StartContinuous" and state is State.Ready else WRONG_STATE)
        assert len(rig.station.heard) == heard


async def test_a_single_job_goes_from_start_to_result(rig: Rig) -> None:
    job, error = await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("part 7", "m 7", "r", "product"))
    assert error == 0
    request = rig.station.heard[-1]
    assert isinstance(request, TriggerRequest)
    assert request.part_id == "part 7"
    assert await shown(rig) == (State.Operational, State.SingleExecution)
    assert await rig.read(f"{AUTOMATIC}.LastTransition.Number") == 671
    assert await rig.read(f"{AUTOMATIC}.LastTransition.Id") == ua.NodeId(5064, rig.published)
    settled = result(request.trigger_seq, "part 7")
    await rig.tell(settled)
    await rig.tell(READY)
    assert await rig.read(f"{AUTOMATIC}.LastTransition.Number") == 760
    found = await rig.result(settled.result_id)
    assert (found.JobId, found.MeasId.Id, found.ProductId.Id) == (job, "m 7", "product")


async def test_a_trigger_that_the_station_refuses_is_told_with_its_reason(rig: Rig) -> None:
    rig.station.refusing = Reason.OVERLOAD
    job, error = await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("p"))
    assert (job.Id, error) == ("", -102)
    assert await shown(rig) == (State.Operational, State.Ready)


async def test_a_refused_job_leaves_no_cause_for_the_next_transition(rig: Rig) -> None:
    rig.station.refusing = Reason.OVERLOAD
    await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("p"))
    await rig.tell(STATUS[State.SingleExecution])
    assert await rig.read(f"{AUTOMATIC}.LastTransition.Number") == 670


async def test_a_station_that_does_not_answer_is_told_in_time(rig: Rig) -> None:
    rig.station.deaf = True
    rig.wait_only(0.2)
    _, error = await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("p"))
    assert error == NO_ANSWER
    assert (await rig.call(f"{MACHINE}.Halt", *cause()))[-1] == NO_ANSWER


async def test_a_part_that_is_accepted_too_late_still_has_what_its_client_said(rig: Rig) -> None:
    rig.station.deaf = True
    rig.wait_only(0.2)
    assert (await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("p", "late")))[-1] == NO_ANSWER
    seq = rig.station.heard[-1].trigger_seq
    await rig.tell(TriggerAccepted(seq))
    await rig.tell(late := result(seq))
    assert (await rig.result(late.result_id)).MeasId.Id == "late"


async def test_a_refused_command_is_told(rig: Rig) -> None:
    rig.station.command_result = 2
    assert await rig.call(f"{MACHINE}.Halt", *cause()) == [COMMAND_REFUSED]
    assert await shown(rig) == (State.Operational, State.Ready)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"recipe": "another"}, UNKNOWN_ID),
        ({"part": "x" * 255}, BAD_ARGUMENT),
        ({"meas": "x" * 255}, BAD_ARGUMENT),
        ({"product": "x" * 255}, BAD_ARGUMENT),
    ],
)
async def test_arguments_that_cannot_be_meant_start_nothing(rig: Rig, arguments: dict[str, str], error: int) -> None:
    heard = len(rig.station.heard)
    assert (await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start(**arguments)))[-1] == error
    assert len(rig.station.heard) == heard


async def test_parameters_are_refused(rig: Rig) -> None:
    inputs = [*rig.start("p")[:-1], ua.Variant([ua.Variant(1)], ua.VariantType.Variant, is_array=True)]
    assert (await rig.call(f"{AUTOMATIC}.StartSingleJob", *inputs))[-1] == NOT_SUPPORTED


async def test_identifications_left_out_as_null_are_empty(rig: Rig) -> None:
    nothing = ua.Variant(None, ua.VariantType.Null)
    parameters = ua.Variant([], ua.VariantType.Variant, is_array=True)
    outputs = await rig.call(f"{AUTOMATIC}.StartSingleJob", *[nothing] * 4, parameters)
    assert outputs[-1] == 0
    assert rig.station.heard[-1].part_id == ""


async def test_two_clients_at_once_start_one_job(rig: Rig) -> None:
    rig.station.deaf = True
    rig.station.asked.clear()
    path, inputs = f"{AUTOMATIC}.StartSingleJob", rig.start("p")
    async with Client(rig.url, timeout=30) as other:
        first = asyncio.create_task(rig.call(path, *inputs, client=other))
        await rig.station.asked.wait()
        request = rig.station.heard[-1]
        second = asyncio.create_task(rig.call(path, *inputs))
        async with Client(rig.url, timeout=30):  # long enough for the second call to arrive
            await rig.tell(TriggerAccepted(request.trigger_seq))
        assert [(await call)[-1] for call in (first, second)] == [0, WRONG_STATE]
    assert rig.station.heard[-1] is request


async def test_a_station_free_for_the_next_part_is_ready_before_the_result(rig: Rig) -> None:
    await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("first"))
    await rig.tell(replace(READY, busy=True))
    assert await shown(rig) == (State.Operational, State.Ready)
    assert (await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("second")))[-1] == 0
    first, second = (r.trigger_seq for r in rig.station.heard[-2:] if isinstance(r, TriggerRequest))
    assert second == first + 1


async def test_halt_reset_and_automatic_are_the_way_out_and_back(rig: Rig) -> None:
    assert await rig.call(f"{MACHINE}.Halt", *cause()) == [0]
    assert (await shown(rig), await rig.read(f"{MACHINE}.LastTransition.Number")) == ((State.Halted, None), 421)
    assert await rig.call(f"{MACHINE}.Reset", *cause()) == [0]
    assert (await shown(rig), await rig.read(f"{MACHINE}.LastTransition.Number")) == ((State.Preoperational, None), 211)
    assert await rig.call(f"{MACHINE}.SelectModeAutomatic") == [0]
    assert (await shown(rig))[1] is State.Ready
    assert await rig.read(f"{MACHINE}.LastTransition.Number") == 151
    assert await rig.read(f"{AUTOMATIC}.LastTransition.Number") == 560
    assert [r.command for r in rig.station.heard[-3:] if isinstance(r, CommandRequest)] == [2, 1, 3]


async def test_what_the_station_does_by_itself_names_no_method(rig: Rig) -> None:
    await rig.call(f"{MACHINE}.Halt", *cause())
    await rig.tell(READY)
    await rig.tell(STATUS[State.Halted])
    assert await rig.read(f"{MACHINE}.LastTransition.Number") == 420


async def test_halt_after_reset_is_halted_again(rig: Rig) -> None:
    for method in ("Halt", "Reset", "Halt"):
        assert await rig.call(f"{MACHINE}.{method}", *cause()) == [0]
    assert (await shown(rig), await rig.read(f"{MACHINE}.LastTransition.Number")) == ((State.Halted, None), 121)


async def test_reset_aborts_the_job_in_work(rig: Rig) -> None:
    await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("p"))
    assert await rig.call(f"{MACHINE}.Reset", *cause()) == [0]
    assert [r.command for r in rig.station.heard[-2:] if isinstance(r, CommandRequest)] == [4, 1]


@pytest.mark.parametrize(("method", "number", "commands"), [("Stop", 761, []), ("Abort", 762, [4])])
async def test_the_end_of_a_single_job_names_stop_or_abort(
    rig: Rig, method: str, number: int, commands: list[int]
) -> None:
    await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("p"))
    heard = len(rig.station.heard)
    assert await rig.call(f"{AUTOMATIC}.{method}", *cause()) == [0]
    await rig.tell(READY)
    assert await rig.read(f"{AUTOMATIC}.LastTransition.Number") == number
    assert [r.command for r in rig.station.heard[heard:]] == commands


@pytest.mark.parametrize(("method", "number", "commands"), [("Stop", 861, [2]), ("Abort", 862, [2, 4])])
async def test_a_run_ends_in_ready_and_starts_again(rig: Rig, method: str, number: int, commands: list[int]) -> None:
    await rig.be(State.ContinuousExecution)
    heard = len(rig.station.heard)
    assert await rig.call(f"{AUTOMATIC}.{method}", *cause()) == [0]
    assert await shown(rig) == (State.Operational, State.Ready)
    assert await rig.read(f"{AUTOMATIC}.LastTransition.Number") == number
    assert [r.command for r in rig.station.heard[heard:]] == commands
    assert (await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("p")))[-1] == WRONG_TRIGGER
    job, error = await rig.call(f"{AUTOMATIC}.StartContinuous", *rig.start(meas="batch 5"))
    assert error == 0
    assert await shown(rig) == (State.Operational, State.ContinuousExecution)
    assert await rig.read(f"{AUTOMATIC}.LastTransition.Number") == 681
    mine = result(4711, "")
    await rig.tell(mine)
    found = await rig.result(mine.result_id)
    assert (found.JobId, found.MeasId.Id) == (job, "batch 5")


async def test_a_run_takes_no_part_id(rig: Rig) -> None:
    await rig.be(State.ContinuousExecution)
    await rig.call(f"{AUTOMATIC}.Stop", *cause())
    assert (await rig.call(f"{AUTOMATIC}.StartContinuous", *rig.start("p")))[-1] == NOT_SUPPORTED


async def test_a_stopped_run_that_is_halted_is_halted(rig: Rig) -> None:
    await rig.be(State.ContinuousExecution)
    await rig.call(f"{AUTOMATIC}.Stop", *cause())
    assert await rig.call(f"{MACHINE}.Halt", *cause()) == [0]
    assert (await shown(rig), await rig.read(f"{MACHINE}.LastTransition.Number")) == ((State.Halted, None), 421)


async def test_a_recipe_is_prepared_by_either_of_its_ids(rig: Rig) -> None:
    for external, internal in (("s", ""), ("", "r"), ("no such", "s")):
        ids = [rig.ident("RecipeIdExternal", external), rig.ident("RecipeIdInternal", internal)]
        told, completed, error = await rig.call("RecipeManagement.PrepareRecipe", *ids)
        assert (told.Id, completed, error) == (internal or external, True, 0)
        assert rig.station.heard[-1] == RecipeRequest(rig.station.heard[-1].seq, 0, internal or external)
    assert await rig.read(f"{AUTOMATIC}.LastTransition.Number") == 561


async def test_a_refused_recipe_is_an_error_until_a_valid_one_is_prepared(rig: Rig) -> None:
    ids = [rig.ident("RecipeIdExternal", "unknown"), rig.ident("RecipeIdInternal")]
    assert (await rig.call("RecipeManagement.PrepareRecipe", *ids))[1:] == [False, -113]
    assert await shown(rig) == (State.Error, None)
    assert (await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("p")))[-1] == WRONG_STATE
    ids = [rig.ident("RecipeIdExternal", "r"), rig.ident("RecipeIdInternal")]
    assert (await rig.call("RecipeManagement.PrepareRecipe", *ids))[1:] == [True, 0]
    assert await shown(rig) == (State.Operational, State.Ready)


async def test_a_slow_recipe_is_told_as_not_completed(rig: Rig) -> None:
    rig.wait_only(0.2)
    rig.station.loading = True
    ids = [rig.ident("RecipeIdExternal", "s"), rig.ident("RecipeIdInternal")]
    told, completed, error = await rig.call("RecipeManagement.PrepareRecipe", *ids)
    assert (told.Id, completed, error) == ("s", False, 0)


async def test_a_call_whose_client_is_gone_leaves_nothing_behind() -> None:
    live = LiveContract(Contract(BOOT, acknowledge=False, paired=False), SystemClock())
    asked = asyncio.Event()

    async def write(values: Mapping[str, Value]) -> None:
        live.written(values)
        asked.set()

    plc = VirtualPlc(live, write)
    tasks = len(asyncio.all_tasks())
    call = asyncio.create_task(plc.command(virtual_plc.HALT))
    await asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (plc._waiting, len(asyncio.all_tasks())) == ([], tasks)


async def test_golden_parts_never_read_ok(rig: Rig) -> None:
    await rig.tell(replace(READY, mode=Mode.GOLDEN))
    assert await rig.system_state() == 3
    await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("golden"))
    golden = result(rig.station.heard[-1].trigger_seq, "golden", Evaluation.OK, Mode.GOLDEN)
    await rig.tell(TriggerAccepted(golden.trigger.trigger_seq))
    await rig.tell(ExposureDone(golden.trigger.trigger_seq))
    await rig.tell(golden)
    found = await rig.result(golden.result_id)
    assert found.IsSimulated
    assert [v.Value for v in found.ResultContent[:2]] == [0, int(Mode.GOLDEN)]


async def test_a_verdict_never_waits_for_what_has_to_be_shown(rig: Rig) -> None:
    rig.live.told(STATUS[State.SingleExecution])
    with pytest.raises(StopIteration):  # it returned without waiting for anything
        rig.vision.told(STATUS[State.SingleExecution]).send(None)
    assert rig.vision.state is State.Ready
    await rig.vision.follow()
    assert await shown(rig) == (State.Operational, State.SingleExecution)


async def test_a_bug_in_what_is_shown_ends_the_station(rig: Rig) -> None:
    broken = result(1)
    broken = replace(broken, trigger=replace(broken.trigger, wall_utc="no time"))
    await rig.vision.told(broken)
    assert rig.vision._showing is not None
    with pytest.raises(ValueError, match="no time"):
        await rig.vision._showing  # as the loop would, some turns later
    with pytest.raises(ValueError, match="no time"):
        await rig.vision.told(STATUS[State.Ready])
    await rig.tell(STATUS[State.Ready])
    assert await shown(rig) == (State.Operational, State.Ready)


async def test_our_own_namespace_keeps_index_two(rig: Rig) -> None:
    assert (rig.own, rig.published) == (2, 3)
    assert rig.live.contract.boot_id == BOOT
