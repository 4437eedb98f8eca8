from __future__ import annotations

import re
import shutil
import struct
import subprocess
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edge_inspector.backends.tensorrt import cubin, prepare_kernel
from edge_inspector.backends.tensorrt.prepare_kernel import (
    ENTRY,
    PARAMETERS,
    SOURCE,
    Launch,
    SourceMap,
    Table,
    bytes_moved,
    launches,
)
from edge_inspector.datatypes import Calibration, Frame, InputSpec, Letterbox, PreparePlan, RawView, Roi, Tiling
from edge_inspector.errors import BundleError, FrameError
from edge_inspector.stages.prepare import LAYOUTS, fits, prepare, raw_view

cv2.setNumThreads(1)

FOLDER = Path(prepare_kernel.__file__).parent
HARNESS = Path(__file__).with_name("prepare_harness.cpp")
REAL = Path(__file__).parents[3] / "shared" / "data" / "ballscrew" / "images"
COMPILER = shutil.which("c++") or shutil.which("g++")
NVCC = shutil.which("nvcc")
ORIN, THOR = "87", "110"
OPENCV_5 = (
    int(cv2.__version__.split(".")[0]) >= 5
)  # OpenCV 4 rounds maps of floats to steps of 1/32 px; the kernel does not
UNTOUCHED = 0xEE  # what the harness fills the output with

