"""Whether the cameras still see as they did when the recipe was set up."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from pydantic import Field

from edge_inspector.datatypes import Evaluation, Frame, InspectionResult, Mode, Picture
from edge_inspector.errors import ConfigError, FrameError, StorageError
from edge_inspector.interfaces import Order, OrderAnswer
from edge_inspector.settings import Settings
from edge_inspector.stages.camera_findings import unseen
from edge_inspector.stages.camera_health import Eye
from edge_inspector.stages.camera_reference import FEWEST, MOST, Gray, gray8
from edge_inspector.station.events import LineEvent, Noticed, Ordered
from edge_inspector.station.health_samples import Sample, Samples
from edge_inspector.station.health_sight import Sight, Told
from edge_inspector.station.health_words import alarms_json, kept_alarms, words
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.station.reference_files import AGAIN, read_reference
from edge_inspector.station.reference_taking import Taking, in_the_record, keep_references
from edge_inspector.store.records import BookKept

log = structlog.get_logger()
NAME = "camera_health"
"""Of the alarms in the ledger's `kept`."""
NICE = 10
"""Of this thread: parts go first."""


class TakeReference(Settings):
    """New reference pictures of the active recipe, from the next good parts."""

    pictures: int = Field(20, ge=FEWEST, le=MOST)


class Nothing(Settings):
    """An order that needs no more than its name."""


