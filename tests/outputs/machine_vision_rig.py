"""A VisionSystem on a bare asyncua server, a small station behind its contract, and a client in front of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import anyio
from asyncua import Client, Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager

from edge_inspector.datatypes import Defect, Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import (
    CommandAnswer,
    CommandRequest,
    PlcMessage,
    PlcRequest,
    RecipeAnswer,
    RecipeRequest,
    StationStatus,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
)
from edge_inspector.outputs.live import LiveContract
from edge_inspector.outputs.opcua_server.machine_vision import VisionSystem
from edge_inspector.outputs.opcua_server.machine_vision.virtual_plc import Patience
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.states import STARTING, State
from edge_inspector.plc.tags import Value

BOOT = 0x77
OWN = "urn:edge-inspector:station"
PUBLISHED = "http://opcfoundation.org/UA/MachineVision"
MACHINE = "VisionStateMachine"
AUTOMATIC = "VisionStateMachine.AutomaticModeStateMachine"
PATIENT_S = 30.0
"""However busy the machine is that runs the tests."""
_books = itertools.count(1)


READY = replace(STARTING, ready=True, recipe="r", recipe_no=1, recipe_ready=True, error_text="")
STATUS: Mapping[State, StationStatus] = {
    State.Preoperational: replace(READY, ready=False, recipe_ready=False),
    State.Halted: replace(READY, ready=False, halted=True),
    State.Error: replace(READY, ready=False, error_code=101, error_text="camera top: unplugged"),
    State.Initialized: replace(READY, ready=False),
    State.Ready: READY,
    State.SingleExecution: replace(READY, ready=False, busy=True),
    State.ContinuousExecution: replace(READY, runs_by_itself=True),
}


class AnyUser(UserManager):  # type: ignore[misc]
    """Whoever gives a name has it."""

    def get_user(self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None) -> User:
        return User(role=UserRole.User, name=username or "anonymous")


class Station:
    """Answers what the contract asks.

    `deaf` answers nothing, `refusing` refuses every trigger, `loading` takes a recipe and never gets it ready.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.heard: list[Any] = []
        self.asked = asyncio.Event()
        self.recipes = {"r": 1, "s": 2}
        self.deaf = self.loading = False
        self.refusing: Reason | None = None
        self.command_result = 0

    def behave(self) -> None:
        """Answer everything, and well."""
        self.rig.wait_only(PATIENT_S)
        self.deaf = self.loading = False
        self.refusing = None
        self.command_result = 0

    async def run(self) -> None:
        while True:
            request = await self.rig.live.request()
            self.heard.append(request)
            self.asked.set()
            if not self.deaf:
                await self._answer(request)

    async def _answer(self, request: PlcRequest) -> None:
        tell = self.rig.tell
        if isinstance(request, TriggerRequest) and self.refusing is not None:
            await tell(TriggerRefused(request.trigger_seq, self.refusing))
        elif isinstance(request, TriggerRequest):
            await tell(TriggerAccepted(request.trigger_seq))
        elif isinstance(request, RecipeRequest):
            known = request.name in self.recipes
            await tell(RecipeAnswer(request.seq, known, Reason.NONE if known else Reason.RECIPE))
            if known and not self.loading:
                await tell(replace(self.rig.status, recipe=request.name, recipe_no=self.recipes[request.name]))
        elif isinstance(request, CommandRequest):
            await tell(CommandAnswer(request.seq, self.command_result))
            if not self.command_result and request.command in (2, 3):
                await tell(replace(self.rig.status, halted=request.command == 2, ready=request.command == 3))


