"""Pure functions from values to values: no clock, no disk, no state."""
