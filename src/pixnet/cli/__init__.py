"""The command line: one file for each verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pixnet.cli import demo, encoders, evaluate, export, inspect, predict, query, train
from pixnet.cli.messages import plain_messages
from pixnet.cli.process import let_threads_sleep


class _Verbs(TyperGroup):
    """The group of verbs; whatever goes wrong in one is told in plain words."""

    def invoke(self, ctx: Any) -> Any:
        with plain_messages():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_VERBS = (
    demo.demo,
    inspect.inspect,
    train.train,
    predict.predict,
    query.query,
    export.export,
    evaluate.evaluate,
    encoders.encoders,
)
for _verb in _VERBS:
    app.command()(_verb)


def _show_version(wanted: bool) -> None:
    if wanted:
        import pixnet

        typer.echo(f"pixnet {pixnet.__version__}")
        raise typer.Exit


@app.callback()
def pixnet_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Predict dense spatial gene expression from H&E images, and read it off at any spot size or shape."""


def main() -> None:
    """Run the command line."""
    let_threads_sleep()
    app(prog_name="pixnet")
