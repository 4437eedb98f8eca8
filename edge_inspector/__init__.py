"""edge-inspector: the runtime of a visual-inspection station."""

__version__ = "0.1.0"
