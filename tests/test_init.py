from __future__ import annotations

import subprocess
import sys

import pytest

import pixnet


@pytest.mark.parametrize("name", pixnet.__all__)
def test_every_public_name_is_there(name):
    assert getattr(pixnet, name) is not None
    assert name in dir(pixnet)


def test_the_names_are_the_things_themselves():
    from pixnet.model import PixNet
    from pixnet.slide import Slide

    assert pixnet.PixNet is PixNet
    assert pixnet.Slide is Slide


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'Pixnet'"):
        pixnet.Pixnet  # noqa: B018


def test_importing_loads_nothing():
    code = (
        "import sys, pixnet; print([name for name in ('numpy', 'torch', 'anndata', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_the_module_can_be_run():
    done = subprocess.run([sys.executable, "-m", "pixnet", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"pixnet {pixnet.__version__}\n"
