"""From an ONNX file to a network and a builder configuration; the same calls for TensorRT 10, 11 and TensorRT-RTX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from edge_inspector.backends.tensorrt.config import Config
from edge_inspector.backends.tensorrt.library import RTX, Library, Log, shape_of
from edge_inspector.backends.tensorrt.phases import Phases
from edge_inspector.datatypes import InputSpec
from edge_inspector.errors import BundleError

if TYPE_CHECKING:
    import tensorrt as trt

_QUANTISED_WHILE_RUNNING = (
    "this file scales int8 anew with each picture (dynamic quantisation), which TensorRT has no kernels for: give the "
    'bundle its fp32 ONNX and set precision = "int8" with a calibration folder, or use `edge-inspector engine quantize`'
)
_WAY_OUT = {
    "ConvInteger": _QUANTISED_WHILE_RUNNING,
    "MatMulInteger": _QUANTISED_WHILE_RUNNING,
    "DynamicQuantizeLinear": _QUANTISED_WHILE_RUNNING,
    "QLinearConv": "this file is quantised in operator form: export it with Q/DQ nodes (quant_format QDQ)",
    "QLinearMatMul": "this file is quantised in operator form: export it with Q/DQ nodes (quant_format QDQ)",
    "NonMaxSuppression": "export the model without NMS; edge-inspector does it after the engine",
}
_DAMAGED = "the file is damaged or no ONNX file: copy or export it again"
_ELSE = "export the model again with a plain opset (17 is safe) and without custom operators"


@dataclass(frozen=True)
class Parsed:
    """A network, and what must live as long: the parser owns its weights. `fixed_batch` None = 1 or more pictures."""

    network: trt.INetworkDefinition
    parser: trt.OnnxParser
    input_name: str
    fixed_batch: int | None


def parse(lib: Library, builder: trt.Builder, talker: trt.ILogger, log: Log, onnx_path: str, spec: InputSpec) -> Parsed:
    """Read the file. BundleError: no network of this library, or its input is not what `spec` says; names the node."""
    network = builder.create_network(_network_flags(lib))
    parser = lib.OnnxParser(network, talker)
    if not parser.parse_from_file(onnx_path):
        raise BundleError(
            f"{onnx_path} is no network for {lib.__name__} {lib.__version__}: {_parser_words(parser, log)}"
        )
    name, batch = _checked_input(network, spec, onnx_path)
    return Parsed(network, parser, name, batch)


def configure(
    lib: Library,
    builder: trt.Builder,
    parsed: Parsed,
    config: Config,
    progress: Callable[[float, str], None],
    gpu: bool,
) -> tuple[trt.IBuilderConfig, Phases]:
    """The builder's settings; `Phases.failure` is what `progress` raised. BundleError: the device cannot do them."""
    settings = builder.create_builder_config()
    settings.set_memory_pool_limit(lib.MemoryPoolType.WORKSPACE, config.workspace_mb << 20)
    settings.builder_optimization_level = config.optimization_level
    settings.profiling_verbosity = lib.ProfilingVerbosity.DETAILED
    settings.clear_flag(lib.BuilderFlag.TF32)  # what stays float32 stays so for its accuracy
    if config.sparsity:
        settings.set_flag(lib.BuilderFlag.SPARSE_WEIGHTS)
    if config.dla_core is not None:
        _use_dla(lib, builder, settings, config.dla_core)
    elif lib.__name__ == RTX and gpu:
        _build_for_this_gpu_alone(lib, settings)
    if parsed.fixed_batch is None:
        _add_profile(builder, parsed, settings, config.max_batch)
    phases = Phases(progress)
    settings.progress_monitor = _monitor(lib, phases)
    return settings, phases


def layers_off_the_dla(lib: Library, parsed: Parsed, settings: trt.IBuilderConfig) -> list[str]:
    """The layers that a DLA cannot run: "name (type)"."""
    layers = [parsed.network.get_layer(i) for i in range(parsed.network.num_layers)]
    return [f"{layer.name} ({layer.type.name})" for layer in layers if not settings.can_run_on_DLA(layer)]


