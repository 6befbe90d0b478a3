from __future__ import annotations

import numpy as np
import pytest
import torch

from pixnet.network.linear_path import LinearPath

CHANNELS, PROGRAMS, PITCH = (3, 5), 4, 4


@pytest.fixture
def path() -> LinearPath:
    """Return a path with squares of 7 and 13 pixels."""
    path = LinearPath(CHANNELS, PITCH, 4.0, PROGRAMS)
    generator = torch.Generator().manual_seed(0)
    path.solve(torch.randn(PROGRAMS, 16, generator=generator), torch.randn(PROGRAMS, generator=generator), 0.25)
    return path


def test_logits_are_linear_in_the_means_over_squares(path: LinearPath) -> None:
    assert path.squares.widths == (7, 13)
    rng = np.random.default_rng(1)
    fine, deep = rng.normal(size=(3, 80, 80)), rng.normal(size=(5, 40, 40))
    logits = path.logits([torch.from_numpy(level[None]) for level in (fine, deep)])
    gathered = np.concatenate([fine.reshape(3, 40, 2, 40, 2).mean(axis=(2, 4)), deep])
    row, col = 20, 17
    means = [gathered[:, row - r : row + r + 1, col - r : col + r + 1].mean(axis=(1, 2)) for r in (3, 6)]
    expected = path.weight.numpy() @ np.concatenate(means) + path.bias.numpy()
    np.testing.assert_allclose(logits[0, :, row, col], expected, rtol=1e-5, atol=1e-5)


def test_the_sum_over_programs_stays(path: LinearPath) -> None:
    latent = torch.rand(2, PROGRAMS, 3, 3) + 0.1
    shares = path.shares(torch.randn(2, PROGRAMS, 3, 3))
    assert (shares > 0).all()
    mixed = path.mixed(latent, shares, path.share)
    torch.testing.assert_close(mixed.sum(dim=1), latent.sum(dim=1))
    torch.testing.assert_close(mixed, 0.75 * latent + 0.25 * latent.sum(dim=1, keepdim=True) * shares)
    torch.testing.assert_close(path.mixed(latent, shares, 0.0), latent)


def test_a_model_of_an_earlier_version_has_none(path: LinearPath) -> None:
    new = LinearPath(CHANNELS, PITCH, 4.0, PROGRAMS)
    torch.nn.ModuleDict({"linear": new}).load_state_dict({})
    assert float(new.share) == 0.0
    torch.nn.ModuleDict({"linear": new}).load_state_dict(torch.nn.ModuleDict({"linear": path}).state_dict())
    assert float(new.share) == 0.25
    assert torch.equal(new.weight, path.weight)
