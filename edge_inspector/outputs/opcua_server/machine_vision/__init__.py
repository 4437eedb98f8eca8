"""OPC 40100-1 (machine vision): the VisionSystem object on our OPC UA server, over the same contract as the tags."""

from edge_inspector.outputs.opcua_server.machine_vision.system import VisionSystem

__all__ = ["VisionSystem"]
