"""Which pictures go when there is no room, or when they are old."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, datetime, timezone
from pathlib import Path

from edge_inspector.interfaces import Clock
from edge_inspector.store.images import files
from edge_inspector.store.images.files import Stored
from edge_inspector.store.images.policy import RANKS
from edge_inspector.store.images.settings import ImageSettings

REFRESH_NS = 60_000_000_000
"""How old a plan of what goes next may become: files come and get older meanwhile."""
BATCH = 100


class Retention:
    """Knows how much the folder holds; on the image thread. Every method may raise OSError.

    Files go by what kept them, least first, and within that by their day, oldest first.
    """

    def __init__(self, settings: ImageSettings, folder: Path, clock: Clock) -> None:
        self.tell: Callable[[tuple[str, ...]], None] = lambda _paths: None
        """Told what is gone."""
        self.bytes = 0
        self.removed = 0
        self.removed_early = 0
        """Of `removed`: those that were younger than min_days."""
        self.settings = settings
        self._folder = folder
        self._clock = clock
        self._written = 0
        self._old = _Plan(self._unprotected, grows=False)
        self._any = _Plan(self._all, grows=True)

    @property
    def max_bytes(self) -> int:
        return round(self.settings.max_gb * 1e9)

    def count(self) -> None:
        """How much there is already."""
        self.bytes = sum(one.size for day in files.all_stored(self._folder) for one in day)

    def make_room(self, size: int, rank: int) -> bool:
        """Room for a file; False: all that could go for it is worth more than `rank`.

        Within our own limit the young go, too, when nothing older is left. For a disk that others fill they do not:
        OSError, also when nothing of ours is left on it.
        """
        while self.bytes + size > self.max_bytes:
            if not (self._remove_first(self._old, rank) or self._remove_first(self._any, rank)):
                return False
        while (missing := self._missing_on_disk(size)) and self._remove_first(self._old, len(RANKS)):
            pass
        if missing:
            raise OSError(errno.ENOSPC, missing)
        return True

    def added(self, size: int) -> None:
        """A file was written."""
        self.bytes += size
        self._written += 1

    def expire(self) -> None:
        """Remove what is older than its max_days; nothing while the clock is not set."""
        limits = [
            kind.max_days for kind in (self.settings.originals, self.settings.overlays) if kind.max_days is not None
        ]
        today = self._today()
        if today is None or not limits:
            return
        for why in RANKS:
            for day in files.days(self._folder, why):
                taken = files.day_of(day)
                if taken is not None and (today - taken).days <= min(limits):
                    continue  # none of it is too old: not listed
                old = [one for one in files.listed(self._folder, why, day) if self._expired(one, today)]
                for at in range(0, len(old), BATCH):
                    self._remove(old[at : at + BATCH])

    def _expired(self, stored: Stored, today: date) -> bool:
        max_days = self.settings.of_kind(stored.kind).max_days
        if max_days is None:
            return False
        taken = stored.day or self._dated(stored, today)
        return (today - taken).days > max_days

    def _dated(self, stored: Stored, today: date) -> date:
        """A picture that was taken while the clock was not set counts as taken when it is first seen after that."""
        path = self._folder / stored.path
        seen = path.stat().st_mtime
        if seen > 0:
            return datetime.fromtimestamp(seen, timezone.utc).date()
        noon = datetime(today.year, today.month, today.day, 12, tzinfo=timezone.utc).timestamp()
        os.utime(path, (noon, noon))
        return today

    def _missing_on_disk(self, size: int) -> str:
        """Why the disk takes no file of that size, empty = it does."""
        disk, pct = shutil.disk_usage(self._folder), self.settings.min_free_pct
        if disk.free - size >= disk.total * pct / 100:
            return ""
        return f"No space left on device: {disk.free / 1e6:.1f} MB are free, images.min_free_pct = {pct:g} % must stay"

    def _remove_first(self, plan: _Plan, rank: int) -> bool:
        """Remove the first file of the plan, if it is worth no more than that. False when there is none."""
        stored = plan.first(self._clock.monotonic_ns(), self._written)
        if stored is None or stored.rank > rank:
            return False
        plan.done()
        early = self._protected(stored)
        self._remove([stored])
        self.removed_early += early
        return True

    def _remove(self, gone: list[Stored]) -> None:
        done, missing = list[str](), False
        try:
            for one in gone:
                try:
                    (self._folder / one.path).unlink()
                except FileNotFoundError:  # removed since it was listed, by us or by somebody else
                    missing = True
                else:
                    self.bytes -= one.size
                    self.removed += 1
                done.append(one.path)
        finally:
            if done:
                self.tell(tuple(done))
        if missing:
            self.count()
            self._old.forget()
            self._any.forget()
        for folder in {(self._folder / one.path).parent for one in gone}:
            with suppress(OSError):  # not empty
                folder.rmdir()

    def _unprotected(self) -> Iterator[Stored]:
        for why in RANKS:
            for day in files.days(self._folder, why):
                if not self._is_young(
                    files.day_of(day), min(kind.min_days for kind in (self.settings.originals, self.settings.overlays))
                ):
                    yield from (one for one in files.listed(self._folder, why, day) if not self._protected(one))

    def _all(self) -> Iterator[Stored]:
        for day in files.all_stored(self._folder):
            yield from day

    def _protected(self, stored: Stored) -> bool:
        return self._is_young(stored.day, self.settings.of_kind(stored.kind).min_days)

    def _is_young(self, day: date | None, min_days: int) -> bool:
        """Younger than that, as far as anybody can say: what has a date is, while the clock is not set."""
        if day is None:
            return False
        today = self._today()
        return today is None or (today - day).days < min_days

    def _today(self) -> date | None:
        return date.fromisoformat(self._clock.utc()[:10]) if self._clock.synced() else None


class _Plan:
    """What goes next, listed anew when the list is old, or when it is at its end and files were written since."""

    def __init__(self, candidates: Callable[[], Iterator[Stored]], *, grows: bool) -> None:
        """`grows`: a file that was just written is a candidate."""
        self._candidates = candidates
        self._grows = grows
        self._made_ns = 0
        self._made_at = -1
        self._rest: Iterator[Stored] = iter(())
        self._first: Stored | None = None

    def first(self, now_ns: int, written: int) -> Stored | None:
        """`written` files were written until now. None = there is none."""
        self._first = self._first or next(self._rest, None)
        grown = self._grows and self._first is None and written != self._made_at
        if self._made_at < 0 or now_ns - self._made_ns > REFRESH_NS or grown:
            self._made_ns, self._made_at, self._rest = now_ns, written, self._candidates()
            self._first = next(self._rest, None)
        return self._first

    def done(self) -> None:
        self._first = None

    def forget(self) -> None:
        """The list is wrong."""
        self._first, self._rest, self._made_at = None, iter(()), -1
