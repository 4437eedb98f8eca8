"""The OPC UA server through which a PLC triggers the station and reads its results."""
