"""Everybody who wants to see the pictures that the cameras take."""

from __future__ import annotations

from collections.abc import Sequence

from edge_inspector.datatypes import Frame, InspectionResult, Picture
from edge_inspector.interfaces import PictureKeeper


class Pictures:
    """Hands on to each keeper, in order; the station knows only this one."""

    def __init__(self, keepers: Sequence[PictureKeeper]) -> None:
        self._keepers = tuple(keepers)

    def offer(self, picture: Picture, frame: Frame) -> None:
        for keeper in self._keepers:
            keeper.offer(picture, frame)

    def belongs(self, picture: Picture, seq: int) -> None:
        for keeper in self._keepers:
            keeper.belongs(picture, seq)

    def nobody(self, picture: Picture) -> None:
        for keeper in self._keepers:
            keeper.nobody(picture)

    def settled(self, result: InspectionResult) -> None:
        for keeper in self._keepers:
            keeper.settled(result)