GRAY = InputSpec(64, 64, "gray", 1.0, (0.0,), (1.0,), 114)
RGB = InputSpec(64, 64, "rgb", 1.0, (0.0,) * 3, (1.0,) * 3, 114)
BGR = replace(RGB, color="bgr")
IMAGENET = InputSpec(96, 80, "rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 127)
HW = (123, 164)  # no side is odd and even at once: Bayer edges differ, one side can be halved
LENSES = {
    "no calibration": None,
    "pinhole": ((-0.25, 0.05, 0.001, -0.0005, 0.0), "pinhole"),
    "pincushion": ((0.4, 0.0, 0.0, 0.0, 0.0), "pinhole"),  # shows what lies outside the camera's picture
    "rational": ((-0.2, 0.04, 0.001, -0.0005, 0.01, 0.05, 0.02, -0.01), "pinhole"),
    "fisheye": ((0.02, -0.01, 0.004, -0.001), "fisheye"),
}


def calibrated(hw: tuple[int, int], lens: str) -> Calibration | None:
    if LENSES[lens] is None:
        return None
    distortion, kind = LENSES[lens]
    return Calibration(hw, (0.9 * hw[1], 0.9 * hw[1], hw[1] / 2 + 0.3, hw[0] / 2 - 0.4), distortion, kind)


@lru_cache(maxsize=4)
def picture(pixel_format: str, hw: tuple[int, int], of: str = "noise") -> np.ndarray:
    """A camera's picture: noise, slow waves, or parts with sharp edges, fine scratches and a sensor's noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: hw[0], : hw[1]].astype(np.float32)
    if of == "noise":
        colours = rng.integers(0, 256, (*hw, 3)).astype(np.float32)
    elif of == "waves":
        waves = [127 + 60 * np.sin(x / (hw[1] / 5) + c) + 60 * np.cos(y / (hw[0] / 4) - c) for c in range(3)]
        colours = np.stack(waves, axis=2)
    else:
        colours = np.full((*hw, 3), (70, 90, 60), np.uint8)
        for at in rng.integers(0, max(hw), (40, 4)).tolist():
            colour = rng.integers(0, 256, 3).tolist()
            cv2.circle(colours, (at[0], at[1]), at[2] // 12, colour, -1)
            cv2.line(colours, (at[0], at[1]), (at[2], at[3]), colour, 1)
        colours = colours + rng.normal(0, 3, colours.shape)
    colours = colours.clip(0, 255)
    layout = LAYOUTS[pixel_format]
    if layout.mosaic:
        red_x, red_y = {"RG": (0, 0), "GR": (1, 0), "GB": (0, 1), "BG": (1, 1)}[pixel_format[5:7]]
        in_column, in_row = (x.astype(int) + red_x) % 2, (y.astype(int) + red_y) % 2
        flat = np.take_along_axis(colours, (2 - in_column - in_row)[..., None], axis=2)[..., 0]
    else:
        flat = colours if layout.dimensions == 3 else colours[..., 1]
    if layout.dtype is np.uint16:
        return (flat * 16 + rng.integers(0, 16, flat.shape)).astype(np.uint16)
    return flat.astype(np.uint8)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("kernel"), "-O2")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(
        tmp_path_factory.mktemp("sanitized"), "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
    )


def compiled(folder: Path, *options: str) -> Path:
    """prepare.cu and the harness as a program, by the C++ compiler; any warning is an error."""
    if COMPILER is None:
        pytest.skip("no C++ compiler (c++ or g++) is on this machine")
    program = folder / "harness"
    plain = ["-std=c++14", "-ffp-contract=off", "-Wall", "-Wextra", "-Wshadow", "-Werror"]  # as `cubin.OPTIONS`
    subprocess.run([COMPILER, *plain, *options, f"-I{FOLDER}", str(HARNESS), "-o", str(program)], check=True)
    return program


def view(pixels: np.ndarray, pixel_format: str, plan: PreparePlan) -> RawView:
    return raw_view(Frame("cam", 0, 0, 0, pixels, pixel_format), plan)


def run(program: Path, launch: Launch, pixels: np.ndarray, tiles: int) -> tuple[np.ndarray, int]:
    """The whole (n,C,H,W) output after this launch, and the word of faults."""
    table, element = launch.table.array(), np.dtype(launch.table.element)
    spec = launch.table.spec
    shape = (tiles, spec.channels, spec.height_px, spec.width_px)
    buffers = [pixels.tobytes(), launch.map.array().tobytes() if launch.map else b"", table.tobytes()]
    sizes = [len(b) for b in buffers] + [int(np.prod(shape)) * element.itemsize]
    job = struct.pack("=6I4Q", *launch.grid, *launch.block, *sizes) + launch.parameters + b"".join(buffers)
    done = subprocess.run([program], input=job, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout[:-4], element).reshape(shape), int.from_bytes(done.stdout[-4:], "little")


def on_device(program: Path, pixels: np.ndarray, pixel_format: str, plan: PreparePlan) -> np.ndarray:
    """One tile as the kernel prepares it, float32 (1,C,H,W)."""
    (launch,) = launches(view(pixels, pixel_format, plan), "float32")
    tensor, faults = run(program, launch, pixels, 1)
    assert faults == 0
    return tensor


def levels_apart(program: Path, pixels: np.ndarray, pixel_format: str, plan: PreparePlan) -> np.ndarray:
    """By how many of the 256 levels each pixel differs from `prepare`'s; the plan's std is 1."""
    expected = prepare(pixels, pixel_format, plan).pixels
    return np.abs(on_device(program, pixels, pixel_format, plan) - expected) / plan.input.scale


def assert_equal_but_for_ties(apart: np.ndarray) -> None:
    """Never more than a level; the few pixels that differ do so where a sum lies halfway between two levels."""
    assert apart.max() <= 1.001
    assert (apart > 0.5).mean() <= 0.002


@pytest.mark.parametrize("pixel_format", LAYOUTS)
@pytest.mark.parametrize("lens", LENSES)
def test_noise_in_any_format_through_any_lens_comes_out_as_opencv_prepares_it(harness, pixel_format, lens) -> None:
    pixels, calibration = picture(pixel_format, HW), calibrated(HW, lens)
    for spec in (GRAY, RGB, BGR):
        for roi in (None, Roi(31, 22, 113, 77)):
            assert_equal_but_for_ties(levels_apart(harness, pixels, pixel_format, PreparePlan(spec, roi, calibration)))


SIZES = [
    pytest.param((1200, 1920), (640, 640), None, id="1920x1200, halved once"),
    pytest.param((2048, 2448), (640, 640), None, id="2448x2048, halved once"),
    pytest.param((2048, 2448), (224, 224), None, id="2448x2048, halved three times"),
    pytest.param((1201, 1921), (320, 320), None, id="odd, cannot be halved"),
    pytest.param((1080, 1920), (640, 640), Roi(401, 203, 640, 640), id="a tile of the input's size"),
    pytest.param((480, 640), (640, 640), Roi(11, 7, 201, 177), id="a small ROI, enlarged"),
]


@pytest.mark.parametrize("lens", ["no calibration", "pinhole"])
@pytest.mark.parametrize(("pixel_format", "color"), [("Mono8", "gray"), ("BayerRG8", "rgb")])
@pytest.mark.parametrize(("hw", "input_hw", "roi"), SIZES)
def test_pictures_of_the_usual_sizes_come_out_as_opencv_prepares_them(
    harness, lens, pixel_format, color, hw, input_hw, roi
) -> None:
    if lens != "no calibration" and input_hw == (224, 224) and not OPENCV_5:
        pytest.skip("halved three times and mapped: OpenCV 4 is itself up to 1/64 of a halved pixel off")
    spec = replace(GRAY if color == "gray" else RGB, height_px=input_hw[0], width_px=input_hw[1])
    plan = PreparePlan(spec, roi, calibrated(hw, lens))
    assert_equal_but_for_ties(levels_apart(harness, picture(pixel_format, hw, "parts"), pixel_format, plan))


@pytest.mark.parametrize("hw", [(1, 1), (1, 9), (2, 2), (2, 7), (7, 2), (3, 3), (4, 5), (3, 200), (1000, 3)])
@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12", "RGB8", "BayerGB8", "BayerBG12"])
@pytest.mark.parametrize("lens", ["no calibration", "pincushion"])
def test_tiny_and_narrow_pictures_are_prepared_too(harness, hw, pixel_format, lens) -> None:
    pixels = picture(pixel_format, hw)
    for spec in (GRAY, RGB):
        for roi in (None, Roi(hw[1] - 1, hw[0] - 1, 1, 1)):
            plan = PreparePlan(spec, roi, calibrated(hw, lens))
            apart = levels_apart(harness, pixels, pixel_format, plan)
            assert apart.max() <= 1


@st.composite
def views(draw) -> tuple[np.ndarray, str, PreparePlan]:
    hw = (draw(st.integers(1, 260)), draw(st.integers(1, 260)))
    x, y = draw(st.integers(0, hw[1] - 1)), draw(st.integers(0, hw[0] - 1))
    roi = Roi(x, y, draw(st.integers(1, hw[1] - x)), draw(st.integers(1, hw[0] - y)))
    spec = draw(st.sampled_from([GRAY, RGB, BGR]))
    spec = replace(spec, width_px=draw(st.integers(1, 70)), height_px=draw(st.integers(1, 70)))
    plan = PreparePlan(spec, draw(st.sampled_from([None, roi])), calibrated(hw, draw(st.sampled_from(list(LENSES)))))
    pixel_format = draw(st.sampled_from(list(LAYOUTS)))
    return picture(pixel_format, hw, draw(st.sampled_from(["noise", "waves", "parts"]))), pixel_format, plan


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(views())
def test_no_view_is_more_than_a_level_apart(harness: Path, given_view: tuple[np.ndarray, str, PreparePlan]) -> None:
    (launch,) = launches(view(*given_view), "float32")
    assume(OPENCV_5 or launch.map is None or launch.values["halvings"] < 2)
    apart = levels_apart(harness, *given_view)
    assert np.percentile(apart, 99.9) <= 1.001
    assert apart.mean() <= 0.02


def test_a_picture_of_the_inputs_own_size_is_exactly_what_the_camera_sent(harness) -> None:
    for pixel_format in ("Mono8", "RGB8"):
        pixels = picture(pixel_format, (64, 64))
        spec = GRAY if pixel_format == "Mono8" else RGB
        tensor = on_device(harness, pixels, pixel_format, PreparePlan(spec))
        assert (tensor[0] == (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))).all()


def test_halving_alone_is_exact_however_often(harness) -> None:
    for step in (2, 4, 8, 16):
        pixels = picture("Mono8", (32 * step, 48 * step))
        plan = PreparePlan(replace(GRAY, height_px=32, width_px=48))
        assert (on_device(harness, pixels, "Mono8", plan) == prepare(pixels, "Mono8", plan).pixels).all()


@pytest.mark.parametrize("hw", [(32, 128), (128, 33), (5, 301)])
@pytest.mark.parametrize("lens", LENSES)
def test_padding_is_exactly_the_pad_value_of_each_channel(harness, hw, lens) -> None:
    plan = PreparePlan(IMAGENET, None, calibrated(hw, lens))
    expected = prepare(picture("BGR8", hw), "BGR8", plan)
    tensor = on_device(harness, picture("BGR8", hw), "BGR8", plan)
    (fit,) = fits(plan, hw)
    around = np.ones(tensor.shape[2:], np.bool_)
    around[fit.content.y : fit.content.y + fit.content.height, fit.content.x : fit.content.x + fit.content.width] = 0
    assert around.any()
    assert (tensor[0][:, around] == expected.pixels[0][:, around]).all()
    for channel in range(3):
        wanted = np.float32((127 / 255 - IMAGENET.mean[channel]) / IMAGENET.std[channel])
        assert (tensor[0, channel, around] == wanted).all()


def test_what_lies_outside_the_cameras_picture_is_the_pad_value(harness) -> None:
    plan = PreparePlan(replace(GRAY, width_px=164, height_px=123), None, calibrated(HW, "pincushion"))
    tensor = on_device(harness, np.full(HW, 255, np.uint8), "Mono8", plan)
    assert tensor[0, 0, 0, 0] == 114
    assert tensor[0, 0, 61, 82] == 255


@pytest.mark.parametrize("spec", [IMAGENET, replace(GRAY, scale=1 / 255, mean=(0.1,), std=(0.3,))])
def test_half_floats_are_the_floats_rounded_to_nearest_even_bit_for_bit(harness, spec) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    plan = PreparePlan(replace(spec, height_px=16, width_px=16))
    (launch,) = launches(view(pixels, "Mono8", plan), "float16")
    tensor, _ = run(harness, launch, pixels, 1)
    expected = prepare(pixels, "Mono8", plan).pixels
    assert (on_device(harness, pixels, "Mono8", plan).view(np.uint32) == expected.view(np.uint32)).all()
    assert (tensor.view(np.uint16) == expected.astype(np.float16).view(np.uint16)).all()
    assert np.isfinite(tensor).all()


def test_a_value_that_half_floats_do_not_have_is_a_damaged_bundle() -> None:
    with pytest.raises(BundleError, match=r"up to 255000, float16 ends at 65504; correct \[input\]"):
        Table(replace(GRAY, std=(1e-3,)), "float16").array()


@pytest.mark.parametrize("lens", ["no calibration", "pinhole"])
@pytest.mark.parametrize("element", ["float32", "float16"])
def test_each_tile_is_written_to_its_own_place_and_no_other(harness, lens, element) -> None:
    pixels = picture("BayerGR8", HW)
    plan = PreparePlan(RGB, Roi(10, 6, 140, 110), calibrated(HW, lens), Tiling(64, 64, 16))
    expected = prepare(pixels, "BayerGR8", plan)
    batch = len(expected.tiles) + 1
    made = launches(view(pixels, "BayerGR8", plan), element)
    assert len(made) == len(expected.tiles) > 3
    for place, launch in enumerate(made):
        tensor, _ = run(harness, launch, pixels, batch)
        apart = np.abs(tensor[place].astype(np.float32) - expected.pixels[place])
        assert_equal_but_for_ties(apart)
        others = np.delete(tensor, place, axis=0)
        assert (np.frombuffer(others.tobytes(), np.uint8) == UNTOUCHED).all()


@pytest.mark.parametrize("pixel_format", ["Mono12", "BayerRG12"])
@pytest.mark.parametrize("lens", ["no calibration", "pinhole"])
def test_a_pixel_above_twelve_bits_is_told_and_taken_as_the_brightest(harness, pixel_format, lens) -> None:
    pixels, plan = picture(pixel_format, HW).copy(), PreparePlan(GRAY, None, calibrated(HW, lens))
    pixels[60:64, 80:84] = 65535
    with pytest.raises(FrameError):
        prepare(pixels, pixel_format, plan)
    (launch,) = launches(view(pixels, pixel_format, plan), "float32")
    tensor, faults = run(harness, launch, pixels, 1)
    assert faults == 1
    expected = prepare(np.minimum(pixels, 4095), pixel_format, plan).pixels
    assert_equal_but_for_ties(np.abs(tensor - expected))


@pytest.mark.parametrize("pixel_format", LAYOUTS)
def test_no_byte_beside_the_buffers_is_touched_and_no_arithmetic_is_undefined(sanitized, pixel_format) -> None:
    for hw, roi in ((HW, None), (HW, Roi(160, 120, 4, 3)), ((256, 128), None), ((2, 1), None)):
        for lens in ("no calibration", "pincushion"):
            for spec in (GRAY, RGB):
                plan = PreparePlan(replace(spec, width_px=37), roi, calibrated(hw, lens))
                assert levels_apart(sanitized, picture(pixel_format, hw), pixel_format, plan).max() <= 1


def test_the_sanitizer_sees_a_picture_that_is_too_short(sanitized) -> None:
    pixels = picture("Mono8", HW)
    (launch,) = launches(view(pixels, "Mono8", PreparePlan(GRAY)), "float32")
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        run(sanitized, launch, pixels[:-1], 1)


def test_the_same_plan_and_picture_size_give_the_same_launches_and_keys() -> None:
    plan = PreparePlan(RGB, None, calibrated(HW, "pinhole"))
    first, again = (launches(view(picture("Mono8", HW), "Mono8", plan), "float32") for _ in range(2))
    assert first is again
    other = launches(view(picture("BayerRG8", HW), "BayerRG8", plan), "float32")
    assert first[0].map == other[0].map
    assert hash(first[0].map) == hash(other[0].map)
    assert first[0].table == other[0].table
    assert first[0].parameters != other[0].parameters


@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_the_map_says_where_in_the_halved_picture_a_pixel_lies(halvings: int) -> None:
    straight = Calibration((96, 96), (90.0, 90.0, 48.0, 48.0), (0.0,) * 5)
    side = 96 >> halvings
    plan = PreparePlan(replace(GRAY, height_px=side, width_px=side), None, straight)
    (launch,) = launches(view(np.zeros((96, 96), np.uint8), "Mono8", plan), "float32")
    assert isinstance(launch.map, SourceMap)
    places = launch.map.array()
    assert places.nbytes == launch.map.bytes
    assert launch.values["halvings"] == halvings
    assert np.abs(places[..., 0] - np.arange(side)).max() < 1e-3
    assert np.abs(places[..., 1] - np.arange(side)[:, None]).max() < 1e-3


@pytest.mark.parametrize(
    ("pixel_format", "hw", "lens", "element", "expected"),
    [
        ("Mono8", (128, 128), "no calibration", "float32", 128 * 128 + 64 * 64 * 4),
        ("Mono12", (128, 128), "no calibration", "float16", 128 * 128 * 2 + 64 * 64 * 2),
        ("BGR8", (32, 64), "no calibration", "float32", 32 * 64 * 3 + 64 * 64 * 4),
        ("Mono8", (64, 64), "straight", "float32", 64 * 64 + 64 * 64 * 8 + 64 * 64 * 4),
        # a third as large and not to be halved: two of each three rows and columns are looked at
        ("Mono8", (189, 189), "straight", "float32", 126 * 126 + 63 * 63 * 8 + 63 * 63 * 4),
    ],
)
def test_the_floor_counts_each_byte_once(pixel_format, hw, lens, element, expected) -> None:
    # the principal point a quarter of a pixel off: no place lies on a pixel's centre
    centre = (hw[1] / 2 - 0.25, hw[0] / 2 - 0.25)
    calibration = Calibration(hw, (90.0, 90.0, *centre), (1e-9, 0, 0, 0, 0)) if lens == "straight" else None
    side = 63 if hw[0] == 189 else 64
    plan = PreparePlan(replace(GRAY, height_px=side, width_px=side), None, calibration)
    (launch,) = launches(view(picture(pixel_format, hw), pixel_format, plan), element)
    assert bytes_moved(launch) == expected


def test_a_view_whose_tiles_are_not_its_plans_is_a_bug() -> None:
    right = view(picture("Mono8", HW), "Mono8", PreparePlan(GRAY))
    with pytest.raises(ValueError, match="of cam says tiles"):
        launches(replace(right, tiles=(Letterbox(1.0, 0.0, 0.0),)), "float32")


def test_a_picture_larger_than_the_kernel_can_shrink_is_told() -> None:
    plan = PreparePlan(replace(GRAY, height_px=1, width_px=1))
    with pytest.raises(FrameError, match="512x512 pixels are to become 1x1, expected at most 511 in one"):
        launches(view(np.zeros((512, 512), np.uint8), "Mono8", plan), "float32")


def test_both_sides_name_the_same_parameters_in_the_same_order() -> None:
    (body,) = re.findall(r"struct Parameters \{(.*?)\};", SOURCE, re.DOTALL)
    declared = [name for line in re.findall(r"int (.*?);", body) for name in line.split(", ")]
    assert tuple(declared) == PARAMETERS.names
    assert PARAMETERS.itemsize == 4 * len(declared)


@pytest.mark.parametrize("enumeration", ["Source", "Sampling"])
def test_both_sides_number_their_choices_alike(enumeration: str) -> None:
    (body,) = re.findall(rf"enum {enumeration} \{{ (.*?) \}};", SOURCE)
    for number, name in enumerate(body.split(", ")):
        assert getattr(prepare_kernel, name) == number


@pytest.mark.skipif(NVCC is None, reason="no CUDA compiler (nvcc) is on this machine")
@pytest.mark.parametrize("sm", [ORIN, THOR])
def test_nvidias_compiler_takes_it_without_a_warning_and_six_blocks_fit_a_multiprocessor(
    sm: str, tmp_path: Path
) -> None:
    known = subprocess.run([NVCC, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    if f"sm_{sm}" not in known:
        pytest.skip(f"this nvcc does not know sm_{sm}: {', '.join(known)}")
    command = [NVCC, "-cubin", f"-arch=sm_{sm}", "-Werror", "all-warnings", "-Xptxas", "-v", "-o", str(tmp_path / "k")]
    done = subprocess.run(
        [*command, *cubin.OPTIONS, str(FOLDER / "prepare.cu")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ENTRY in done.stderr
    spilled = [int(n) for n in re.findall(r"(\d+) bytes spill", done.stderr)]
    assert spilled
    assert sum(spilled) <= 64  # bytes around the calls that are seldom made: nvcc 13.0 has 0 on Orin, 44 on Thor
    (registers,) = re.findall(r"Used (\d+) registers", done.stderr)
    assert int(registers) <= 65536 // (6 * 128)


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/ballscrew is not there")
@pytest.mark.parametrize("lens", ["no calibration", "pinhole"])
def test_photos_of_real_parts_come_out_as_opencv_prepares_them(harness, lens) -> None:
    for path in sorted(REAL.iterdir())[::100]:
        photo = cv2.imread(str(path))
        plan = PreparePlan(replace(BGR, width_px=640, height_px=640), None, calibrated(photo.shape[:2], lens))
        assert_equal_but_for_ties(levels_apart(harness, photo, "BGR8", plan))
