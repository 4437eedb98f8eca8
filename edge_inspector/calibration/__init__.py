"""Camera calibration: boards and where they are seen, solving, the inspection plane, the file and the report."""
