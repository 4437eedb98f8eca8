"""What would last week have done? Stored parts, run again outside of the daemon."""
