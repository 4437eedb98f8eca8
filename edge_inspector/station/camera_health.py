"""Whether the cameras still see as they did when the recipe was set up."""

from __future__ import annotations

from edge_inspector.datatypes import Frame, InspectionResult, Picture
from edge_inspector.station.parts import LoadedRecipe, Parts


class CameraHealth:
    """A `PictureKeeper`. While no recipe has reference pictures, no buffer is held and nothing is computed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def offer(self, picture: Picture, frame: Frame) -> None: ...
    def belongs(self, picture: Picture, seq: int) -> None: ...
    def nobody(self, picture: Picture) -> None: ...
    def settled(self, result: InspectionResult) -> None: ...

    def warning(self, recipe: LoadedRecipe) -> str:
        """What is not as it should be with a camera of the recipe, and which; empty = nothing."""
        return ""

    def why_not(self, recipe: LoadedRecipe) -> str:
        """Why no part can be judged by what these cameras see, empty = it can."""
        return ""
