"""What an opened camera is set to: by its configuration, and by the recipe over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_inspector.cameras.basler import counter, emulator
from edge_inspector.cameras.basler.buffers import known_format
from edge_inspector.cameras.basler.config import SET_BY_TRIGGER, Config
from edge_inspector.cameras.basler.features import Features, Overrides
from edge_inspector.cameras.basler.nodes import Feature, Nodes
from edge_inspector.datatypes import FeatureValue, PixelFormat
from edge_inspector.errors import CameraError, FeatureError

DEFAULT_EXPOSURE_US = 1e6
"""Allowed for when the camera chooses its exposure itself, or does not tell it."""


class Controls:
    """Sets an opened camera that is not grabbing; keeps how its pictures will be.

    pylon's errors come out as they are, but those that a feature is the cause of as FeatureError.
    """

    def __init__(self, name: str, config: Config, pylon: Any, genicam: Any, device: Any) -> None:
        self.image_hw = (0, 0)
        self.pixel_format: PixelFormat = "Mono8"
        self.exposure_us = DEFAULT_EXPOSURE_US
        self.counts_edges = False
        self._name = name
        self._config = config
        self._pylon = pylon
        self._genicam = genicam
        self._device = device
        self._nodes = Nodes(device.GetNodeMap(), genicam)
        self._features = Features(name, self._nodes, genicam)
        self._overrides = Overrides(self._features)
        self._emulated_hw: tuple[int, int] | None = None

    def set_up(self) -> None:
        """Written at each opening: the feature file, then `features`, then what the key `trigger` stands for.

        pylon's default has just switched all triggers off (continuous); a feature file may switch them on again.
        """
        config, device, write = self._config, self._device, self._features.write
        if config.feature_file is not None:
            self._load(config.feature_file)
            self._pylon.AcquireContinuousConfiguration.ApplyConfiguration(device.GetNodeMap())
        if config.emulate_folder is not None:
            self._emulated_hw = emulator.play(self._name, device, config.emulate_folder)
        if config.trigger != "free":
            write("TriggerSelector", "FrameStart")
        for feature, value in config.features.items():
            write(feature, value)
        if config.trigger != "free":
            source = self._trigger_source()
            write("TriggerSource", source)
            write("TriggerMode", "On")
            self.counts_edges = config.trigger == "line" and self._count_edges(source)
        device.MaxNumBuffer.Value = config.buffers
        self._look()

    def all(self) -> list[Feature]:
        """Every setting that is meant for people, as it stands."""
        found = [self._nodes.feature(name) for name in self._nodes.names()]
        return [feature for feature in found if feature is not None]

    def is_set_to(self, features: Mapping[str, FeatureValue]) -> bool:
        """Whether these are the recipe's features now. FeatureError: one of them is no recipe's to set."""
        for feature in features:
            if feature in (*SET_BY_TRIGGER, "TriggerSource"):
                raise FeatureError(f"camera {self._name}: {feature} is no recipe's to set; the camera's key trigger is")
        return dict(features) == self._overrides.current

    def locks(self, features: Mapping[str, FeatureValue]) -> bool:
        """Whether grabbing must be stopped to change to these."""
        return self._overrides.locked(features)

    def override(self, features: Mapping[str, FeatureValue]) -> None:
        """A recipe's features over the camera's own. FeatureError: refused, and all is as before."""
        before = self._overrides.current
        try:
            self._overrides.replace(features)
            self._look()
        except FeatureError as refused:
            try:
                self._overrides.replace(before)
                self._look()
            except FeatureError as exc:
                raise CameraError(f"{refused}; and the features before it do not come back, reopen it: {exc}") from exc
            raise

    def _load(self, path: Path) -> None:
        what = f"camera {self._name}: feature_file {path} cannot be loaded; expected a .pfs that pylon Viewer saved"
        try:
            if path.stat().st_size == 0:  # pylon takes an empty file as one that sets nothing
                raise FeatureError(f"{what}: it is empty")
            self._pylon.FeaturePersistence.Load(str(path), self._device.GetNodeMap(), True)
        except (OSError, self._genicam.GenericException) as exc:
            raise FeatureError(f"{what} from this model: {exc}") from exc

    def _trigger_source(self) -> str:
        """As `features` says, or the feature file of a line-triggered camera; else Software or Line1."""
        if self._config.trigger == "software":
            return "Software"
        named = self._config.features.get("TriggerSource")
        if named is None and self._config.feature_file is not None:
            stored = self._nodes.value("TriggerSource")
            named = None if stored == "Software" else stored
        return str(named or "Line1")

    def _count_edges(self, line: str) -> bool:
        """Counting is a gain where it is to be had; a camera that refuses it half-way triggers all the same."""
        try:
            return counter.count_line_edges(self._nodes, line)
        except self._genicam.GenericException:
            if self._device.IsCameraDeviceRemoved():
                raise
            return False

    def _look(self) -> None:
        """How the pictures will be. FeatureError: in a pixel format that is not known here."""
        stored = str(self._nodes.value("PixelFormat"))
        ours = known_format(stored)
        if ours is None:
            offered = [name for name in map(known_format, self._nodes.choices("PixelFormat")) if name]
            raise FeatureError(
                f"camera {self._name}: PixelFormat = {stored} is not known to edge-inspector, expected one of "
                f"{', '.join(offered)}; set features.PixelFormat"
            )
        self.pixel_format = ours
        height, width = int(self._device.Height.Value), int(self._device.Width.Value)
        if self._emulated_hw is not None:
            height, width = min(height, self._emulated_hw[0]), min(width, self._emulated_hw[1])
        self.image_hw = (height, width)
        exposure_us = self._nodes.value("ExposureTime") or self._nodes.value("ExposureTimeAbs")
        chosen_by_camera = self._nodes.value("ExposureAuto") not in (None, "Off")
        self.exposure_us = DEFAULT_EXPOSURE_US if chosen_by_camera else float(exposure_us or DEFAULT_EXPOSURE_US)
