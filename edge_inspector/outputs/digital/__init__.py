"""READY and OK as output lines: of a camera, of this machine, or of a remote I/O."""
