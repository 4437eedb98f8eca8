"""Eight emulated cameras, every fault at random, for minutes: no part is lost, none gets another's verdict.

SOAK_S is how long the long form runs, in seconds (600); SOAK_SEED draws the same faults once more (it is printed).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from faulty_camera.rig import MOSQUITTO, SPOILED, Plant, assert_books_balance, plant

from edge_inspector.datatypes import Evaluation
from edge_inspector.station.cameras import HANGS_ALLOWED

pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
SOAK_S = float(os.environ.get("SOAK_S", "600"))
SOAK_SEED = int(os.environ.get("SOAK_SEED", "20261122"))
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto"),
]
_SIMPLE = (
    *("unplug", "failed", "stall", "empty", "shape", "frozen", "black", "saturated", "defocus"),
    *("skip", "repeat", "reorder"),
)
PICTURES: Mapping[str, tuple[str, Mapping[str, float]]] = {
    **{fault: (fault, {}) for fault in _SIMPLE},
    "late": ("late", {"s": 1.4}),
    "frozen for long": ("frozen", {"n": 6}),
    "failed for long": ("failed", {"n": 6}),
}
STATES: Sequence[str] = ("away", "held", "swapped")
HANGS: Sequence[str] = ("hang_grab", "hang_trigger")
LONG_HANGS: Sequence[str] = ("hang_open", "hang_close")
"""The station waits 30 s for those: one of each is enough."""
RSS_MB_MORE, RSS_MB_A_CAMERA = 60.0, 20.0
FDS_MORE, FDS_A_CAMERA = 60, 90
THREADS_MORE, THREADS_A_CAMERA = 10, 8
"""What the station may take more of in its second half, and for each camera more that is open, abandoned ones included:
an emulated one takes 61 to 82 descriptors and 5 threads."""


@dataclass
class Faults:
    """Draws faults; everything that it does is decided by the seed and the moments at which it is asked."""

    made: Plant
    draw: random.Random
    injected: Counter[str] = field(default_factory=Counter)
    hangs: Counter[str] = field(default_factory=Counter)

    def inject(self, kinds: Sequence[str]) -> None:
        """One fault on one camera. A camera that is away takes no order but keeps it for when it is back."""
        camera, kind = self.draw.choice(self.made.cameras), self.draw.choice(kinds)
        if kind in (*HANGS, *LONG_HANGS):
            if self.hangs[camera] >= HANGS_ALLOWED:
                return  # one more would end the process
            self.hangs[camera] += 1
        self.injected[kind] += 1
        if kind in STATES:
            self.made.lasting(camera, kind, self.draw.uniform(1.0, 5.0))
        if kind in PICTURES:
            fault, facts = PICTURES[kind]
            self.made.fault(camera, fault, **facts)
        elif kind in HANGS:
            self.made.fault(camera, kind)
        elif kind in LONG_HANGS:
            self.made.fault(camera, kind)
            self.made.fault(camera, "remove")
        else:
            self.made.fault(camera, "remove")


@dataclass(frozen=True)
class Size:
    """What the station's process takes; `open` are its cameras, with those whose call hangs for ever."""

    rss_mb: float
    fds: int
    threads: int
    open: int


def size(made: Plant) -> Size:
    pid = made.running["station"].pid
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return Size(
        rss_mb=int(status["VmRSS"].split()[0]) / 1024,
        fds=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(status["Threads"]),
        open=len(made.deeds("opened")) - len(made.deeds("closed")),
    )


