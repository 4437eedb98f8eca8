"""The methods that only ask: results, the prepared recipe, the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from edge_inspector.datatypes import Identity
from edge_inspector.outputs.opcua_server.machine_vision.address_space import AddressSpace, configuration
from edge_inspector.outputs.opcua_server.machine_vision.methods import Error, Handler, Refusal
from edge_inspector.outputs.opcua_server.machine_vision.results import Kept, Results
from edge_inspector.outputs.opcua_server.machine_vision.virtual_plc import VirtualPlc

_NO_HANDLE = 0  # what the specification asks of a server that keeps nothing for one client
_FALSE = 0  # of TriStateBooleanDataType


class Queries:
    """One handler a method. `now` is when the configuration was loaded."""

    def __init__(
        self, results: Results, plc: VirtualPlc, space: AddressSpace, identity: Identity, now: datetime
    ) -> None:
        self._results = results
        self._plc = plc
        self._space = space
        self._identity = identity
        self._configuration = configuration(space, identity, now)

    def methods(self) -> dict[str, Handler]:
        return {
            "ResultManagement.GetResultById": self._result_by_id,
            "ResultManagement.GetResultComponentsById": self._components_by_id,
            "ResultManagement.GetResultListFiltered": self._results_filtered,
            "RecipeManagement.GetRecipeListFiltered": self._recipes_filtered,
            "ConfigurationManagement.GetConfigurationById": self._configuration_by_id,
            "ConfigurationManagement.GetConfigurationList": self._configurations,
        }

    async def _result_by_id(self, result_id: str, _timeout: int) -> tuple[int, Any]:
        return _NO_HANDLE, self._structure(self._found(result_id))

    async def _components_by_id(self, result_id: str, _timeout: int) -> tuple[Any, ...]:
        fields = self._results.fields(self._found(result_id), self._space)
        on_file = fields.pop("HasTransferableDataOnFile")
        del fields["ResultId"]
        return on_file, _NO_HANDLE, *fields.values()

    async def _results_filtered(self, state: int, *rest: Any) -> tuple[bool, int, int, list[Any]]:
        wanted, (most, start, _timeout) = rest[:-3], rest[-3:]
        matching = self._results.matching(state, wanted)
        page, complete = _page(matching, start, most)
        return complete, len(page), _NO_HANDLE, [self._structure(kept) for kept in page]

    async def _recipes_filtered(
        self, external_id: str, product_id: str, prepared: int, most: int, start: int, _timeout: int
    ) -> tuple[bool, int, int, list[Any]]:
        """Only the prepared recipe: the contract with the PLC does not tell the others."""
        name = self._plc.prepared()
        fits = bool(name) and external_id in ("", name) and not product_id and prepared != _FALSE
        page, complete = _page([name] if fits else [], start, most)
        listed = [self._space.structure("RecipeIdInternalDataType", one) for one in page]
        return complete, len(page), _NO_HANDLE, listed

    async def _configuration_by_id(self, internal_id: str, _timeout: int) -> tuple[int, Any]:
        if internal_id != self._identity.station:
            raise Refusal(Error.UNKNOWN_ID)
        return _NO_HANDLE, self._configuration

    async def _configurations(self, most: int, start: int, _timeout: int) -> tuple[bool, int, int, list[Any]]:
        page, complete = _page([self._configuration], start, most)
        return complete, len(page), _NO_HANDLE, page

    def _found(self, result_id: str) -> Kept:
        kept = self._results.by_id(result_id)
        if kept is None:
            raise Refusal(Error.UNKNOWN_ID)
        return kept

    def _structure(self, kept: Kept) -> Any:
        return self._space.cls("ResultDataType")(**self._results.fields(kept, self._space))


def _page(listed: Sequence[Any], start: int, most: int) -> tuple[list[Any], bool]:
    """The part of a list for which a client asks (0 = all of it), and whether nothing comes after it."""
    end = start + most if most else len(listed)
    return list(listed[start:end]), end >= len(listed)
