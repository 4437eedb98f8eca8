"""Features of Basler cameras: set and read back, refused in words, overridden by a recipe and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from basler_rig import Node, NodeMap, camera, command, genicam, shoot, values
from pydantic import ValidationError

from edge_inspector.cameras.basler import BaslerCamera, Config, Feature
from edge_inspector.cameras.basler.features import Features, Journal
from edge_inspector.cameras.basler.nodes import Nodes
from edge_inspector.errors import CameraError, FeatureError

pylon = pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")

WriteFolder = Callable[[dict[str, npt.NDArray[Any]]], Path]


@pytest.fixture
def folder(write_folder: WriteFolder, noise: Callable[..., npt.NDArray[np.uint8]]) -> Path:
    return write_folder({f"{i}.png": noise(48, 61) for i in range(3)})


@pytest.fixture
def opened(folder: Path) -> Iterator[BaslerCamera]:
    with camera(folder) as opened:
        yield opened


def written(*nodes: Node) -> Features:
    """For cameras that the emulator is not."""
    return Features("top", Nodes(NodeMap(nodes), genicam), genicam)


def test_features_are_set_in_order_with_the_automatics_off(folder: Path) -> None:
    features = {"ExposureAuto": "Continuous", "GainAuto": "Once", "ExposureTime": 1234, "Gain": 6.0, "ReverseX": True}
    with camera(folder, features=features) as opened:
        now = values(opened)
    assert now["ExposureTime"] == pytest.approx(1234, abs=1)
    assert now["Gain"] == pytest.approx(6.0, abs=0.006)
    assert (now["ReverseX"], now["ExposureAuto"], now["GainAuto"]) == (True, "Off", "Off")


def test_an_automatic_that_is_named_last_stays_on(folder: Path) -> None:
    with camera(folder, features={"ExposureTime": 1234.0, "ExposureAuto": "Continuous"}) as opened:
        assert values(opened)["ExposureAuto"] == "Continuous"


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"ExposureTime": 0.5}, "ExposureTime = 0.5 us, expected 1 to 10000000 us in steps of 0.1"),
        ({"ExposureTime": 1e9}, "ExposureTime = 1000000000 us, expected 1 to 10000000 us in steps of 0.1"),
        ({"GainRaw": 5}, "GainRaw = 5, expected 192 to 1023"),
        ({"GainRaw": 200.0}, "GainRaw = 200.0 is of the wrong type, expected a whole number, 192 to 1023"),
        ({"ExposureTime": "800"}, "ExposureTime = '800' is of the wrong type, expected a number, 1 to 10000000 us"),
        ({"ExposureTime": True}, "ExposureTime = True is of the wrong type, expected a number"),
        ({"ReverseX": "on"}, "ReverseX = 'on' is of the wrong type, expected true or false"),
        ({"ReverseX": 1}, "ReverseX = 1 is of the wrong type, expected true or false"),
        ({"GainAuto": 1}, "GainAuto = 1 is of the wrong type, expected a text, one of Off, Once, Continuous"),
        ({"GainAuto": "Sometimes"}, "GainAuto = Sometimes, expected one of Off, Once, Continuous"),
        ({"Exposuretme": 800}, "Exposuretme is not a feature of this camera; closest are ExposureTime, "),
        ({"Xyzzy": 1}, "Xyzzy is not a feature of this camera; edge-inspector camera show lists all"),
        ({"TriggerSoftware": True}, "TriggerSoftware is a command or a category, expected a setting"),
        ({"SensorWidth": 2048}, "SensorWidth = 2048 cannot be written now: it is read-only, or another feature locks"),
        (
            {"PixelFormat": "Mono10"},
            "PixelFormat = Mono10 is not known to edge-inspector, expected one of Mono8, Mono12",
        ),
    ],
)
def test_what_the_camera_does_not_take_is_said_at_opening(folder: Path, features: dict[str, Any], said: str) -> None:
    with pytest.raises(FeatureError) as refused, camera(folder, features=features):
        pass
    assert str(refused.value).startswith(f"camera top: {said}")


def test_the_formats_offered_are_those_that_both_know(folder: Path) -> None:
    with pytest.raises(FeatureError) as refused, camera(folder, features={"PixelFormat": "BayerRG10"}):
        pass
    assert "Mono8, Mono12, BGR8, RGB8, BayerGR8" in str(refused.value)
    assert "Mono16" not in str(refused.value)
    assert "Packed" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"features": {"TriggerMode": "On"}}, "TriggerMode is set by the key trigger"),
        ({"features": {"TriggerSelector": "FrameStart"}}, "TriggerSelector is set by the key trigger"),
        ({"features": {"AcquisitionMode": "SingleFrame"}}, "AcquisitionMode is set by the key trigger"),
        ({"features": {"Gain": float("nan")}}, "expected a finite number"),
        ({"features": {"TriggerSource": "Line1"}}, "TriggerSource = Line1 contradicts trigger = software"),
        ({"features": {"TriggerSource": "Software"}, "trigger": "line"}, "contradicts trigger = line"),
        ({"features": {"TriggerSource": "Line1"}, "trigger": "free"}, "contradicts trigger = free"),
        ({"emulate_folder": "pictures", "trigger": "line"}, "no line input"),
        ({"exposure_us": 800}, "exposure_us"),
    ],
)
def test_what_contradicts_itself_is_refused_by_the_config(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config(type="basler", **settings)


def test_the_source_of_a_line_trigger_may_be_named() -> None:
    config = Config(type="basler", trigger="line", features={"TriggerSource": "Line3"})
    assert config.features["TriggerSource"] == "Line3"


def test_all_settings_are_listed_with_range_unit_and_choices(opened: BaslerCamera) -> None:
    listed = {feature.name: feature for feature in opened.features()}
    exposure = listed["ExposureTime"]
    assert exposure == Feature(
        name="ExposureTime", kind="float", value=exposure.value, minimum=1.0, maximum=10_000_000.0,
        increment=pytest.approx(0.1), choices=(), unit="us", writable=True, tooltip=exposure.tooltip,
    )  # fmt: skip
    assert exposure.tooltip
    assert listed["GainRaw"].kind == "integer"
    assert listed["GainRaw"].increment == 1
    assert "BayerRG12" in listed["PixelFormat"].choices
    assert (listed["PixelFormat"].kind, listed["PixelFormat"].writable) == ("enumeration", False)
    assert (listed["ReverseX"].kind, listed["ReverseX"].minimum) == ("boolean", None)
    assert (listed["DeviceModelName"].kind, listed["DeviceModelName"].value) == ("string", "CamEmu")
    assert not {"Root", "TriggerSoftware", "DeviceDelayRegister"} & set(listed)


def test_a_recipe_overrides_features_and_the_next_puts_them_back(opened: BaslerCamera) -> None:
    before = values(opened)
    opened.apply({"ExposureTime": 2000, "Gain": 3.0})
    assert values(opened)["ExposureTime"] == 2000
    opened.apply({"ExposureTime": 4000})
    assert values(opened) == {**before, "ExposureTime": 4000}
    opened.apply({})
    assert values(opened) == before
    assert shoot(opened).frame_id == 0


def test_the_automatic_that_an_override_switched_off_comes_back(folder: Path) -> None:
    with camera(folder, features={"ExposureAuto": "Continuous"}) as opened:
        opened.apply({"ExposureTime": 2000})
        assert values(opened)["ExposureAuto"] == "Off"
        opened.apply({})
        assert values(opened)["ExposureAuto"] == "Continuous"


def test_grabbing_is_stopped_only_for_what_is_locked_meanwhile(opened: BaslerCamera) -> None:
    opened.trigger()
    opened.apply({"ExposureTime": 2000, "Gain": 3.0})
    assert opened.grab(10) is not None
    opened.trigger()
    opened.apply({"Width": 30})
    assert opened.statistics.discarded_late == 1
    assert shoot(opened).frame_id > 0


def test_a_size_and_a_format_are_overridden_and_come_back(opened: BaslerCamera) -> None:
    whole = shoot(opened)
    opened.apply({"Width": 30, "OffsetX": 0, "PixelFormat": "BGR8"})
    assert opened.image_hw == (48, 30)
    cut = shoot(opened)
    assert (cut.pixels.shape, cut.pixel_format) == ((48, 30, 3), "BGR8")
    opened.apply({})
    assert opened.image_hw == (48, 61)
    again = shoot(opened)
    assert (again.pixels.shape, again.pixel_format) == ((48, 61), "Mono8")
    assert [whole.frame_id, cut.frame_id, again.frame_id] == [0, 1, 2]
    assert opened.statistics.missed_frames == 0


@pytest.mark.parametrize(
    "refused",
    [
        {"Gain": 1.0, "ExposureTime": 1e9},
        {"ExposureTime": 5000, "Nonsense": 1},
        {"Gain": 2.0, "Width": 30, "PixelFormat": "Mono10"},
        {"Width": 30, "Height": 0},
        {"ExposureTime": 5000, "TriggerSource": "Line1"},
        {"TriggerMode": "Off"},
    ],
)
def test_a_refused_recipe_leaves_all_as_it_was_and_the_camera_usable(
    opened: BaslerCamera, refused: dict[str, Any]
) -> None:
    opened.apply({"ExposureTime": 2000, "Height": 40})
    before, hw = values(opened), opened.image_hw
    with pytest.raises(FeatureError, match="camera top: "):
        opened.apply(refused)
    assert (values(opened), opened.image_hw) == (before, hw)
    assert shoot(opened).pixels.shape == (40, 61)
    opened.apply({})
    assert shoot(opened).pixels.shape == (48, 61)


def test_a_recipe_for_a_camera_that_is_gone_loses_the_camera(opened: BaslerCamera) -> None:
    command(opened, "FirePnPCallback")
    with pytest.raises(CameraError, match="unplugged") as lost:
        opened.apply({"ExposureTime": 2000})
    assert not isinstance(lost.value, FeatureError)


@pytest.fixture
def feature_file(tmp_path: Path) -> Path:
    """Written by pylon, as its Viewer does, from a camera that is triggered by bursts."""
    factory = pylon.TlFactory.GetInstance()
    pylon_camera = pylon.InstantCamera(factory.CreateDevice(factory.EnumerateDevices()[7]))
    file = tmp_path / "camera.pfs"
    pylon_camera.Open()
    pylon_camera.ExposureTime.Value = 4321
    pylon_camera.PixelFormat.Value = "BayerGB8"
    pylon_camera.AcquisitionMode.Value = "SingleFrame"
    pylon_camera.TriggerSelector.Value = "FrameBurstStart"
    pylon_camera.TriggerMode.Value = "On"
    pylon.FeaturePersistence.Save(str(file), pylon_camera.GetNodeMap())
    pylon_camera.Close()
    return file


def test_a_feature_file_is_loaded_before_features_and_its_triggers_are_ours(folder: Path, feature_file: Path) -> None:
    with camera(folder, feature_file=feature_file, features={"Gain": 6.0}) as opened:
        now = values(opened)
        assert now["ExposureTime"] == 4321
        assert now["Gain"] == pytest.approx(6.0, abs=0.006)
        assert (now["AcquisitionMode"], now["TriggerSelector"]) == ("Continuous", "FrameStart")
        assert [shoot(opened).pixel_format for _ in range(2)] == ["BayerGB8"] * 2
        opened._device.TriggerSelector.Value = "FrameBurstStart"
        assert opened._device.TriggerMode.Value == "Off"
    with camera(folder, feature_file=feature_file, features={"ExposureTime": 777}) as opened:
        assert values(opened)["ExposureTime"] == 777


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: "", id="empty"),
        pytest.param(lambda text: text.replace("ExposureTime\t", "ExposureTme\t"), id="of another model"),
        pytest.param(lambda text: text.replace("ExposureTime\t4321", "ExposureTime\t99999999999"), id="out of range"),
        pytest.param(None, id="missing"),
    ],
)
def test_a_feature_file_that_does_not_fit_is_refused(
    folder: Path, feature_file: Path, damage: Callable[[str], str] | None
) -> None:
    if damage is None:
        feature_file.unlink()
    else:
        text = feature_file.read_text()
        feature_file.write_text(damage(text))
        assert feature_file.read_text() != text
    with pytest.raises(FeatureError, match=r"feature_file .*camera\.pfs cannot be loaded; expected a \.pfs"):
        camera(folder, feature_file=feature_file).__enter__()


def test_an_ace_classic_takes_microseconds_under_its_own_name() -> None:
    node = Node("ExposureTimeAbs", 10_000.0, low=24, high=1e6, unit="us")
    written(node).write("ExposureTime", 800)
    assert node.value == 800.0
    with pytest.raises(FeatureError, match="camera top: ExposureTimeAbs = 5 us, expected 24 to 1000000 us"):
        written(node).write("ExposureTime", 5)


def test_a_camera_that_has_no_gain_in_db_is_not_guessed_at() -> None:
    raw = Node("GainRaw", 256, low=256, high=1023)
    with pytest.raises(FeatureError, match=r"no Gain in dB, only GainRaw, 256 to 1023 .*; set GainRaw"):
        written(raw).write("Gain", 6.0)
    assert raw.value == 256


def test_a_whole_number_between_the_steps_is_refused() -> None:
    width = Node("Width", 1920, low=16, high=1920)
    width.GetInc = lambda: 16  # type: ignore[method-assign]
    with pytest.raises(FeatureError, match="Width = 100, expected 16 to 1920 in steps of 16"):
        written(width).write("Width", 100)
    written(width).write("Width", 96)
    assert width.value == 96


def test_a_float_that_was_taken_as_another_is_refused_with_what_was_taken() -> None:
    gain = Node("Gain", 0.0, high=24, steps=0.5, unit="dB")
    written(gain).write("Gain", 6.0)
    with pytest.raises(FeatureError, match=r"camera top: Gain = 6\.3 dB was taken as 6 dB; write 6 if that will do"):
        written(gain).write("Gain", 6.3)


def test_changes_are_undone_last_one_first() -> None:
    order: list[str] = []
    nodes = [Node(name, 1, then=lambda name=name: order.append(name)) for name in ("Width", "OffsetX")]
    features, journal = written(*nodes), Journal()
    features.write("Width", 5, journal)
    features.write("OffsetX", 6, journal)
    features.undo(journal)
    assert order == ["Width", "OffsetX", "OffsetX", "Width"]
    assert ([node.value for node in nodes], journal) == ([1, 1], [])
