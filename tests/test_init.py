from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import pixnet


@pytest.mark.parametrize("name", pixnet.__all__)
def test_every_public_name_exists(name):
    assert getattr(pixnet, name) is not None
    assert name in dir(pixnet)


def test_public_names_are_the_classes_of_their_packages():
    from pixnet.model import PixNet
    from pixnet.slide import Slide

    assert pixnet.PixNet is PixNet
    assert pixnet.Slide is Slide


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="attribute Pixnet"):
        pixnet.Pixnet  # noqa: B018


def test_importing_pixnet_loads_no_large_package():
    code = (
        "import sys, pixnet; print([name for name in ('numpy', 'torch', 'anndata', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_pixnet_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "pixnet", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"pixnet {pixnet.__version__}\n"


# Places that earlier documentation named.
EARLIER = [
    "pixnet.evaluation.baselines.RidgeBaseline",
    "pixnet.evaluation.harness.evaluate",
    "pixnet.field.ExpressionField",
    "pixnet.inspection.inspect_sample",
    "pixnet.model.PixNet",
    "pixnet.readers.hest.read_hest",
    "pixnet.readers.legacy_st.read_legacy_st",
    "pixnet.readers.manifest.read_manifest",
    "pixnet.readers.visium.read_visium",
    "pixnet.readers.visium_hd.read_visium_hd",
    "pixnet.readers.xenium.read_xenium",
    "pixnet.regions.Squares",
    "pixnet.sample.Sample",
    "pixnet.slide.Slide",
    "pixnet.virtual.VirtualTissue",
]


@pytest.mark.parametrize("place", EARLIER)
def test_what_earlier_documentation_named_is_still_there(place):
    module, _, name = place.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
