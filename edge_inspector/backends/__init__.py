"""Where a model runs: one file a runtime."""
