"""Asking another program, which may hang."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

_ENDED_S = 1.0


def ask(command: Sequence[str], limit_s: float) -> tuple[int, str, str]:
    """Exit status, stdout, stderr. TimeoutError: it has not ended within `limit_s`. OSError: it cannot be started.

    A program that hangs in the kernel cannot be ended: it is left behind, and nobody waits for it.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as exc:
        raise TimeoutError(f"`{command[0]}` has not answered within {limit_s:g} s") from exc
    finally:
        if process.returncode is None:
            _end(process)
    return process.returncode, out, err


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_ENDED_S)
    except subprocess.TimeoutExpired:
        process.returncode = -9  # or Python warns of it at its own end