def soak(folder: Path, cameras: int, seconds: float, seed: int, pause_s: float, long_hangs: Sequence[str]) -> None:
    """Faults for so long, one each `pause_s` on average, then quiet; what everybody has written down must agree."""
    draw = random.Random(seed)
    all_cameras = list(range(cameras))
    recipes = [all_cameras, sorted(draw.sample(all_cameras, cameras // 2))]
    pictures = [["dark"] * 31 + ["bright"], ["dark"] * 30 + ["small"]]
    print(f"\nSOAK_SEED={seed}, {cameras} cameras, second recipe {recipes[1]}, {seconds:g} s")  # noqa: T201 - for a person
    with plant(folder, cameras=cameras, recipes=recipes, pictures=pictures, grab_timeout_s=0.6, rate_hz=2.0) as made:
        faults = Faults(made, draw)
        kinds = [*PICTURES, *STATES, *HANGS, "remove"]
        begun = time.monotonic()
        slow = list(long_hangs)
        recipe, half = 1, None
        made.judged(1)
        while (gone := time.monotonic() - begun) < seconds:
            if slow and gone > seconds * (1 - len(slow) / (len(long_hangs) + 1)) / 2:
                faults.inject([slow.pop()])
            faults.inject(kinds)
            if draw.random() < 0.05:
                recipe = 3 - recipe
                made.panel.order(recipe)
            if half is None and gone > seconds / 2:
                half = size(made)
            due = time.monotonic() + draw.uniform(0.0, 2 * pause_s)
            made.wait("the next fault is due", lambda due=due: time.monotonic() >= due)  # type: ignore[misc]
        for camera in made.cameras:
            made.fault(camera, "clear")
        made.panel.order(1)
        made.wait("the first recipe is active", lambda: made.panel.now.recipe_no == 1, 120)
        made.judged(3, timeout_s=120)
        made.wait("the station is ready", lambda: made.panel.now.ready, 120)
        end = size(made)
        told = report(made, faults, half, end)
        print(told)  # noqa: T201 - for a person
        made.finish()
        assert_books_balance(made)
        assert_plc_read_all(made)
        assert half is not None
        more = max(0, end.open - half.open)
        assert end.rss_mb - half.rss_mb <= RSS_MB_MORE + RSS_MB_A_CAMERA * more, told
        assert end.fds - half.fds <= FDS_MORE + FDS_A_CAMERA * more, told
        assert end.threads - half.threads <= THREADS_MORE + THREADS_A_CAMERA * more, told


def assert_plc_read_all(made: Plant) -> None:
    """Every part that the PLC saw accepted is booked, and it has read every result but those of its last moment."""
    plc, parts = made.plc, made.parts
    assert {plc.part_ids[seq] for seq in plc.accepted} <= {part.part_id for part in parts}
    read = {told.part_id for told in plc.results}
    last = max(part.seq for part in parts if part.part_id in read)
    assert [part for part in parts if part.part_id not in read and part.seq < last] == []


def report(made: Plant, faults: Faults, half: Size | None, end: Size) -> str:
    """What a person wants to know of the run."""
    parts, counted = made.parts, made.counters()
    per_camera = {
        what: [int(counted[f"camera_{camera}_{what}"]) for camera in made.cameras]
        for what in ("opened", "lost", "hangs", "frames", "failed_buffers", "missed_frames")
    }
    lines = {
        "parts": len(parts),
        "refused": made.books.refused,
        "verdicts": dict(Counter(part.evaluation.name for part in parts)),
        "reasons": dict(Counter(part.reason.name for part in parts if part.evaluation is Evaluation.UNDEFINED)),
        "recipes": dict(Counter(part.recipe for part in parts)),
        "faults": dict(sorted(faults.injected.items())),
        "spoiled pictures": dict(Counter(d.fault for d in made.deeds("frame") if d.fault in SPOILED)),
        **per_camera,
        "at half time": half,
        "at the end": end,
    }
    return "\n".join(f"{what}: {value}" for what, value in lines.items())


@pytest.mark.heavy
def test_random_faults_of_four_cameras_for_a_while(tmp_path: Path) -> None:
    soak(tmp_path, cameras=4, seconds=10, seed=SOAK_SEED, pause_s=1.0, long_hangs=())


@pytest.mark.heavy
@pytest.mark.timeout(SOAK_S + 600)
def test_random_faults_of_eight_cameras_for_minutes(tmp_path: Path) -> None:
    soak(tmp_path, cameras=8, seconds=SOAK_S, seed=SOAK_SEED, pause_s=2.0, long_hangs=LONG_HANGS)
