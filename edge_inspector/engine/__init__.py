"""Model bundles: what they are and how good they are."""
