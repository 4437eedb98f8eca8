"""A station whose file the test writes anew while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from order_rig import JumpingClock, order, quiet_line
from station_rig import Rig

from edge_inspector import config
from edge_inspector.config import Problem, StationConfig, StationFileError
from edge_inspector.datatypes import Mode, Reason, ThresholdState
from edge_inspector.interfaces import OrderAnswer
from edge_inspector.settings.line_rules import AnyLineRule
from edge_inspector.station.changes import Configuration, flat
from edge_inspector.station.events import FileRead, RecipesTaken
from edge_inspector.station.line import Line
from edge_inspector.station.model_room import Renewal
from edge_inspector.station.parts import LoadedRecipe, Parts, Recipes, RecipeSet, StationFile
from edge_inspector.station.rereading import read_again

_FILE = """\
schema = 1
[station]
name = "s"
recipe = "r"
state_dir = "state"
[cameras.a]
type = "folder"
path = "."
[backend]
type = "onnxruntime"
[recipes.r]
number = 1
trigger = "timer"
period_s = 1.0
bundle = "b"
views = [{ camera = "a" }]
"""


@cache
def settings_of(folder: Path, more: str = "") -> StationConfig:
    """Of a file that says nothing of the rig's recipes."""
    path = folder / "station.toml"
    path.write_text(_FILE + more)
    return config.load(path)


class FileRig(Rig):
    """`recipes`, `line_rules` and `more` are what the file says; `broken` what is wrong with it, empty = nothing."""

    line_rules: Sequence[AnyLineRule] = ()
    more = ""
    golden = "none"
    broken: Sequence[str] = ()

    def judge_by(self, name: str, limit: float, **settings: Any) -> None:
        """Another threshold of both classes, and other settings."""
        old = self.recipes[name]
        settings["thresholds"] = {"dark": limit, "bright": limit}
        made = old.settings.model_copy(update=settings)
        self.recipes[name] = replace(old, settings=made, thresholds=ThresholdState((limit, limit)))

    def retrain(self, name: str) -> None:
        """Another model in the same bundle."""
        old = self.recipes[name]
        file = replace(old.model_file, sha256=f"{old.model_file.sha256}+")
        self.recipes[name] = replace(old, model_hash=f"{old.model_hash}+", model_file=file)

    def read(self) -> RecipeSet:
        if self.broken:
            raise StationFileError([Problem(self.folder / "station.toml", "recipes.r", "", one) for one in self.broken])
        document = {name: one.settings.model_dump(mode="json") for name, one in self.recipes.items()}
        values = dict(flat({"recipes": document, "line_rules": [one.model_dump() for one in self.line_rules]}))
        for name, one in self.recipes.items():
            values |= {f"recipes.{name}.model": one.model_hash, f"recipes.{name}.golden": self.golden}
        said = {"recipes": {name: one.settings for name, one in self.recipes.items()}}
        settings = settings_of(self.folder, self.more).model_copy(update={**said, "line_rules": tuple(self.line_rules)})
        content = f"{values} {self.more}".encode()
        return RecipeSet(
            dict(self.recipes), dict(self.bundles), self.line_rules, Configuration(values), settings, content
        )

    def parts(self) -> Parts:
        now = self.read()
        return replace(
            super().parts(),
            recipes=Recipes(now.recipes, now.bundles),
            line_rules=now.line_rules,
            configuration=now.configuration,
            file=StationFile(now, self.read),
        )

    async def reload(self, who: str = "anna") -> OrderAnswer:
        return await order(self, "reload", who)


class Hands:
    """A line, and what the GPU thread was told."""

    def __init__(self, rig: FileRig, line: Line) -> None:
        self.rig, self.line = rig, line
        self.renewals: list[Renewal] = []
        self.answers: list[OrderAnswer] = []
        line.reload.order_renewal = self.renewals.append
        line.reload.forget_builds = lambda _: None

    async def reload(self) -> OrderAnswer | None:
        """The file as it is now was read; None = it is not taken over yet."""
        count = len(self.answers)
        parts = self.line.parts
        outcome = read_again(self.rig.read, self.line.reload._now, parts.clock, proven=parts.backend.proof != "none")
        await self.line.handle(FileRead("anna", outcome, self.answers.append))
        self.line.reload.look()
        return self.answers[-1] if len(self.answers) > count else None

    async def obey(self) -> None:
        """As the GPU thread does."""
        await self.line.handle(RecipesTaken(self.renewals[-1].number))
        self.look()

    def look(self) -> None:
        self.line.reload.look()
        self.line.changeover.look(self.line.work, self.line.condition)

    @property
    def now(self) -> LoadedRecipe:
        return self.line.condition.recipe

    async def part(self, part_id: str = "", mode: Mode = Mode.PRODUCTION) -> int:
        self.line.condition.mode = mode
        return self.line._accept(1, part_id, self.line.parts.clock.monotonic_ns(), None, 0)

    async def settle(self, seq: int) -> None:
        await self.line.work.advance(seq, lambda i, now: i.undefined(Reason.ABORTED, "", now))


@asynccontextmanager
async def hands(rig: FileRig) -> AsyncIterator[Hands]:
    async with quiet_line(rig, JumpingClock()) as line:
        yield Hands(rig, line)
