"""What the methods of the VisionSystem do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from edge_inspector.datatypes import Identity
from edge_inspector.outputs.opcua_server.machine_vision import workarounds
from edge_inspector.outputs.opcua_server.machine_vision.address_space import (
    AUTOMATIC_MODE,
    STATE_MACHINE,
    AddressSpace,
)
from edge_inspector.outputs.opcua_server.machine_vision.jobs import Jobs
from edge_inspector.outputs.opcua_server.machine_vision.methods import Error, Handler, Refusal, forbid, link
from edge_inspector.outputs.opcua_server.machine_vision.queries import Queries
from edge_inspector.outputs.opcua_server.machine_vision.states import ALLOWED
from edge_inspector.outputs.opcua_server.machine_vision.virtual_plc import (
    ABORT,
    HALT,
    RESET,
    SELECT_AUTOMATIC,
    VirtualPlc,
)
from edge_inspector.plc.states import State
from edge_inspector.plc.tags import MAX_TEXT

log = structlog.get_logger()


class Machine(Protocol):
    """What the methods need of the VisionSystem."""

    @property
    def state(self) -> State: ...
    @property
    def runs_by_itself(self) -> bool: ...
    @property
    def plc_boot_id(self) -> int: ...
    @property
    def recipes_told(self) -> int: ...
    async def follow(self) -> None: ...
    async def pass_preoperational(self) -> None: ...
    async def tell_prepared(self, name: str, unless_after: int) -> None: ...
    def because(self, method: str) -> None: ...
    def show_halted_as(self, state: State) -> None: ...


class Calls:
    """One handler a method that changes something. A method in a wrong state is refused with WRONG_STATE."""

    def __init__(self, machine: Machine, plc: VirtualPlc, jobs: Jobs, space: AddressSpace, identity: Identity) -> None:
        self._machine = machine
        self._plc = plc
        self._jobs = jobs
        self._space = space
        self._identity = identity
        self._one_job = asyncio.Lock()
        self._one_recipe = asyncio.Lock()

    async def link(self, queries: Queries, may_call: Callable[[Any], bool], changing: bool) -> None:
        """Put every method behind its node; those that change something only when `changing`."""
        server = self._space.server
        for path, handler in queries.methods().items():
            await link(server, server.get_node(self._space.node(path)), handler, may_call)
        for path, handler in self._methods().items():
            method = server.get_node(self._space.node(path))
            if changing:
                await link(server, method, handler, may_call)
            else:
                await forbid(method)

    def _methods(self) -> dict[str, Handler]:
        return {
            f"{STATE_MACHINE}.Halt": self._halt,
            f"{STATE_MACHINE}.Reset": self._reset,
            f"{STATE_MACHINE}.SelectModeAutomatic": self._select_mode_automatic,
            f"{AUTOMATIC_MODE}.StartSingleJob": self._start_single_job,
            f"{AUTOMATIC_MODE}.StartContinuous": self._start_continuous,
            f"{AUTOMATIC_MODE}.Stop": self._stop,
            f"{AUTOMATIC_MODE}.Abort": self._abort,
            "RecipeManagement.PrepareRecipe": self._prepare_recipe,
            "RecipeManagement.UnprepareRecipe": self._unprepare_recipe,
            "ConfigurationManagement.ActivateConfiguration": self._activate_configuration,
        }

    async def _halt(self, cause: int, description: str) -> tuple[()]:
        async def act() -> None:
            self._machine.show_halted_as(State.Halted)
            await self._plc.command(HALT)

        await self._carry_out("Halt", act, cause, description)
        return ()

    async def _reset(self, cause: int, description: str) -> tuple[()]:
        async def act() -> None:
            if self._machine.state in (State.SingleExecution, State.ContinuousExecution):
                await self._plc.command(ABORT)
            await self._plc.command(RESET)
            await self._machine.pass_preoperational()

        await self._carry_out("Reset", act, cause, description)
        return ()

    async def _select_mode_automatic(self) -> tuple[()]:
        async def act() -> None:
            await self._plc.command(SELECT_AUTOMATIC)
            await self._reach(lambda: self._machine.state is not State.Preoperational)

        await self._carry_out("SelectModeAutomatic", act)
        return ()

    async def _start_single_job(
        self, meas_id: str, part_id: str, recipe_id: str, product_id: str, parameters: list[Any]
    ) -> tuple[Any]:
        async def act() -> str:
            self._check_start(recipe_id, parameters, (meas_id, part_id, product_id), by_itself=False)
            job = self._jobs.announce(self._machine.plc_boot_id, self._plc.next_trigger_seq, meas_id, product_id)
            try:
                await self._plc.trigger(part_id)
            except Refusal as refusal:
                if refusal.error != Error.NO_ANSWER:  # then it may still be accepted
                    self._jobs.forget(job)
                raise
            return job.job_id

        return (self._space.structure("JobIdDataType", await self._carry_out("StartSingleJob", act)),)

    async def _start_continuous(
        self, meas_id: str, part_id: str, recipe_id: str, product_id: str, parameters: list[Any]
    ) -> tuple[Any]:
        async def act() -> str:
            self._check_start(recipe_id, parameters, (meas_id, part_id, product_id), by_itself=True)
            if part_id:
                raise Refusal(Error.NOT_SUPPORTED)  # the parts of a run have no ids
            job = self._jobs.announce_run(meas_id, product_id)
            try:
                await self._plc.command(SELECT_AUTOMATIC)
                await self._reach(lambda: self._machine.state is State.ContinuousExecution)
            except Refusal:
                self._jobs.forget_run()
                raise
            return job.job_id

        return (self._space.structure("JobIdDataType", await self._carry_out("StartContinuous", act)),)

    async def _stop(self, cause: int, description: str) -> tuple[()]:
        async def act() -> None:
            if self._machine.state is State.ContinuousExecution:
                await self._end_run()  # a single job ends by itself, and Stop is the reason that the transition names

        await self._carry_out("Stop", act, cause, description)
        return ()

    async def _abort(self, cause: int, description: str) -> tuple[()]:
        async def act() -> None:
            if self._machine.state is State.ContinuousExecution:
                await self._end_run()
            await self._plc.command(ABORT)

        await self._carry_out("Abort", act, cause, description)
        return ()

    async def _prepare_recipe(self, external_id: str, internal_id: str) -> tuple[Any, bool]:
        name = internal_id or external_id
        if not name or len(name) > MAX_TEXT:
            raise Refusal(Error.UNKNOWN_ID)
        async with self._one_recipe:
            await self._check("PrepareRecipe")
            self._machine.because("PrepareRecipe")
            told = self._machine.recipes_told
            completed = await self._plc.recipe(name)
            if completed:
                await self._machine.tell_prepared(name, unless_after=told)
        return self._space.structure("RecipeIdInternalDataType", name), completed

    async def _unprepare_recipe(self, _external_id: str, _internal_id: str) -> tuple[Any]:
        raise Refusal(Error.NOT_SUPPORTED)

    async def _activate_configuration(self, internal_id: str) -> tuple[()]:
        if internal_id != self._identity.station:
            raise Refusal(Error.UNKNOWN_ID)
        return ()

    async def _end_run(self) -> None:
        self._machine.show_halted_as(State.Ready)
        try:
            await self._plc.command(HALT)
        except Refusal:
            self._machine.show_halted_as(State.Halted)
            raise

    def _check_start(self, recipe_id: str, parameters: list[Any], kept: tuple[str, ...], by_itself: bool) -> None:
        if parameters:
            raise Refusal(Error.NOT_SUPPORTED)
        if any(len(one) > MAX_TEXT for one in kept):
            raise Refusal(Error.BAD_ARGUMENT)
        if recipe_id and recipe_id != self._plc.prepared():
            raise Refusal(Error.UNKNOWN_ID)
        if self._machine.runs_by_itself != by_itself:
            raise Refusal(Error.WRONG_TRIGGER)

    async def _check(self, method: str) -> None:
        await self._machine.follow()
        if self._machine.state not in ALLOWED[method]:
            raise Refusal(Error.WRONG_STATE)

    async def _carry_out(
        self, method: str, act: Callable[[], Awaitable[Any]], cause: int = 0, description: str = ""
    ) -> Any:
        async with self._one_job:
            await self._check(method)
            user = getattr(workarounds.caller(), "name", None)
            words = description[:MAX_TEXT]
            log.info("machine_vision_method", method=method, user=user, cause=cause, description=words)
            self._machine.because(method)
            try:
                return await act()
            except Refusal:
                self._machine.because("")
                raise

    async def _reach(self, reached: Callable[[], bool]) -> None:
        if not await self._plc.until(reached, self._plc.patience.answer_s):
            raise Refusal(Error.NO_ANSWER)
