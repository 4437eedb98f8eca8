"""What can go wrong, sorted by what the caller does next."""


class EdgeInspectorError(Exception):
    """Base of every expected failure; the message names the thing, the value, what was expected and the remedy."""


class ConfigError(EdgeInspectorError):
    """The user must change a file or an argument."""


class BundleError(ConfigError):
    """A model bundle is missing, damaged, or is not what its model.toml says."""


class CameraError(EdgeInspectorError):
    """The camera is lost: close it and open a new instance."""


class FrameError(EdgeInspectorError):
    """This picture cannot be inspected: the part is UNDEFINED, the camera stays open."""


class InferenceError(EdgeInspectorError):
    """The model gave no usable answer for this part: the part is UNDEFINED."""


class OutputError(EdgeInspectorError):
    """A PLC or broker connection is lost: close it and open it again."""


class StorageError(EdgeInspectorError):
    """A flight record or ledger cannot be read or written."""
