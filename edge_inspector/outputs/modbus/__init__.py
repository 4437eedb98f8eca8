"""Modbus TCP: the server through which a PLC triggers the station and reads its results, and its wire format."""
