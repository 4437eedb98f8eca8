"""Where verdicts go: links to a PLC, publishers to a broker."""
