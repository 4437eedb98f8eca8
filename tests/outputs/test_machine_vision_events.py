"""The events of the VisionSystem, and the results that it can be asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Any

import anyio
import pytest
from asyncua import Client, ua
from machine_vision_rig import AUTOMATIC, BOOT, MACHINE, READY, STATUS, Heard, Rig, cause, result, rigged

from edge_inspector.datatypes import Defect, Evaluation, InspectionResult, Mode, Reason
from edge_inspector.interfaces import ExposureDone, TriggerAccepted
from edge_inspector.outputs.opcua_server.machine_vision.results import KEPT
from edge_inspector.plc.states import State

pytestmark = pytest.mark.anyio
BASE = ua.NodeId(ua.ObjectIds.BaseEventType)
TYPES = {1013: "JobStarted", 1018: "StateChanged", 1019: "Error", 1020: "ErrorResolved", 1022: "RecipePrepared"}
TYPES |= {1023: "Ready", 1024: "ResultReady", 1025: "AcquisitionDone"}
COMPLETED, ABORTED, FAILED = 1, 3, 4


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Rig]:
    async with rigged("control") as rig:
        yield rig


@pytest.fixture
async def rig(served: Rig) -> Rig:
    served.station.behave()
    await served.be(State.Ready)
    return served


@pytest.fixture
async def heard(rig: Rig) -> AsyncIterator[Heard]:
    """All events at the VisionSystem object."""
    events = Heard()
    subscription = await rig.client.create_subscription(20, events)
    kinds = [rig.client.get_node(ua.NodeId(number, rig.published)) for number in TYPES]
    await subscription.subscribe_events(rig.client.get_node(rig.id("")), kinds)
    yield events
    await subscription.delete()


def name(event: Any) -> str:
    return TYPES[event.EventType.Identifier]


def summary(event: Any) -> str:
    """The type, and what tells two of the same type apart."""
    kind = name(event)
    return f"{kind} {event.Transition.Text}" if kind == "StateChanged" else kind


def uint32(value: int) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.UInt32)


async def test_a_part_is_told_by_its_events_in_order(rig: Rig, heard: Heard) -> None:
    job, _ = await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("part 1", "m"))
    seq = rig.station.heard[-1].trigger_seq
    await rig.tell(ExposureDone(seq))
    settled = result(seq, "part 1")
    await rig.tell(settled)
    await rig.tell(READY)
    events = await heard.until(6)
    assert [summary(e) for e in events] == [
        "StateChanged ReadyToSingleExecution",
        "JobStarted",
        "AcquisitionDone",
        "ResultReady",
        "StateChanged SingleExecutionToReadyAuto",
        "Ready",
    ]
    assert [e.JobId for e in events if name(e) != "StateChanged"] == [job] * 4
    assert len({e.EventId for e in events}) == 6


async def test_every_event_has_the_fields_that_every_event_has(rig: Rig, heard: Heard) -> None:
    await rig.tell(TriggerAccepted(9))
    await rig.tell(result(9))
    started, settled = [e for e in await heard.until(3) if name(e) != "StateChanged"]
    for event in (started, settled):
        assert (event.SourceNode, event.SourceName, event.Severity) == (rig.id(""), "VisionSystem", 200)
        assert event.Message.Text
        assert event.Time == event.ReceiveTime
        assert abs((event.Time - datetime.now(timezone.utc)).total_seconds()) < 60


async def test_result_ready_carries_the_whole_result(rig: Rig, heard: Heard) -> None:
    scratch = Defect("scratch", 2, 0.75, (1.0, 2.0, 3.0, 4.0), "top")
    settled = result(77, "Teil ✓", Evaluation.NOT_OK, reason=Reason.DEFECT, defects=(scratch,))
    await rig.tell(settled)
    event = (await heard.until(1))[0]
    assert name(event) == "ResultReady"
    assert (event.ResultId.Id, event.PartId.Id) == (settled.result_id, "Teil ✓")
    assert event.JobId.Id == f"{BOOT:08x}.00000000.77"
    assert (event.InternalRecipeId.Id, event.ExternalRecipeId.Id, event.InternalConfigurationId.Id) == ("r", "r", "st")
    assert (event.IsPartial, event.IsSimulated, event.ResultState) == (False, False, COMPLETED)
    assert event.CreationTime == datetime(2026, 11, 22, 10, 0, 0, 250_000, timezone.utc)
    times = event.ProcessingTimes
    assert (times.StartTime, times.EndTime) == (datetime(2026, 11, 22, 10, tzinfo=timezone.utc), event.CreationTime)
    assert (times.AcquisitionDuration, times.ProcessingDuration) == (40.0, 20.0)
    content = [v.Value for v in event.ResultContent]
    assert content == [2, 1, 1002, "defect", 1, ["scratch"], [0.75], [1.0, 2.0, 3.0, 4.0]]


async def test_state_changed_says_from_where_to_where_and_why(rig: Rig, heard: Heard) -> None:
    await rig.call(f"{MACHINE}.Halt", *cause())
    event = (await heard.until(1))[0]
    assert (event.FromState.Text, event.ToState.Text, event.Transition.Text) == (
        "Operational",
        "Halted",
        "OperationalToHalted",
    )
    ids = [getattr(event, f"{field}/Id") for field in ("FromState", "ToState", "Transition")]
    assert ids == [ua.NodeId(i, rig.published) for i in (5031, 5029, 5049)]
    assert (event.SourceNode, event.SourceName) == (rig.id(MACHINE), "Method/Halt")


async def test_an_error_and_its_end_are_told_with_the_stations_words(rig: Rig, heard: Heard) -> None:
    await rig.tell(STATUS[State.Error])
    await rig.tell(READY)
    events = await heard.until(4)
    assert [summary(e) for e in events] == [
        "StateChanged OperationalToErrorAuto",
        "Error",
        "StateChanged ErrorToOperationalAuto",
        "ErrorResolved",
    ]
    assert (events[1].Message.Text, events[1].Severity) == ("camera top: unplugged", 700)
    assert getattr(events[1], "ToState/Id") == ua.NodeId(5030, rig.published)


@pytest.mark.parametrize("after", [State.Preoperational, State.Halted])
async def test_an_error_that_ends_by_itself_is_resolved_wherever_it_leads(rig: Rig, heard: Heard, after: State) -> None:
    await rig.tell(STATUS[State.Error])
    await rig.tell(STATUS[after])
    told = [summary(e) for e in await heard.until(4)]
    assert told[2:] == [f"StateChanged ErrorTo{after.name}Auto", "ErrorResolved"]


async def test_an_error_that_is_reset_is_not_resolved_while_it_lasts(rig: Rig, heard: Heard) -> None:
    await rig.tell(STATUS[State.Error])
    await rig.call(f"{MACHINE}.Reset", *cause())
    told = [summary(e) for e in await heard.until(5)]
    assert told[2:] == ["StateChanged ErrorToPreoperational", "StateChanged PreoperationalToErrorAuto", "Error"]


async def test_no_state_is_lost_that_nobody_had_time_to_show(rig: Rig, heard: Heard) -> None:
    rig.live.told(STATUS[State.SingleExecution])
    rig.live.told(STATUS[State.Error])
    await rig.tell(READY)
    changes = [e.Transition.Text for e in await heard.until(5) if name(e) == "StateChanged"]
    assert changes == ["ReadyToSingleExecutionAuto", "OperationalToErrorAuto", "ErrorToOperationalAuto"]


async def test_a_prepared_recipe_is_told_once_for_each_order(rig: Rig, heard: Heard) -> None:
    for recipe in ("s", "s", "r"):
        ids = [rig.ident("RecipeIdExternal", recipe), rig.ident("RecipeIdInternal")]
        await rig.call("RecipeManagement.PrepareRecipe", *ids)
    await rig.tell(STATUS[State.Error])
    events = await heard.until(3 * 3 + 2)
    prepared = [e for e in events if name(e) == "RecipePrepared"]
    assert [e.InternalId.Id for e in prepared] == [e.ExternalId.Id for e in prepared] == ["s", "s", "r"]


async def test_a_run_is_one_job_for_all_its_parts(rig: Rig, heard: Heard) -> None:
    await rig.tell(STATUS[State.ContinuousExecution])
    for seq in (501, 502):
        await rig.tell(ExposureDone(seq))
        await rig.tell(result(seq, ""))
    await rig.tell(READY)
    events = await heard.until(8)
    jobs = [(name(e), e.JobId.Id) for e in events if name(e) != "StateChanged"]
    run = jobs[0][1]
    assert run.startswith(f"{BOOT:08x}.run.")
    told = ["JobStarted", "AcquisitionDone", "ResultReady", "AcquisitionDone", "ResultReady", "Ready"]
    assert jobs == [(kind, run) for kind in told]


async def test_events_reach_who_listens_at_server_and_asks_for_a_parent_type(rig: Rig) -> None:
    events = Heard()
    subscription = await rig.client.create_subscription(20, events)
    fields = [
        ua.SimpleAttributeOperand(TypeDefinitionId=BASE, BrowsePath=[ua.QualifiedName("EventType")], AttributeId=13),
    ]
    operand = ua.LiteralOperand(Value=ua.Variant(BASE))
    element = ua.ContentFilterElement(FilterOperator=ua.FilterOperator.OfType, FilterOperands=[operand])
    wanted = ua.EventFilter(SelectClauses=fields, WhereClause=ua.ContentFilter(Elements=[element]))
    await subscription.subscribe_events(rig.client.nodes.server, evfilter=wanted)
    await rig.tell(STATUS[State.SingleExecution])
    assert name((await events.until(1))[0]) == "StateChanged"
    await subscription.delete()


def element(operator: ua.FilterOperator, *operands: Any) -> ua.ContentFilterElement:
    return ua.ContentFilterElement(FilterOperator=operator, FilterOperands=list(operands))


def doubling(depth: int) -> list[ua.ContentFilterElement]:
    """Each element asks twice for the next one: 2 ** depth evaluations, if each is done anew."""
    both = [[ua.ElementOperand(Index=i + 1)] * 2 for i in range(depth)]
    true = ua.LiteralOperand(Value=ua.Variant(True))
    return [*(element(ua.FilterOperator.And, *pair) for pair in both), element(ua.FilterOperator.Equals, true, true)]


TYPE = ua.SimpleAttributeOperand(TypeDefinitionId=BASE, BrowsePath=[ua.QualifiedName("EventType")], AttributeId=13)
NO_NAME = ua.SimpleAttributeOperand(TypeDefinitionId=BASE, BrowsePath=[ua.QualifiedName(None)], AttributeId=13)
NO_OPERAND = element(ua.FilterOperator.OfType)
STRANGE = {
    "nothing selected": (ua.EventFilter(SelectClauses=[]), 1),
    "a field without a name": (ua.EventFilter(SelectClauses=[NO_NAME]), 0),  # asyncua's own client cannot read it
    "two hundred fields": (ua.EventFilter(SelectClauses=[TYPE] * 200), 1),
    "doubling": (ua.EventFilter(SelectClauses=[TYPE], WhereClause=ua.ContentFilter(Elements=doubling(60))), 1),
    "too many elements": (ua.EventFilter([TYPE], ua.ContentFilter([*doubling(0), *[NO_OPERAND] * 110])), 0),
    "itself": (
        ua.EventFilter([TYPE], ua.ContentFilter([element(ua.FilterOperator.Not, ua.ElementOperand(Index=0))])),
        1,
    ),
    "an element that is not there": (
        ua.EventFilter([TYPE], ua.ContentFilter([element(ua.FilterOperator.Not, ua.ElementOperand(Index=7))])),
        0,
    ),
    "no operand": (ua.EventFilter([TYPE], ua.ContentFilter([element(ua.FilterOperator.OfType)])), 0),
    "like": (ua.EventFilter([TYPE], ua.ContentFilter([element(ua.FilterOperator.Like, TYPE, TYPE)])), 0),
}


@pytest.mark.parametrize("operator", [ua.FilterOperator.InView, ua.FilterOperator.Cast, ua.FilterOperator.Not])
async def test_what_a_client_asks_for_is_not_written_into_the_log_for_each_event(
    rig: Rig, heard: Heard, caplog: pytest.LogCaptureFixture, operator: ua.FilterOperator
) -> None:
    operand = ua.EventFilter() if operator is ua.FilterOperator.Not else ua.LiteralOperand(ua.Variant("x" * 9000))
    wanted = ua.EventFilter([TYPE], ua.ContentFilter([element(operator, operand)]))
    async with Client(rig.url, timeout=30) as client:
        subscription = await client.create_subscription(20, Heard())
        await subscription.subscribe_events(client.get_node(rig.id("")), evfilter=wanted)
        caplog.clear()
        await rig.tell(STATUS[State.SingleExecution])
        await heard.until(1)
        assert "lause" not in caplog.text
        assert "Cast" not in caplog.text


@pytest.mark.parametrize("name", STRANGE)
async def test_a_strange_filter_gets_its_events_or_none_and_harms_nobody(rig: Rig, heard: Heard, name: str) -> None:
    strange, expected = STRANGE[name]
    got = Heard()
    async with Client(rig.url, timeout=30) as client:
        subscription = await client.create_subscription(20, got)
        await subscription.subscribe_events(client.get_node(rig.id("")), evfilter=strange)
        await subscription.subscribe_data_change(client.get_node(rig.id(f"{AUTOMATIC}.CurrentState.Number")))
        with anyio.fail_after(5):
            await rig.tell(STATUS[State.SingleExecution])
        await got.until_value(State.SingleExecution)  # in the same publish response as the event
        await heard.until(1)
        assert len(got.events) == expected


@pytest.mark.parametrize(
    ("evaluation", "reason", "state"),
    [
        (Evaluation.OK, Reason.NONE, COMPLETED),
        (Evaluation.NOT_OK, Reason.DEADLINE, COMPLETED),
        (Evaluation.NOT_DECIDABLE, Reason.NONE, COMPLETED),
        (Evaluation.UNDEFINED, Reason.ABORTED, ABORTED),
        (Evaluation.UNDEFINED, Reason.DEADLINE, FAILED),
    ],
)
async def test_the_state_of_a_result(rig: Rig, evaluation: Evaluation, reason: Reason, state: int) -> None:
    settled = result(1, evaluation=evaluation, reason=reason)
    await rig.tell(settled)
    found = await rig.result(settled.result_id)
    assert (found.ResultState, found.ResultContent[0].Value) == (state, int(evaluation))


@pytest.mark.parametrize("mode", [m for m in Mode if m is not Mode.PRODUCTION])
async def test_outside_production_a_result_is_simulated_and_never_ok(rig: Rig, mode: Mode) -> None:
    settled = result(1, evaluation=Evaluation.OK, mode=mode)
    await rig.tell(settled)
    found = await rig.result(settled.result_id)
    assert (found.IsSimulated, found.ResultContent[0].Value) == (True, 0)


async def test_the_components_of_a_result_are_those_of_its_structure(rig: Rig) -> None:
    settled = result(1, "p 1")
    await rig.tell(settled)
    inputs = [rig.ident("Result", settled.result_id), ua.Variant(0, ua.VariantType.Int32)]
    on_file, handle, *rest, error = await rig.call("ResultManagement.GetResultComponentsById", *inputs)
    assert (on_file, handle, error) == (False, 0, 0)
    fields = "IsPartial IsSimulated ResultState MeasId PartId ExternalRecipeId InternalRecipeId ProductId"
    fields += " ExternalConfigurationId InternalConfigurationId JobId CreationTime ProcessingTimes ResultContent"
    whole = await rig.result(settled.result_id)
    assert rest == [getattr(whole, field) for field in fields.split()]


@pytest.mark.parametrize("method", ["GetResultById", "GetResultComponentsById"])
async def test_an_unknown_result_is_told_by_its_error(rig: Rig, method: str) -> None:
    inputs = [rig.ident("Result", "none"), ua.Variant(0, ua.VariantType.Int32)]
    assert (await rig.call(f"ResultManagement.{method}", *inputs))[-1] == -2


class Query:
    """GetResultListFiltered, by the names of its arguments."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    async def __call__(self, state: int = 0, most: int = 0, start: int = 0, **ids: str) -> tuple[bool, list[str]]:
        kinds = ["Meas", "Part", "RecipeIdExternal", "RecipeIdInternal", "Configuration", "Configuration", "Product"]
        names = ["meas", "part", "external", "internal", "external_conf", "internal_conf", "product", "job"]
        structures = [self.rig.ident(k, ids.get(n, "")) for k, n in zip([*kinds, "Job"], names, strict=True)]
        complete, count, handle, listed, error = await self.rig.call(
            "ResultManagement.GetResultListFiltered",
            ua.Variant(state, ua.VariantType.Int32),
            *structures,
            uint32(most),
            uint32(start),
            ua.Variant(0, ua.VariantType.Int32),
        )
        assert (count, handle, error) == (len(listed), 0, 0)
        return complete, [one.ResultId.Id for one in listed]