def _network_flags(lib: Library) -> int:
    """Strongly typed: each tensor has the type that the file gives it, so what runs is what was proven."""
    return 1 << int(lib.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _parser_words(parser: trt.OnnxParser, log: Log) -> str:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    if not errors:
        return f"{log.why()}; {_DAMAGED}"
    words = []
    for error in errors:
        operator = error.node_operator()
        at = f"node {error.node()} {error.node_name()!r} ({operator})" if operator else "the file"
        words.append(f"{at}: {error.desc()}")
    operators = {error.node_operator() for error in errors}
    ways = {_WAY_OUT.get(operator, _ELSE) if operator else _DAMAGED for operator in operators}
    return f"{' | '.join(dict.fromkeys(words))}; {' | '.join(sorted(ways))}"


def _checked_input(network: trt.INetworkDefinition, spec: InputSpec, onnx_path: str) -> tuple[str, int | None]:
    wanted = (spec.channels, spec.height_px, spec.width_px)
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs)
        raise BundleError(f"{onnx_path} has {len(inputs)} inputs ({names}), expected one picture; export it again")
    (given,) = inputs
    shape = shape_of(given.shape)
    if len(shape) != 4 or shape[1:] != wanted or given.dtype.name not in {"FLOAT", "HALF"}:
        raise BundleError(
            f"{onnx_path}: input {given.name} is {given.dtype.name} {shape}, model.toml's [input] asks for float "
            f"(tiles, {', '.join(map(str, wanted))}); correct [input], or export the model with this height and width"
        )
    if shape[0] not in {-1, 1}:
        raise BundleError(
            f"{onnx_path} takes exactly {shape[0]} pictures at once, a part brings one or more; export it with a "
            "dynamic batch, or with batch 1"
        )
    return given.name, None if shape[0] == -1 else 1


def _add_profile(builder: trt.Builder, parsed: Parsed, settings: trt.IBuilderConfig, most: int) -> None:
    """One profile for 1..most pictures, fastest for `most`, which is what waits when time is short."""
    (_, *chw) = shape_of(parsed.network.get_input(0).shape)
    profile = builder.create_optimization_profile()
    low, high = cast("trt.Dims", (1, *chw)), cast("trt.Dims", (most, *chw))  # a tuple does, whatever the stubs say
    profile.set_shape(parsed.input_name, low, high, high)
    settings.add_optimization_profile(profile)


def _use_dla(lib: Library, builder: trt.Builder, settings: trt.IBuilderConfig, core: int) -> None:
    if core >= builder.num_DLA_cores:
        raise BundleError(
            f"dla_core = {core}, but this device and {lib.__name__} {lib.__version__} offer {builder.num_DLA_cores} "
            "DLA cores; leave dla_core out"
        )
    settings.default_device_type = lib.DeviceType.DLA
    settings.DLA_core = core
    settings.set_flag(lib.BuilderFlag.GPU_FALLBACK)


def _build_for_this_gpu_alone(lib: Any, settings: Any) -> None:
    """TensorRT-RTX alone has these names; by itself it builds for every GPU that it knows."""
    settings.num_compute_capabilities = 1
    settings.set_compute_capability(lib.ComputeCapability.CURRENT, 0)


def _monitor(lib: Library, phases: Phases) -> trt.IProgressMonitor:
    """The library's own kind of listener, made at run time because its base is known only then."""
    methods = {
        "phase_start": lambda _, name, parent, steps: phases.start(name, parent, steps),
        "step_complete": lambda _, name, step: phases.step(name, step),
        "phase_finish": lambda _, name: phases.finish(name),
    }
    return cast("trt.IProgressMonitor", type("Monitor", (lib.IProgressMonitor,), methods)())
