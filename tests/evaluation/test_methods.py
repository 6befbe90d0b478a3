from __future__ import annotations

import pytest

from pixnet.config import Config
from pixnet.errors import DataError
from pixnet.evaluation.methods import METHODS, check_methods, method_code, method_settings, seeds_of


def test_methods_are_named_once_and_known():
    assert check_methods(["mean", "ridge", "mean"]) == ["mean", "ridge"]
    with pytest.raises(DataError, match=f"'magic' is not known; there are {', '.join(METHODS)}"):
        check_methods(["mean", "magic"])
    with pytest.raises(DataError, match="no method is named"):
        check_methods([])


def test_what_is_not_random_runs_once():
    assert list(seeds_of("mean", [3, 4])) == [3]
    assert list(seeds_of("pixnet", [3, 4])) == [3, 4]


@pytest.mark.parametrize("method", METHODS)
def test_settings_and_code_of_every_method_are_known(method):
    settings = method_settings(method, Config())
    assert isinstance(settings, dict)
    assert len(method_code(method)) == 64


def test_pixnet_depends_on_its_configuration_but_not_through_the_seed():
    plain = method_settings("pixnet", Config())
    assert method_settings("pixnet", Config.of({"training": {"seed": 5, "min_counts": 3}})) == plain
    assert method_settings("pixnet", Config.of({"training": {"steps": 5}})) != plain
    assert method_settings("ridge", Config.of({"training": {"steps": 5}})) == method_settings("ridge", Config())
