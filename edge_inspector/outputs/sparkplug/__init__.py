"""Sparkplug B: the station as a device of an MQTT edge node."""