@pytest.fixture
async def three(rig: Rig) -> list[InspectionResult]:
    """The only results of their parts: OK of a client's job, NOT_OK, and failed with another recipe."""
    await rig.call(f"{AUTOMATIC}.StartSingleJob", *rig.start("three 1", "m 1", product="p 1"))
    seq = rig.station.heard[-1].trigger_seq
    rejected = result(seq + 1, "three 2", Evaluation.NOT_OK, reason=Reason.DEFECT)
    failed = result(seq + 2, "three 3", Evaluation.UNDEFINED, reason=Reason.DEADLINE, recipe="other")
    made = [result(seq, "three 1"), rejected, failed]
    for one in made:
        await rig.tell(one)
    return made


async def test_results_are_found_by_what_is_asked_for(rig: Rig, three: list[InspectionResult]) -> None:
    query, ids = Query(rig), [r.result_id for r in three]
    assert await query(part="three 2") == (True, [ids[1]])
    assert await query(meas="m 1", product="p 1") == (True, [ids[0]])
    assert await query(external="other") == await query(internal="other") == (True, [ids[2]])
    assert await query(job=f"{BOOT:08x}.00000000.{three[1].trigger.trigger_seq}") == (True, [ids[1]])
    assert await query(part="three 3", state=FAILED) == (True, [ids[2]])
    assert await query(part="three 3", state=COMPLETED) == (True, [])
    assert await query(part="three 1", external_conf="st", internal_conf="st") == (True, [ids[0]])
    assert await query(part="three 1", internal_conf="other") == (True, [])
    assert await query(meas="m 2") == (True, [])


