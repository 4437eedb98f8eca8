"""What the station adds to the bare model: both measured side by side, in one run."""