class Rig:
    """Everything of one server. `allowed` judges the users."""

    def __init__(self, mode: Literal["observe", "control"]) -> None:
        paired = mode == "observe"
        self.live = LiveContract(Contract(boot_id=BOOT, acknowledge=False, paired=paired), SystemClock())
        self.allowed: Callable[[User], bool] = lambda _: True
        self.server = Server(user_manager=AnyUser())
        identity = Identity("st", BOOT, "1.2.3")
        self.vision = VisionSystem(self.live, identity, mode, SystemClock(), self.write)
        self.station = Station(self)
        self.client: Client
        self.url = ""
        self.own = self.published = 0

    @property
    def status(self) -> StationStatus:
        return self.live.contract.status

    def may_call(self, user: User) -> bool:
        return self.allowed(user)

    async def write(self, values: Mapping[str, Value]) -> None:
        self.live.written(values)

    async def tell(self, message: PlcMessage) -> None:
        """Until it is shown."""
        self.live.told(message)
        await self.vision.told(message)
        await self.vision.follow()

    def wait_only(self, seconds: float) -> None:
        """For what never comes."""
        self.vision._plc.patience = Patience(seconds, seconds)

    async def be(self, state: State) -> None:
        """Whatever was before: this is the state now, and nothing that a method left behind."""
        await self.tell(replace(STATUS[State.Ready], halted=True))
        await self.tell(STATUS[State.Ready])
        await self.tell(STATUS[state])

    def id(self, path: str) -> ua.NodeId:
        return ua.NodeId(f"VisionSystem.{path}" if path else "VisionSystem", self.own)

    async def read(self, path: str) -> Any:
        return await self.client.get_node(self.id(path)).read_value()

    async def call(self, path: str, *inputs: Any, client: Client | None = None) -> list[Any]:
        """The output arguments. UaError when the call itself is refused."""
        owner, _, name = path.rpartition(".")
        node = (client or self.client).get_node(self.id(owner))
        outputs = await node.call_method(self.id(f"{owner}.{name}"), *inputs)
        return outputs if isinstance(outputs, list) else [outputs]

    async def result(self, result_id: str) -> Any:
        """By GetResultById."""
        inputs = [self.ident("Result", result_id), ua.Variant(0, ua.VariantType.Int32)]
        handle, found, error = await self.call("ResultManagement.GetResultById", *inputs)
        assert (handle, error) == (0, 0)
        return found

    async def system_state(self) -> int:
        return int((await self.read("SystemState")).State)

    def ident(self, name: str, text: str = "") -> Any:
        numbers = {"Meas": 3015, "Part": 3004, "RecipeIdExternal": 3002, "Product": 3003, "Job": 3016, "Result": 3021}
        numbers |= {"RecipeIdInternal": 3013, "Configuration": 3008}
        return ua.get_type(ua.NodeId(numbers[name], self.published))(Id=text)

    def start(self, part: str = "", meas: str = "", recipe: str = "", product: str = "") -> list[Any]:
        """The arguments of a start method."""
        ids = [self.ident("Meas", meas), self.ident("Part", part), self.ident("RecipeIdExternal", recipe)]
        return [*ids, self.ident("Product", product), ua.Variant([], ua.VariantType.Variant, is_array=True)]


def cause() -> list[ua.Variant]:
    """The arguments of Halt, Reset, Stop and Abort."""
    return [ua.Variant(7, ua.VariantType.Int32), ua.Variant("test", ua.VariantType.String)]


def result(
    seq: int,
    part: str = "p",
    evaluation: Evaluation = Evaluation.OK,
    mode: Mode = Mode.PRODUCTION,
    reason: Reason = Reason.NONE,
    defects: tuple[Defect, ...] = (),
    recipe: str = "r",
) -> InspectionResult:
    book = next(_books)
    trigger = Trigger(
        seq=book, result_id=f"st.b.{book}", trigger_seq=seq, part_id=part, attempt=1, mode=mode, recipe=recipe,
        recipe_no=1, boot_id=BOOT, plc_boot_id=0, accepted_ns=1_000_000_000, deadline_ns=3_000_000_000,
        wall_utc="2026-11-22T10:00:00.000Z", clock_synced=True,
    )  # fmt: skip
    return InspectionResult(
        trigger=trigger, evaluation=evaluation, reason=reason, reason_text=reason.name.lower(), defects=defects,
        views=("top",), views_judged=1, thresholds=(0.5,), model_hash="ab" * 32, settled_ns=1_250_000_000,
        stage_ns={"acquire": 40_000_000, "infer": 20_000_000},
    )  # fmt: skip


@asynccontextmanager
async def rigged(mode: Literal["observe", "control"]) -> AsyncIterator[Rig]:
    rig = Rig(mode)
    await rig.server.init()
    rig.server.set_endpoint("opc.tcp://127.0.0.1:0/mv")
    rig.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    rig.own = await rig.server.register_namespace(OWN)
    await rig.vision.add_to(rig.server, rig.own, rig.may_call)
    rig.published = await rig.server.get_namespace_index(PUBLISHED)
    async with rig.server, anyio.create_task_group() as group:
        port = rig.server.bserver._server.sockets[0].getsockname()[1]
        rig.url = f"opc.tcp://127.0.0.1:{port}/mv"
        group.start_soon(rig.station.run, name="station")
        async with Client(rig.url, timeout=30) as client:
            rig.client = client
            rig.station.behave()
            await rig.tell(READY)
            yield rig
        group.cancel_scope.cancel()


class Heard:
    """Collects the events and the values of one subscription."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.values: list[Any] = []
        self._more = asyncio.Event()

    def event_notification(self, event: Any) -> None:
        self.events.append(event)
        self._more.set()

    def datachange_notification(self, _node: Any, value: Any, _data: Any) -> None:
        self.values.append(value)
        self._more.set()

    async def until(self, count: int) -> list[Any]:
        """The events, when there are so many."""
        await self._when(lambda: len(self.events) >= count)
        return self.events

    async def until_value(self, value: Any) -> None:
        await self._when(lambda: value in self.values)

    async def _when(self, reached: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not reached():
                self._more.clear()
                await self._more.wait()
