"""The command line: one module for each command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from pixnet.cli import demo, encoders, evaluate, export, features, info, inspect, predict, query, train
from pixnet.cli.messages import option_names, plain_messages
from pixnet.cli.process import end_in_order, let_threads_sleep


class _Command(TyperCommand):
    """A command that prints errors and warnings as plain lines, in terms of its own options."""

    def invoke(self, ctx: Any) -> Any:
        with plain_messages(option_names(self.params)):
            return super().invoke(ctx)


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    demo.demo,
    info.info,
    inspect.inspect,
    train.train,
    predict.predict,
    query.query,
    export.export,
    evaluate.evaluate,
    encoders.encoders,
    features.features,
)
for _command in _COMMANDS:
    app.command(cls=_Command)(_command)


def _show_version(requested: bool) -> None:
    if requested:
        import pixnet

        typer.echo(f"pixnet {pixnet.__version__}")
        raise typer.Exit


@app.callback()
def pixnet_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Predict dense maps of gene expression from H&E images, and query them at any spot size or shape."""


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):  # a file's name need not be UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    let_threads_sleep()
    end_in_order()
    app(prog_name="pixnet")
