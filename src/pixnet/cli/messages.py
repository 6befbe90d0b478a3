"""What users see when something goes wrong: one line, without a traceback, that names options and not arguments."""

from __future__ import annotations

import errno
import re
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from pixnet.errors import PixNetError, PixNetWarning

BAD_INPUT = 2  # exit status after a `PixNetError`, the same as for a misspelt option

# `name` or `name=value`. What follows the second backtick shows that the words already say how to set it: as a key of
# a manifest (`swap_xy` = true), or with the option's name (`mpp` (--mpp)).
_ARGUMENT = re.compile(r"`(?P<argument>(?P<name>\w+)(?:=(?P<value>[^`]+))?)`(?! = | \(--)")


@contextmanager
def plain_messages(options: Mapping[str, str] | None = None) -> Iterator[None]:
    """Print errors and warnings for users as one line each, to stderr, with `options` in place of arguments.

    The exit status is 2 after a `PixNetError` or a file that cannot be read or written, and 128 plus the
    signal's number after a signal, such as 130 after Ctrl-C, as in shells.
    """
    options = options or {}
    with warnings.catch_warnings():
        # Warnings of other libraries are for programmers.
        for category in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        warnings.simplefilter("always", PixNetWarning)
        show_other = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **details: Any) -> None:
            if issubclass(category, PixNetWarning):
                typer.echo(f"Warning: {_one_line(name_options(str(message), options))}", err=True)
            else:
                show_other(message, category, *where, **details)

        warnings.showwarning = show
        try:
            yield
        except PixNetError as error:
            typer.echo(f"Error: {_one_line(name_options(str(error), options))}", err=True)
            raise typer.Exit(BAD_INPUT) from None
        except OSError as error:
            # Writing to a closed pipe (`pixnet encoders | head`) is not an error of the user; typer handles it.
            if error.errno == errno.EPIPE or error.strerror is None:
                raise
            place = f"{error.filename}: " if error.filename is not None else ""
            typer.echo(f"Error: {place}{error.strerror}.", err=True)
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt as interrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(128 + next(iter(interrupt.args), signal.SIGINT)) from None


def option_names(parameters: Sequence[Any]) -> dict[str, str]:
    """Return the options of a typer command by the arguments of the library that they set.

    An argument is named as in Python: `min_counts` is "--min-counts". A flag is also listed with the value that it
    sets: `resume=True` is "--resume", and `tissue_mask=False` is "--no-tissue-mask".
    """
    options = {}
    for parameter in parameters:
        if parameter.param_type_name != "option":
            continue
        option = options[parameter.name] = parameter.opts[0]
        if getattr(parameter, "is_flag", False):
            options[f"{parameter.name}=True"] = option
            if parameter.name.startswith("no_"):
                options[f"{parameter.name.removeprefix('no_')}=False"] = option
    return options


def name_options(message: str, options: Mapping[str, str]) -> str:
    """Replace arguments in backticks by the options of the running command that set them, if there are any."""

    def option_of(match: re.Match[str]) -> str:
        argument, name, value = match.groups()
        if argument in options:
            return options[argument]
        if name in options and value not in (None, "True", "False", "None"):
            return f"{options[name]} " + value.strip("\"'")
        return match[0]

    return _ARGUMENT.sub(option_of, message)


def _one_line(message: str) -> str:
    return " ".join(message.split())
