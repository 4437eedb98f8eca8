"""How a command tells the user that something must be changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from edge_inspector.errors import EdgeInspectorError

EXIT_USER = 2
"""The user must change a file or an argument."""
EXIT_BALANCE = 3
"""The books do not balance."""


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """An expected error is printed on stderr without a traceback; the exit code is 2."""
    try:
        yield
    except (EdgeInspectorError, OSError) as exc:  # OSError: a file or folder that cannot be read or written
        tell(exc)
        raise typer.Exit(EXIT_USER) from exc


def tell(error: Exception) -> None:
    """Print an expected error on stderr."""
    for line in str(error).splitlines():
        typer.secho(line, err=True, fg=typer.colors.RED)
