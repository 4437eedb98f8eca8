"""What a station file says of TensorRT."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edge_inspector.datatypes import Precision
from edge_inspector.interfaces import EngineOptions
from edge_inspector.settings import LocalPath, PluginConfig

MOST_AT_ONCE = (
    16  # each number of tiles has a context and a graph in each slot; larger runs are hardly faster for a tile
)


class Config(PluginConfig):
    """From `precision` to `dla_core` every value belongs to the engine: another one means another build."""

    type: Literal["tensorrt"] = "tensorrt"
    library: Literal["tensorrt", "tensorrt_rtx"] = Field(
        "tensorrt",
        description="tensorrt: JetPack's or NVIDIA's package; tensorrt_rtx: TensorRT-RTX, for GeForce and RTX cards.",
    )
    precision: Precision = Field("fp16", description="What the engine computes in; int8 needs a calibration folder.")
    calibration: LocalPath | None = Field(
        None, description="Folder of pictures by which int8 is scaled; unused where the bundle is quantised already."
    )
    compact_rows: int = Field(
        300,
        ge=0,
        le=3000,
        description="Candidates that leave the GPU, the best of all; 0 = all of them. For decoders with such a form.",
    )
    max_batch: int = Field(1, ge=1, le=MOST_AT_ONCE, description="Pictures or tiles in one run of the engine.")
    workspace_mb: int = Field(
        1024, ge=16, le=65536, description="Memory that the builder may give to one layer, in MiB; less can be slower."
    )
    optimization_level: int = Field(
        3,
        ge=0,
        le=5,
        description="How long the builder searches: 3 is NVIDIA's default, 5 takes several times as long.",
    )
    sparsity: bool = Field(
        False, description="Let the builder use 2:4 sparse kernels; layers whose weights are not 2:4 run dense."
    )
    dla_core: int | None = Field(
        None, ge=0, le=1, description="Deep-learning accelerator of an Orin; layers that it cannot run stay on the GPU."
    )
    device: int = Field(0, ge=0, le=63, description="Number of the GPU in CUDA's order, in which the fastest is 0.")
    prepare_on_device: bool = Field(
        True, description="Undistort, cut and normalise on the GPU; false = on the CPU, as other backends do."
    )
    cuda_graph: bool = Field(
        True, description="Replay the engine as one CUDA graph, where cuda-bindings is installed and capture works."
    )
    warm_up_runs: int = Field(50, ge=1, le=10_000, description="Runs on noise before the model is ready.")
    keep_warm: bool = Field(True, description="Run the engine between parts too: a GPU that idles lowers its clocks.")

    @model_validator(mode="after")
    def _dla_fits(self) -> Config:
        if self.dla_core is None:
            return self
        if self.library == "tensorrt_rtx":
            raise ValueError('dla_core: TensorRT-RTX has no DLA; use library = "tensorrt" or leave dla_core out')
        if self.precision == "fp32":
            raise ValueError('dla_core: a DLA computes in fp16 and int8 only; set precision = "fp16" or "int8"')
        if self.max_batch > 1:
            raise ValueError(f"dla_core: a DLA takes one batch size only, max_batch is {self.max_batch}; set it to 1")
        return self

    @property
    def engine_options(self) -> EngineOptions:
        """How the ONNX file is changed before `build` sees it."""
        folder = "" if self.calibration is None else str(self.calibration)
        return EngineOptions(self.precision, self.compact_rows, folder)
