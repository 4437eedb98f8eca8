"""What can go wrong, sorted by what the caller does next."""


class EdgeInspectorError(Exception):
    """Base of every expected failure; the message names the thing, the value, what was expected and the remedy."""


class ConfigError(EdgeInspectorError):
    """The user must change a file or an argument."""


class BundleError(ConfigError):
    """A model bundle is missing, damaged, or is not what its model.toml says."""


class CameraError(EdgeInspectorError):
    """The camera is lost: close it and open a new instance."""


class FeatureError(CameraError):
    """The camera does not take a feature: the user must change it. An open camera stays open."""


class FrameError(EdgeInspectorError):
    """This picture cannot be inspected: the part is UNDEFINED, the camera stays open.

    `frame_id` and `line_edges` are the damaged picture's own, as in `Frame`; None = not known.
    """

    def __init__(self, message: str, frame_id: int | None = None, line_edges: int | None = None) -> None:
        super().__init__(message)
        self.frame_id = frame_id
        self.line_edges = line_edges


class InferenceError(EdgeInspectorError):
    """The model gave no usable answer for this part: the part is UNDEFINED."""


class DeviceLostError(InferenceError):
    """The device that runs the models is gone: this part is UNDEFINED, and only a new process can mend it."""


class OutputError(EdgeInspectorError):
    """A PLC or broker connection is lost: close it and open it again."""


class StorageError(EdgeInspectorError):
    """A flight record or ledger cannot be read or written."""


class PowerError(EdgeInspectorError):
    """The board's power mode or clocks could not be read or changed: the station keeps running and says so."""


class RebootNeededError(PowerError):
    """The board would have to be started again for this mode; nothing was changed."""
