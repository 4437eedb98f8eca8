"""Which failures of the GPU pass with the part, and which end the process."""

from __future__ import annotations

from edge_inspector.errors import DeviceLostError, InferenceError

STICKY: dict[str, str] = {
    "CUDA_ERROR_ECC_UNCORRECTABLE": "uncorrectable ECC error encountered",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE": "uncorrectable NVLink error detected during the execution",
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "CUDA-capable device(s) is/are busy or unavailable",
    "CUDA_ERROR_CONTAINED": "Invalid access of peer GPU memory over nvlink or a hardware error",
    "CUDA_ERROR_DEINITIALIZED": "driver shutting down",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "an illegal memory access was encountered",
    "CUDA_ERROR_LAUNCH_TIMEOUT": "the launch timed out and was terminated",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED": "context is destroyed",
    "CUDA_ERROR_ASSERT": "device-side assert triggered",
    "CUDA_ERROR_HARDWARE_STACK_ERROR": "hardware stack error",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION": "an illegal instruction was encountered",
    "CUDA_ERROR_MISALIGNED_ADDRESS": "misaligned address",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE": "operation not supported on global/shared address space",
    "CUDA_ERROR_INVALID_PC": "invalid program counter",
    "CUDA_ERROR_LAUNCH_FAILED": "unspecified launch failure",
    "CUDA_ERROR_UNKNOWN": "unknown error",
}
"""The driver's texts (cuGetErrorString; PyCUDA gives no code) of errors after which every call of the process fails."""


def is_sticky(text: str) -> bool:
    """Whether a message of CUDA or TensorRT tells of a context that is lost for good."""
    return any(sticky in text or name in text for name, sticky in STICKY.items())


def translated(doing: str, text: str, answers: bool) -> InferenceError:
    """What to raise for a failed call: a DeviceLostError where no other call of this process can succeed.

    `answers` is whether the stream could still be asked afterwards.
    """
    if answers and not is_sticky(text):
        return InferenceError(f"{doing} failed: {text}")
    return DeviceLostError(
        f"{doing} failed: {text}; the CUDA context is lost and the process must start anew. If it comes back: "
        "`dmesg | grep -i -e nvgpu -e Xid` shows the driver's reason"
    )
