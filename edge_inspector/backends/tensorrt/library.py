"""NVIDIA's Python module, `tensorrt` or `tensorrt_rtx`: the names that we use of it, and what it says at work."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from edge_inspector.errors import ConfigError

if TYPE_CHECKING:
    import tensorrt as trt

MESSAGES_KEPT = 200  # a broken network can bring thousands; the first ones tell why
RTX = "tensorrt_rtx"
HOW_TO_INSTALL = {
    "tensorrt": "on a Jetson: apt install python3-libnvinfer, and a venv made with --system-site-packages; "
    "on a PC: pip install tensorrt",
    RTX: "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings && pip install --no-deps tensorrt-rtx-cu13",
}


class Library(Protocol):
    """What both modules have, as tensorrt-stubs types it. A name of one version only is asked for with `offers`."""

    __name__: str
    __version__: str
    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    DeviceType: type[trt.DeviceType]
    ExecutionContextAllocationStrategy: type[trt.ExecutionContextAllocationStrategy]
    ILogger: type[trt.ILogger]
    IProgressMonitor: type[trt.IProgressMonitor]
    LayerInformationFormat: type[trt.LayerInformationFormat]
    MemoryPoolType: type[trt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    ProfilingVerbosity: type[trt.ProfilingVerbosity]
    Runtime: type[trt.Runtime]
    TensorIOMode: type[trt.TensorIOMode]

    @staticmethod
    def nptype(trt_type: trt.DataType) -> Any: ...


class Log:
    """What the library said, on all its threads: the errors and the warnings, each once."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def add(self, severity: int, text: str) -> None:
        """`severity` is TensorRT's: 0 internal error, 1 error, 2 warning, above it is chatter."""
        kept = self.errors if severity <= 1 else self.warnings
        if severity <= 2 and len(kept) < MESSAGES_KEPT and text not in kept:
            kept.append(text)

    def why(self) -> str:
        """The errors in one line, for a message to a person."""
        return " | ".join(self.errors) or "it gave no reason"

    def clear(self) -> None:
        self.errors.clear()
        self.warnings.clear()


def library(name: Literal["tensorrt", "tensorrt_rtx"]) -> Library:
    """Import it. ConfigError with what to install when it is not there."""
    try:
        module = importlib.import_module(name)
    except ImportError as exc:
        raise ConfigError(
            f"backend tensorrt needs the Python package {name}, which is missing ({exc}). {HOW_TO_INSTALL[name]}"
        ) from exc
    if not offers(module, "Builder"):  # type stubs alone make an empty folder of that name
        raise ConfigError(f"the Python package {name} is empty: only its type stubs are here; {HOW_TO_INSTALL[name]}")
    return cast(Library, module)


def logger(lib: Library, log: Log) -> trt.ILogger:
    """A logger of the library that writes into `log`; it must live as long as anything that was made with it."""

    def heard(_self: trt.ILogger, severity: trt.ILogger.Severity, msg: str) -> None:
        log.add(int(severity), msg.strip())

    return cast("trt.ILogger", type("Listener", (lib.ILogger,), {"log": heard})())


def shape_of(dims: trt.Dims) -> tuple[int, ...]:
    """As a tuple; -1 = a dimension that varies."""
    return tuple(dims[i] for i in range(len(dims)))


def offers(owner: object, name: str) -> bool:
    """Whether this version has `owner.name`; what is left of what NVIDIA adds and removes from version to version."""
    return hasattr(owner, name)
