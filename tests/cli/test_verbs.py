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
from pixnet.cli.encoders import ENCODERS
from pixnet.cli.messages import plain_messages
from pixnet.errors import DataError, PixNetWarning
from pixnet.network.config import EncoderConfig
from pixnet.network.encoders import make_encoder
from pixnet.network.weights import DEFAULT_ENCODER

HEAVY = ("torch", "timm", "anndata", "pandas", "scipy", "matplotlib", "zarr", "numpy", "shapely", "pydantic")
VERBS = ("demo", "inspect", "train", "predict", "query", "export", "evaluate", "encoders")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from pixnet.cli import app; "
        "done = CliRunner().invoke(app, ['--help']); assert done.exit_code == 0, done.output; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_help_names_every_verb(run):
    done = run("--help")
    assert [line.split()[0] for line in done.out.split("Commands:")[1].strip().splitlines()] == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(run, verb):
    done = run(verb, "--help")
    assert done.status == 0
    assert f"pixnet {verb}" in done.out


def test_the_version_is_printed(run):
    assert run("--version").out == f"pixnet {pixnet.__version__}\n"


def test_an_unknown_verb_or_option_ends_with_status_2(run):
    assert run("fit").status == 2
    assert run("train", "samples.toml", "--output", "x").status == 2


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (DataError("x.tsv: no\n  good."), 2, "Error: x.tsv: no good.\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "Error: /x: Permission denied.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_errors_are_told_in_one_line(capsys, error, status, text):
    with pytest.raises(typer.Exit) as ended, plain_messages():
        raise error
    assert ended.value.exit_code == status
    assert capsys.readouterr().err == text


def test_only_what_users_can_mend_is_caught():
    with pytest.raises(ZeroDivisionError), plain_messages():
        raise ZeroDivisionError


def test_warnings_are_told_in_one_line(capsys):
    with plain_messages():
        warnings.warn("spots are\nleft out.", PixNetWarning, stacklevel=1)
        warnings.warn("a library's own affairs", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: spots are left out.\n"


def test_ctrl_c_ends_with_status_130():
    code = (
        "import time; import pixnet.cli.encoders as listed; from pixnet.cli import main; "
        "listed.is_installed = lambda _: print('here', flush=True) or time.sleep(60); main()"
    )
    arguments = [sys.executable, "-c", code, "encoders"]
    process = subprocess.Popen(  # noqa: S603
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What runs the tests in the background may ignore the signal, and its children then do too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "Interrupted.\n"
    assert process.returncode == 130


def test_encoders_are_listed():
    done = CliRunner().invoke(app, ["encoders"])
    assert done.exit_code == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    default = rows[DEFAULT_ENCODER].split()
    assert default[1:5] == ["4.7", "M", "19", "MB"]
    assert "open" in default
    assert "yes" in default
    assert "gated" in rows["hf-hub:MahmoodLab/UNI2-h"]
    assert "CC-BY-NC-ND-4.0" in rows["hf-hub:MahmoodLab/UNI2-h"]


@pytest.mark.parametrize("facts", [facts for facts in ENCODERS if ":" not in facts.name], ids=lambda facts: facts.name)
def test_the_listed_facts_of_timms_encoders_are_right(facts):
    registered = timm.get_pretrained_cfg(facts.name)
    assert registered.license == facts.licence.lower()
    assert facts.hub in ("", registered.hf_hub_id)
    with torch.device("meta"):
        whole = timm.create_model(facts.name)
        finest = 4 if "finest = 4" in facts.note else 2
        encoder = make_encoder(EncoderConfig(name=facts.name, weights="random", finest=finest))
    assert encoder.strides == tuple(2**n for n in range(finest.bit_length() - 1, 5))
    assert facts.parameters == pytest.approx(sum(p.numel() for p in whole.parameters()) / 1e6, abs=0.06)
