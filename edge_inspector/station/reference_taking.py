"""Reference pictures of a running station: those of the next good parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_inspector.stages.camera_health import reference_of
from edge_inspector.stages.camera_reference import Gray
from edge_inspector.station.parts import LoadedRecipe
from edge_inspector.station.reference_files import Facts, write_reference


class Taking:
    """On the thread of `CameraHealth`; any thread may ask what it wants."""

    def __init__(self, recipe: LoadedRecipe, pictures: int, who: str) -> None:
        self.recipe = recipe
        self.pictures = pictures
        self.who = who
        self._taken: dict[str, list[Gray]] = {camera: [] for camera in recipe.cameras}

    def wants(self, camera: str) -> bool:
        taken = self._taken.get(camera)
        return taken is not None and len(taken) < self.pictures

    def add(self, camera: str, picture: Gray) -> None:
        """A picture of a good part."""
        self._taken[camera].append(picture)

    @property
    def complete(self) -> bool:
        return not any(map(self.wants, self._taken))

    @property
    def taken(self) -> Mapping[str, Sequence[Gray]]:
        return self._taken

    @property
    def progress(self) -> Mapping[str, int]:
        """Pictures taken of each camera."""
        return {camera: len(taken) for camera, taken in self._taken.items()}


def keep_references(
    folder: Path, recipe: LoadedRecipe, pictures: Mapping[str, Sequence[Gray]], who: str, utc: str
) -> Mapping[str, str]:
    """Write the reference of each camera; its sha256 by camera.

    ConfigError: pictures of several sizes, or too few. StorageError: they cannot be written; those before it are.
    """
    sums = {}
    made = {camera: reference_of(taken) for camera, taken in pictures.items()}
    for camera, reference in made.items():
        facts = Facts(
            taken_utc=utc,
            who=who,
            pictures=len(pictures[camera]),
            features=dict(recipe.features(camera)),
            focus=reference.focus,
            spread=reference.spread,
        )
        sums[camera] = write_reference(folder, recipe.name, camera, reference, facts)
    return sums


def in_the_record(recipe: str, sums: Mapping[str, str]) -> str:
    """For the audit trail."""
    return f"recipe {recipe}: " + ", ".join(f"camera {camera} sha256 {sha256}" for camera, sha256 in sums.items())
