"""What a user sees when something is wrong: one message, no traceback."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from pixnet.errors import PixNetError, PixNetWarning

BAD_INPUT = 2
"""Exit status of a run that ended with a `PixNetError`, as for a misspelt option."""

INTERRUPTED = 130
"""Exit status of a run that was ended with Ctrl-C, as shells give it."""


@contextmanager
def plain_messages() -> Iterator[None]:
    """Print errors and warnings meant for users as one line each, on stderr.

    Raises
    ------
    typer.Exit
        With status 2 after a `PixNetError` or a file that cannot be read or written, with 130 after Ctrl-C.
    """
    with warnings.catch_warnings():
        # What libraries have to say to programmers is of no use here.
        for category in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        warnings.simplefilter("always", PixNetWarning)
        show_other = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
            if issubclass(category, PixNetWarning):
                typer.echo(f"Warning: {_one_line(message)}", err=True)
            else:
                show_other(message, category, *where, **options)

        warnings.showwarning = show
        try:
            yield
        except PixNetError as error:
            typer.echo(f"Error: {_one_line(error)}", err=True)
            raise typer.Exit(BAD_INPUT) from None
        except OSError as error:
            # Reading from a closed pipe (`pixnet encoders | head`) is no error of the user's; typer deals with it.
            if error.errno == errno.EPIPE or error.strerror is None:
                raise
            place = f"{error.filename}: " if error.filename is not None else ""
            typer.echo(f"Error: {place}{error.strerror}.", err=True)
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
