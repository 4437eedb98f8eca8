"""What a board says of itself, read from /sys and from nvpmodel's own files: no service, no right needed."""

from __future__ import annotations

from pathlib import Path

from edge_inspector.health.power import sysfs
from edge_inspector.health.power.sysfs import over_current_counts
from edge_inspector.health.power.table import Table, kept_mode, read_table
from edge_inspector.health.sensors import power_w, temperatures_c
from edge_inspector.interfaces import PowerMode, PowerState

__all__ = ["BoardSensors", "over_current_counts"]


class BoardSensors:
    """Reads a board; over-current counts as throttling if it came since the reading before. One thread at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counts: dict[str, int] | None = None
        self._table: Table | None = None

    def table(self) -> Table | None:
        """The board's modes; None = it has none. Read until it is there: a container may get it later."""
        if self._table is None:
            self._table = read_table(self._root)
        return self._table

    def modes(self) -> tuple[PowerMode, ...]:
        table = self.table()
        return tuple(PowerMode(mode.number, mode.name) for mode in table.modes) if table else ()

    def needs_reboot(self, mode: PowerMode) -> bool:
        """Whether the table says so: the mode has other parts of the GPU switched off than the present one.

        nvpmodel asks for a reboot in other cases, too, such as another number of processors.
        """
        table, now = self.table(), self.mode()
        rows = [] if table is None or now is None else [table.mode(now.number), table.mode(mode.number)]
        return len({row.gating for row in rows if row is not None}) > 1

    def mode(self) -> PowerMode | None:
        """In which mode nvpmodel says the board is."""
        kept = kept_mode(self._root)
        return next((mode for mode in self.modes() if mode.number == kept), None)

    def read(self) -> PowerState:
        """Never raises; what cannot be read is None."""
        rails = power_w(self._root / "sys")
        return PowerState(
            mode=self.mode(),
            clocks_locked=sysfs.clocks_locked(self._root),
            throttled=self._throttled(),
            gpu_load=sysfs.gpu_load(self._root),
            total_w=sysfs.total_w(self._root, rails),
            rails_w=rails,
            temperatures_c=temperatures_c(self._root / "sys"),
        )

    def _throttled(self) -> str:
        counts = over_current_counts(self._root)
        before = counts if self._counts is None else self._counts
        self._counts = counts
        risen = [guard for guard, count in counts.items() if count > before.get(guard, 0)]
        hot = sysfs.heat_limits(self._root)
        found = ("heat: " + ", ".join(hot) if hot else "", "over-current: " + ", ".join(risen) if risen else "")
        return "; ".join(words for words in found if words)
