"""Clock and progress, on which heartbeat and watchdog stand, and what `doctor` looks at on this machine."""
