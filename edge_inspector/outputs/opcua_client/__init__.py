"""A client of the PLC's own OPC UA server: the tags of the contract are variables of the PLC's program."""