class CameraHealth:
    """A `PictureKeeper`. `run` is the loop of its own thread; the other methods never wait for it.

    While no recipe has a [health] table, no buffer is held and nothing is computed.
    """

    def __init__(self, parts: Parts, post: Callable[[LineEvent], None]) -> None:
        """`post` takes what people should know; any thread."""
        self._parts = parts
        self._post = post
        self._recipe = parts.active_recipe
        self._sights = self._sights_of({})
        self._samples = Samples({camera for _, camera in self._sights}, parts.clock, self._wanted)
        self._lock = threading.Lock()
        self._generation = 0
        self._seen_generation: dict[tuple[str, str], int] = {}
        self._taking: Taking | None = None
        self._trouble = ""
        for name, camera, found in kept_alarms(parts.ledger.kept(NAME) if self._sights else None):
            sight = self._sights.get((name, camera))
            if sight is not None and sight.settings.stops:
                sight.found = found
        self._words = words(self._sights.values())

    def offer(self, picture: Picture, frame: Frame) -> None:
        self._samples.offer(picture, frame)

    def belongs(self, picture: Picture, seq: int) -> None:
        self._samples.belongs(picture, seq)

    def nobody(self, picture: Picture) -> None:
        self._samples.nobody(picture)

    def settled(self, result: InspectionResult) -> None:
        self._samples.settled(result)

    def selected(self, recipe: LoadedRecipe) -> None:
        """A recipe has become the active one."""
        self._recipe = recipe.name

    def renewed(self) -> None:
        """The station has other recipes: what was found goes on where camera and limits are as they were.

        An alarm that stops the station stands until it is reset, whatever became of its limits.
        """
        with self._lock:
            alarms = alarms_json(self._sights.values())
            self._sights = self._sights_of(self._sights)
            taking = self._taking
            if taking is not None and self._parts.recipes.get(taking.recipe.name) is not taking.recipe:
                self._taking, self._trouble = None, "the recipe was changed meanwhile; take the pictures again"
            self._words = words(self._sights.values())
            if alarms_json(self._sights.values()) != alarms:
                self._keep()
        self._samples.watch(camera for _, camera in self._sights)

    def warning(self, recipe: LoadedRecipe) -> str:
        """What is not as it should be with a camera of the recipe, and which; empty = nothing."""
        taking = self._taking
        if taking is not None and taking.recipe.name == recipe.name:
            return "reference pictures are being taken, and until they are there nothing is compared with them"
        word = self._words.get(recipe.name)
        return "" if word is None else word.warning

    def why_not(self, recipe: LoadedRecipe) -> str:
        """Why no part can be judged by what these cameras see, empty = it can."""
        word = self._words.get(recipe.name)
        return "" if word is None else word.why_not

    def again(self) -> None:
        """Somebody has mended it, or says so: what was found is forgotten, and the next pictures tell."""
        with self._lock:
            self._generation += 1
            for sight in self._sights.values():
                sight.found = ()
            self._words = words(self._sights.values())
            if self._sights:
                self._keep()

    def orders(self, condition: Any) -> Mapping[str, Any]:
        """What people may order of it, as `Orders` takes them."""

        def take(who: str, asked: TakeReference, _: object) -> OrderAnswer:
            return self._take(condition.recipe, asked.pictures, who)

        return {"reference": (TakeReference, take), "reference_progress": (Nothing, self._progress)}

    def run(self) -> None:
        os.nice(max(0, NICE - os.getpriority(os.PRIO_PROCESS, 0)))
        for sight in self._sights.values():
            self._read(sight)
        while (sample := self._samples.next()) is not None:
            try:
                self._look(sample)
            except FrameError as exc:
                log.warning("picture_not_measured", camera=sample.frame.camera, error=str(exc))
            finally:
                self._samples.done(sample)

    def stop(self) -> None:
        self._samples.stop()

    def _sights_of(self, before: Mapping[tuple[str, str], Sight]) -> dict[tuple[str, str], Sight]:
        """A sight for each camera of each recipe with a [health] table; the one before where nothing has changed."""
        made = {}
        for name, recipe in self._parts.recipes.items():
            settings = recipe.settings.health
            if settings is None:
                continue
            for camera in recipe.cameras:
                new, old = Sight(name, camera, settings, recipe.features(camera)), before.get((name, camera))
                same = old is not None and (old.settings, old.features) == (new.settings, new.features)
                if old is not None and settings.stops:  # as a restart has it: until somebody has looked
                    new.found = old.alarms
                made[name, camera] = old if old is not None and same else new
        return made

    def _wanted(self, camera: str, now_ns: int) -> bool:
        """On the camera's thread."""
        taking = self._taking
        if taking is not None and taking.recipe.name == self._recipe and taking.wants(camera):
            return True
        sight = self._sights.get((self._recipe, camera))
        if sight is None:
            return False
        return sight.due(now_ns) or (not sight.missing and self._is_anew(sight))

    def _look(self, sample: Sample) -> None:
        camera = sample.frame.camera
        sight = self._sights.get((sample.recipe, camera))
        if sight is None or sample.mode not in (Mode.PRODUCTION, Mode.GOLDEN):
            return
        picture = gray8(sample.frame.pixels, sample.frame.pixel_format)
        taking = self._taking
        if taking is not None and taking.recipe.name == sample.recipe and taking.wants(camera):
            if sample.evaluation is Evaluation.OK:
                taking.add(camera, picture.copy())  # the frame's own pixels may be the next picture's soon
                if taking.complete:
                    self._finish(taking)
        elif not sight.missing and sample.mode is Mode.PRODUCTION:  # one master part again and again looks like dirt
            self._compare(sight, picture)

    def _compare(self, sight: Sight, picture: Gray) -> None:
        generation = self._generation
        if self._is_anew(sight):
            sight.anew()
            self._seen_generation[sight.recipe, sight.camera] = generation
        eye = sight.eye or self._read(sight)
        if eye is None:
            return
        shape = eye.reference.median.shape
        if picture.shape != shape:
            sizes = f"{picture.shape[1]}x{picture.shape[0]}, and its reference is {shape[1]}x{shape[0]}"
            self._is_missing(sight, f"its pictures are {sizes}; {AGAIN}")
            return
        sight.looked_ns = self._parts.clock.monotonic_ns()
        sight.see(eye, picture)
        with self._lock:
            if generation != self._generation:  # somebody has said `again` meanwhile
                return
            alarms = sight.alarms
            told = sight.judge()
            self._words = words(self._sights.values())
            if sight.alarms != alarms:
                self._keep()
        for one in told:
            self._tell(one)

    def _is_anew(self, sight: Sight) -> bool:
        return self._seen_generation.get((sight.recipe, sight.camera), 0) != self._generation

    def _read(self, sight: Sight) -> Eye | None:
        """The camera's eye for this recipe: one at a time, because it is as large as several pictures."""
        try:
            kept = read_reference(self._parts.state_dir, sight.recipe, sight.camera)
        except StorageError as exc:
            self._is_missing(sight, str(exc))
            return None
        if kept is None:
            self._is_missing(sight, f"has no reference picture; {AGAIN}")
            return None
        reference, facts = kept
        if dict(facts.features) != sight.features:
            self._is_missing(sight, f"its features are not those of its reference picture; {AGAIN}")
            return None
        sight.missing = ""
        if sight.recipe != self._recipe:
            return None
        for other in self._sights.values():
            if other.camera == sight.camera and other is not sight:
                other.rest()
        sight.eye = Eye(reference)
        return sight.eye

    def _is_missing(self, sight: Sight, why: str) -> None:
        with self._lock:
            sight.missing = why
            sight.rest()
            self._words = words(self._sights.values())
        where = f"recipe {sight.recipe}, camera {sight.camera}"
        self._tell(Told("warning", "camera_no_reference", f"{where}: {why}"))

    def _take(self, recipe: LoadedRecipe, pictures: int, who: str) -> OrderAnswer:
        if recipe.settings.health is None:
            text = (
                f"recipe {recipe.name} does not look after its cameras: give it a table [recipes.{recipe.name}.health]"
            )
            return OrderAnswer(done=False, text=text)
        self._trouble = ""
        self._taking = Taking(recipe, pictures, who)
        return OrderAnswer(done=True, facts={"recipe": recipe.name, "pictures": pictures})

    def _progress(self, _who: str, _asked: Nothing, _: object) -> OrderAnswer:
        taking = self._taking
        if taking is None:
            return OrderAnswer(done=not self._trouble, text=self._trouble, facts={"taking": False})
        facts = {"taking": True, "recipe": taking.recipe.name, "pictures": taking.pictures, "taken": taking.progress}
        return OrderAnswer(done=True, facts=facts)

    def _finish(self, taking: Taking) -> None:
        """The pictures are there: they are the reference from now on, and the record says so."""
        recipe, utc = taking.recipe, self._parts.clock.utc()
        try:
            sums = keep_references(self._parts.state_dir, recipe, taking.taken, taking.who, utc)
        except (ConfigError, StorageError) as exc:
            self._trouble, self._taking = str(exc), None
            self._tell(Told("warning", "reference_not_taken", f"recipe {recipe.name}: {exc}"))
            return
        with self._lock:
            sights = [sight for (name, _), sight in self._sights.items() if name == recipe.name]
            for sight in sights:
                sight.rest()
                sight.found, sight.missing = (), ""
            self._words = words(self._sights.values())
            self._keep()
        blind = []
        for sight in sights:
            eye = self._read(sight)
            if eye is not None:
                blind += [f"camera {sight.camera} cannot see {one}" for one in unseen(sight.settings, eye.reference)]
        self._taking = None
        detail = {"what": "reference_taken", "detail": in_the_record(recipe.name, sums)[:1000]}
        self._post(Ordered(Order("audit", taking.who, detail), lambda _: None))
        text = f"recipe {recipe.name}: new reference pictures; " + ("; ".join(blind) or "nothing hides from them")
        self._tell(Told("info", "reference_taken", text))

    def _keep(self) -> None:
        """Alarms outlive a restart."""
        self._parts.ledger.submit(BookKept(NAME, alarms_json(self._sights.values()), self._parts.clock.utc()))

    def _tell(self, told: Told) -> None:
        self._post(Noticed(told.severity, told.code, told.text))
