"""A simulated PLC as a program of its own: scan cycle, conveyor with a reject gate, faults, log and proof."""