async def test_a_long_list_comes_in_pages(rig: Rig) -> None:
    ids = []
    for seq in range(5):
        await rig.tell(one := result(9000 + seq, "paged"))
        ids.append(one.result_id)
    query = Query(rig)
    assert await query(part="paged", most=2) == (False, ids[:2])
    assert await query(part="paged", most=2, start=2) == (False, ids[2:4])
    assert await query(part="paged", most=2, start=4) == (True, ids[4:])
    assert await query(part="paged", most=5) == (True, ids)
    assert await query(part="paged", start=4_000_000_000) == (True, [])


async def test_the_oldest_result_is_forgotten(rig: Rig) -> None:
    first, second = result(1), result(2)
    for one in (first, second):
        await rig.tell(one)
    for seq in range(KEPT - 1):
        await rig.tell(result(10 + seq))
    inputs = [rig.ident("Result", first.result_id), ua.Variant(0, ua.VariantType.Int32)]
    assert (await rig.call("ResultManagement.GetResultById", *inputs))[-1] == -2
    assert (await rig.result(second.result_id)).ResultId.Id == second.result_id
    complete, listed = await Query(rig)()
    assert (complete, len(listed)) == (True, KEPT)


async def test_the_prepared_recipe_and_the_configuration_are_listed(rig: Rig) -> None:
    page = [uint32(0), uint32(0), ua.Variant(0, ua.VariantType.Int32)]
    for prepared, names in ((1, ["r"]), (2, ["r"]), (0, [])):
        ids = [rig.ident("RecipeIdExternal"), rig.ident("Product"), ua.Variant(prepared, ua.VariantType.Int32)]
        complete, count, handle, listed, error = await rig.call("RecipeManagement.GetRecipeListFiltered", *ids, *page)
        assert (complete, count, handle, error) == (True, len(names), 0, 0)
        assert [one.Id for one in listed] == names
    listed = (await rig.call("ConfigurationManagement.GetConfigurationList", *page))[3]
    active = await rig.read("ConfigurationManagement.ActiveConfiguration")
    assert listed == [active]
    assert (active.InternalId.Id, active.InternalId.Version) == ("st", "1.2.3")
    inputs = [rig.ident("Configuration", "st"), ua.Variant(0, ua.VariantType.Int32)]
    assert await rig.call("ConfigurationManagement.GetConfigurationById", *inputs) == [0, active, 0]
    for known, error in (("st", 0), ("other", -2)):
        ident = rig.ident("Configuration", known)
        assert await rig.call("ConfigurationManagement.ActivateConfiguration", ident) == [error]
