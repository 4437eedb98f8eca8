"""Which file serves a `type` of the station file: name -> "module:Class", here or by entry point."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any, Literal

from edge_inspector.errors import ConfigError
from edge_inspector.settings import PluginConfig

Kind = Literal["camera", "backend", "decoder", "plc", "publisher"]

BUILT_IN: dict[Kind, dict[str, str]] = {
    "camera": {
        "basler": "edge_inspector.cameras.basler:BaslerCamera",
        "folder": "edge_inspector.cameras.folder:FolderCamera",
        "opencv": "edge_inspector.cameras.opencv:OpenCvCamera",
    },
    "backend": {
        "onnxruntime": "edge_inspector.backends.onnxruntime:OnnxRuntimeBackend",
        "openvino": "edge_inspector.backends.openvino:OpenVinoBackend",
        "tensorrt": "edge_inspector.backends.tensorrt:TensorRtBackend",
        "triton": "edge_inspector.backends.triton:TritonBackend",
    },
    "decoder": {
        "yolo": "edge_inspector.decoders.yolo:Yolo",
        "yolov5": "edge_inspector.decoders.yolov5:YoloV5",
        "yolox": "edge_inspector.decoders.yolox:YoloX",
        "rtdetr": "edge_inspector.decoders.rtdetr:RtDetr",
        "end2end": "edge_inspector.decoders.end2end:EndToEnd",
        "yolo_seg": "edge_inspector.decoders.yolo_seg:YoloSeg",
        "segmentation": "edge_inspector.decoders.segmentation:Segmentation",
        "anomaly": "edge_inspector.decoders.anomaly:Anomaly",
        "classifier": "edge_inspector.decoders.classifier:Classifier",
        "regression": "edge_inspector.decoders.regression:Regression",
    },
    "plc": {
        "digital": "edge_inspector.outputs.digital.link:DigitalLink",
        "modbus_server": "edge_inspector.outputs.modbus.link:ModbusServerLink",
        "opcua_client": "edge_inspector.outputs.opcua_client.link:OpcUaClientLink",
        "opcua_server": "edge_inspector.outputs.opcua_server.link:OpcUaServerLink",
    },
    "publisher": {
        "apprise": "edge_inspector.outputs.notify:AppriseNotifier",
        "mqtt": "edge_inspector.outputs.mqtt:MqttPublisher",
        "sparkplug": "edge_inspector.outputs.sparkplug.publisher:SparkplugPublisher",
    },
}


def names(kind: Kind) -> dict[str, str]:
    """Every known name of a kind and its "module:Class"; entry points in group `edge_inspector.<kind>` add to ours."""
    found = {e.name: e.value for e in importlib.metadata.entry_points(group=f"edge_inspector.{kind}")}
    return {**found, **BUILT_IN[kind]}


def load(kind: Kind, name: str) -> Any:
    """The class behind a name. Its file is imported, the vendor's SDK is not."""
    known = names(kind)
    if name not in known:
        raise ConfigError(f"{kind} type {name!r} is not known; known are {', '.join(sorted(known))}")
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def config_model(kind: Kind, name: str) -> type[PluginConfig]:
    """The `Config` model of the file that serves a name."""
    known = names(kind)
    if name not in known:
        raise ConfigError(f"{kind} type {name!r} is not known; known are {', '.join(sorted(known))}")
    module = importlib.import_module(known[name].partition(":")[0])
    model: type[PluginConfig] = module.Config
    return model
