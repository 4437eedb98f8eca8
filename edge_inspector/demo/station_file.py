"""The station file that the demo runs."""

from __future__ import annotations

from pathlib import Path

from edge_inspector.datatypes import Roi

TEMPLATE = """\
# Written by `edge-inspector demo`: one emulated Basler camera a view, a PLC and a broker on this machine.
schema = 1

[station]
name = "demo"
recipe = "pcb"
state_dir = "state"

[backend]
type = "onnxruntime"
threads = 1

{cameras}
[recipes.pcb]
number = 1
trigger = "plc"
bundle = '{bundle}'
deadline_ms = {deadline_ms:g}
views = [{views}]

[plc.line]
type = "opcua_server"
port = {opcua_port}

[publishers.broker]
type = "mqtt"
host = "127.0.0.1"
port = {mqtt_port}
protocol = "3.1.1"
"""

CAMERA = """\
[cameras.{name}]
type = "basler"
serial = "0815-{index:04d}"
emulate_folder = '{folder}'
calibration = "lens.yaml"
features = {{ PixelFormat = "Mono8" }}
gate = {{ identical = false }}  # files may repeat; a camera's noise never does

"""


def station_toml(
    folders: list[Path], roi: Roi, bundle: str, deadline_ms: float, opcua_port: int, mqtt_port: int
) -> str:
    """One camera for each folder of frames."""
    names = [camera_name(i) for i in range(len(folders))]
    rectangle = f"{{ x = {roi.x}, y = {roi.y}, width = {roi.width}, height = {roi.height} }}"
    return TEMPLATE.format(
        cameras="".join(
            CAMERA.format(name=name, index=i, folder=folder)
            for i, (name, folder) in enumerate(zip(names, folders, strict=True))
        ),
        views=", ".join(f'{{ camera = "{name}", roi = {rectangle} }}' for name in names),
        bundle=bundle,
        deadline_ms=deadline_ms,
        opcua_port=opcua_port,
        mqtt_port=mqtt_port,
    )


def camera_name(index: int) -> str:
    """The demo's cameras are called cam1, cam2, ..."""
    return f"cam{index + 1}"
