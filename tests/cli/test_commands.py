from __future__ import annotations

import signal
import subprocess
import sys
import warnings

import pytest
import timm
import torch
import typer
from typer.testing import CliRunner

import pixnet
from pixnet.cli import app
from pixnet.cli.encoders import CONVOLUTIONAL
from pixnet.cli.messages import name_options, option_names, plain_messages
from pixnet.errors import DataError, PixNetWarning
from pixnet.network.config import DEFAULT_ENCODER, EncoderConfig
from pixnet.network.encoders.make import make_encoder
from pixnet.network.encoders.registry import definitions

HEAVY = ("torch", "timm", "anndata", "pandas", "scipy", "matplotlib", "zarr", "numpy", "shapely", "pydantic")
COMMANDS = ("demo", "info", "inspect", "train", "predict", "query", "export", "evaluate", "encoders", "features")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from pixnet.cli import app; "
        "done = CliRunner().invoke(app, ['--help']); assert done.exit_code == 0, done.output; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_help_names_every_command(run):
    done = run("--help")
    assert [line.split()[0] for line in done.out.split("Commands:")[1].strip().splitlines()] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_page(run, command):
    done = run(command, "--help")
    assert done.status == 0
    assert f"pixnet {command}" in done.out


def test_the_list_of_commands_describes_each_in_full(run):
    assert "..." not in run("--help").out.split("Commands:")[1]


def test_the_version_is_printed(run):
    assert run("--version").out == f"pixnet {pixnet.__version__}\n"


def test_an_unknown_command_or_option_ends_with_status_2(run):
    assert run("fit").status == 2
    assert run("train", "samples.toml", "--output", "x").status == 2


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (DataError("x.tsv: no\n  good."), 2, "Error: x.tsv: no good.\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "Error: /x: Permission denied.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (KeyboardInterrupt(signal.SIGTERM), 143, "Interrupted.\n"),
    ],
)
def test_errors_are_printed_in_one_line(capsys, error, status, text):
    with pytest.raises(typer.Exit) as ended, plain_messages():
        raise error
    assert ended.value.exit_code == status
    assert capsys.readouterr().err == text


def test_only_errors_that_users_can_fix_are_caught():
    with pytest.raises(ZeroDivisionError), plain_messages():
        raise ZeroDivisionError


def test_warnings_are_printed_in_one_line(capsys):
    with plain_messages():
        warnings.warn("spots are\nleft out.", PixNetWarning, stacklevel=1)
        warnings.warn("a warning of another library", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: spots are left out.\n"


@pytest.fixture(scope="module")
def options():
    """Return the options of each command, by argument."""
    commands = typer.main.get_command(app).commands
    return {name: option_names(command.params) for name, command in commands.items()}


@pytest.mark.parametrize(
    ("command", "message", "printed"),
    [
        ("evaluate", "At least 2 are needed. Lower `min_counts`.", "At least 2 are needed. Lower --min-counts."),
        ("evaluate", "`imports`: 'mean' is taken", "--import: 'mean' is taken"),
        ("evaluate", "`split='kfold:4'`: too few donors", "--split kfold:4: too few donors"),
        ("evaluate", "the runs are in `runs`", "the runs are in --runs"),
        ("train", "another run; train without `resume=True`.", "another run; train without --resume."),
        ("train", 'torch finds no GPU; use `device="cpu"`.', "torch finds no GPU; use --device cpu."),
        ("predict", "no tissue; give `tissue_mask=False`", "no tissue; give --no-tissue-mask"),
        ("predict", "`resume=True` or `overwrite=True`", "--resume or --overwrite"),
        ("query", "give its pixel size as `labels_mpp`", "give its pixel size as --labels-mpp"),
        ("inspect", "Give `mpp`, or `swap_xy=True`.", "Give --mpp, or --swap-xy."),
    ],
)
def test_arguments_are_named_as_options(options, command, message, printed):
    assert name_options(message, options[command]) == printed


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train", "x.tsv: line 3 has no value."),
        ("train", "lower `min_counts` in the settings"),  # no option of this command
        ("train", "`seed` = 3 in the manifest"),
        ("inspect", "Give the right pixel size as `mpp` (--mpp 0.5)."),
        ("inspect", "`swap_xy` = true (--swap-xy)"),
        ("predict", "`resume=False`"),
        ("predict", "`slide`"),  # an argument without an option
        ("query", "`diameter_um` of the sample"),  # which --diameter-um does not set
        ("encoders", "`genes` and `pixnet encoders`"),
    ],
)
def test_other_messages_are_printed_unchanged(options, command, message):
    assert name_options(message, options[command]) == message


def test_errors_and_warnings_name_the_options_of_the_command(capsys):
    options = {"resume=True": "--resume"}
    with plain_messages(options):
        warnings.warn("continue with `resume=True`", PixNetWarning, stacklevel=1)
    with pytest.raises(typer.Exit), plain_messages(options):
        raise DataError("`resume=True` finds nothing.")
    assert capsys.readouterr().err == "Warning: continue with --resume\nError: --resume finds nothing.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_in_order(number):
    code = (
        "import time; import pixnet.cli.encoders as encoders; from pixnet.cli import main; "
        "encoders._installed = lambda *_: print('here', flush=True) or time.sleep(60); main()"
    )
    arguments = [sys.executable, "-c", code, "encoders"]
    process = subprocess.Popen(  # noqa: S603
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A process that runs the tests in the background may ignore the signal, and its children inherit that.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    assert process.communicate()[1] == "Interrupted.\n"
    assert process.returncode == 128 + number


def test_encoders_are_listed():
    done = CliRunner().invoke(app, ["encoders"])
    assert done.exit_code == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    default = rows[DEFAULT_ENCODER].split()
    assert default[1:5] == ["4.7", "M", "19", "MB"]
    assert "open" in default
    assert "yes" in default
    assert "gated" in rows["uni2-h"]
    assert "CC-BY-NC-ND-4.0" in rows["uni2-h"]
    assert "0.5" in rows["uni2-h"].split()
    assert set(definitions()) <= set(rows)


@pytest.mark.parametrize(("name", "hub", "parameters", "remark"), CONVOLUTIONAL, ids=lambda value: str(value)[:20])
def test_the_listed_facts_of_timms_encoders_are_right(name, hub, parameters, remark):
    registered = timm.get_pretrained_cfg(name)
    assert registered.license == "apache-2.0"
    assert hub in ("", registered.hf_hub_id)
    with torch.device("meta"):
        classifier = timm.create_model(name)
        finest = 4 if "finest = 4" in remark else 2
        encoder = make_encoder(EncoderConfig(name=name, weights="random", finest=finest))
    assert encoder.pitches == tuple(2**n for n in range(finest.bit_length() - 1, 5))
    assert parameters == pytest.approx(sum(p.numel() for p in classifier.parameters()) / 1e6, abs=0.06)
