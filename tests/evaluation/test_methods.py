from __future__ import annotations

import numpy as np
import pytest

from pixnet.config import Config
from pixnet.demo.predictions import predict_field
from pixnet.errors import DataError
from pixnet.evaluation.methods import METHODS, check_methods, log_values, method_settings, method_version, seeds_of
from pixnet.expression import log_expectation
from pixnet.field import BuildOptions, LatentSource, LinearHead, build_field
from pixnet.grid import Lattice
from pixnet.regions import Disks
from pixnet.slide import Slide

# Methods


def test_methods_are_named_once_and_known():
    assert check_methods(["mean", "ridge", "mean"]) == ["mean", "ridge"]
    with pytest.raises(DataError, match=f"'magic' is not known; choose from {', '.join(METHODS)}"):
        check_methods(["mean", "magic"])
    with pytest.raises(DataError, match="no method is named"):
        check_methods([])


def test_a_method_that_is_not_random_runs_once():
    assert list(seeds_of("mean", [3, 4])) == [3]
    assert list(seeds_of("pixnet", [3, 4])) == [3, 4]


@pytest.mark.parametrize("method", METHODS)
def test_settings_and_version_of_every_method_are_known(method):
    assert isinstance(method_settings(method, Config()), dict)
    assert method_version(method) >= 1


def test_pixnet_depends_on_its_configuration_but_not_through_the_seed():
    plain = method_settings("pixnet", Config())
    assert method_settings("pixnet", Config.from_dict({"training": {"seed": 5, "min_counts": 3}})) == plain
    assert method_settings("pixnet", Config.from_dict({"training": {"steps": 5}})) != plain
    assert method_settings("ridge", Config.from_dict({"training": {"steps": 5}})) == method_settings("ridge", Config())


# What PixNet predicts for regions


@pytest.fixture
def make_field(tmp_path):
    slide = Slide.from_array(np.full((96, 96, 3), 200, np.uint8), 1.0)

    def make(kind):
        genes = ("G0", "G1", "other") if kind == "rate" else ("G0", "G1")
        weight = np.linspace(0.001, 0.02, 2 * len(genes)).reshape(2, -1)
        head = LinearHead(kind, genes, weight, np.full(len(genes), 0.001), "x")

        def latent(images):
            rows, cols = ((side - 32) // 4 for side in images.near.shape[:2])
            return np.random.default_rng(0).uniform(0.5, 1, (2, rows, cols)).astype(np.float32)

        lattice = Lattice(96.0, 96.0, 1.0, 16, 16)
        out = tmp_path / f"{kind}.field"
        return build_field(slide, LatentSource(lattice, 4, latent, head, card={}), out, BuildOptions(tissue_mask=False))

    return make


REGIONS = Disks(np.array([[30.0, 40.0], [60.0, 50.0], [70.0, 20.0]]), 25.0)


def test_a_rate_head_predicts_the_expected_logarithm_at_the_predicted_total(make_field):
    field = make_field("rate")
    counts = np.asarray(field.query(REGIONS, ["G0", "G1", "other"]).X, float)
    expected = log_expectation(counts[:, :2] / counts.sum(axis=1, keepdims=True), counts.sum(axis=1))
    values = log_values(field, REGIONS)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    table = field.query(REGIONS, expected_log=True)
    np.testing.assert_allclose(table.layers["log1p_expected"], values, rtol=1e-5)  # what is scored is what users get
    assert (values < table.layers["log1p"]).all()
    one = field.query(REGIONS, ["G1"], expected_log=True).layers["log1p_expected"]
    np.testing.assert_array_equal(one[:, 0], table.layers["log1p_expected"][:, 1])


@pytest.mark.parametrize("kind", ["rate", "mean", "sum"])
def test_only_a_rate_head_predicts_measured_logs_apart_from_those_of_shares(make_field, kind):
    field = make_field(kind)
    arrays = predict_field(field, {"disks": REGIONS})
    if kind != "rate":
        assert set(arrays) == {"disks|counts", "disks|log"}
        return
    np.testing.assert_array_equal(arrays["disks|log"], field.query(REGIONS).layers["log1p"])
    np.testing.assert_array_equal(arrays["disks|measured-log"], log_values(field, REGIONS))


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_other_heads_predict_what_they_were_trained_on(make_field, kind):
    field = make_field(kind)
    np.testing.assert_array_equal(log_values(field, REGIONS), field.query(REGIONS).X)


@pytest.mark.filterwarnings("ignore:1 of 2 regions lie outside")
def test_regions_without_data_have_no_prediction(make_field):
    regions = Disks(np.array([[30.0, 40.0], [900.0, 900.0]]), 25.0)
    field = make_field("rate")
    for values in (log_values(field, regions), field.query(regions, expected_log=True).layers["log1p_expected"]):
        assert np.isfinite(values[0]).all()
        assert np.isnan(values[1]).all()
