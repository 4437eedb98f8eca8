"""An MQTT broker: results, pictures' names, events, status and metrics out; orders in, when they are allowed."""

from edge_inspector.outputs.mqtt.config import Config, Tls
from edge_inspector.outputs.mqtt.publisher import MqttPublisher

__all__ = ["Config", "MqttPublisher", "Tls"]
