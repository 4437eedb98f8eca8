"""Clock and progress: what heartbeat and watchdog are built on."""
