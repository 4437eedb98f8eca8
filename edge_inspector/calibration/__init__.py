"""Camera calibration: files now, boards and solving next."""
