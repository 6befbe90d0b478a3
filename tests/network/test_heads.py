from __future__ import annotations

import numpy as np
import pytest
import torch

from pixnet.network.heads import Head, integrate

KINDS = ("rate", "mean", "sum")


def make_head(kind: str, channels: int = 4, outputs: int = 3) -> Head:
    torch.manual_seed(0)
    head = Head(kind, channels, outputs)  # type: ignore[arg-type]
    torch.nn.init.normal_(head.baseline)
    head.scale.copy_(torch.tensor([0.5, 2.0, 10.0])[:outputs])
    if kind != "rate":
        head.offset.copy_(torch.tensor([1.0, 0.0, -3.0])[:outputs])
    return head


def density_for(head: Head) -> torch.Tensor | None:
    """Return a density map of 6 x 6 pixels, if the head has one."""
    return torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(3)) if head.kind == "rate" else None


def parts_of_a_whole(head: Head) -> tuple[torch.Tensor, torch.Tensor]:
    """Return integrals of D and areas of seven regions."""
    decoded = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1)) * 3
    latent = head.activate(decoded, density_for(head))
    coverage = torch.rand(7, 36, generator=torch.Generator().manual_seed(2)) * 4
    return coverage @ latent[0].flatten(1).T, coverage.sum(1)


@pytest.mark.parametrize("kind", ["rate", "sum"])
def test_parts_add_up_to_the_whole(kind: str) -> None:
    head = make_head(kind)
    integral, area = parts_of_a_whole(head)
    with torch.no_grad():
        parts, whole = head(integral, area), head(integral.sum(0, keepdim=True), area.sum().view(1))
    assert torch.allclose(parts.sum(0), whole[0], rtol=1e-5)


def test_a_mean_is_the_area_weighted_mean_of_its_parts() -> None:
    head = make_head("mean")
    integral, area = parts_of_a_whole(head)
    with torch.no_grad():
        parts, whole = head(integral, area), head(integral.sum(0, keepdim=True), area.sum().view(1))
    assert torch.allclose((parts * area.view(-1, 1)).sum(0) / area.sum(), whole[0], rtol=1e-5, atol=1e-6)


def test_a_rate_is_never_negative() -> None:
    head = make_head("rate")
    for sign in (-50.0, 0.0, 50.0):
        with torch.no_grad():
            head.loadings.fill_(sign)
            head.baseline.fill_(sign)
            weight, bias = head.linear()
            latent = head.activate(torch.randn(1, 4, 5, 5) * 30, torch.randn(1, 1, 5, 5) * 30)
        assert (weight >= 0).all()
        assert (bias >= 0).all()
        assert (latent >= 0).all()


def test_programs_are_shares_of_the_density() -> None:
    head, decoded, density = make_head("rate"), torch.randn(2, 4, 3, 3), torch.randn(2, 1, 3, 3)
    latent, plain = head.activate(decoded, density), torch.nn.functional.softplus(decoded)
    assert torch.allclose(latent / plain, (latent / plain)[:, :1].expand_as(plain), rtol=1e-4)
    assert torch.allclose(latent.sum(dim=1, keepdim=True), torch.nn.functional.softplus(density))


def test_the_total_teaches_the_density_alone() -> None:
    head = make_head("rate")
    decoded = torch.randn(1, 4, 6, 6, requires_grad=True)
    density = torch.randn(1, 1, 6, 6, requires_grad=True)
    inside = (torch.rand(5, 36) < 0.4).float()
    expected = head(integrate(head.activate(decoded, density), inside.to_sparse_csr()), inside.sum(1))
    amount = inside @ torch.nn.functional.softplus(density).flatten()
    bias = head.linear()[1].sum() * inside.sum(1)
    # A unit of the density stands for half of what the training regions hold on average.
    assert torch.allclose(expected.sum(dim=1), 0.5 * head.scale.sum() * amount + bias, rtol=1e-5)
    expected.sum(dim=1).square().sum().backward()
    assert density.grad is not None
    assert decoded.grad is not None
    assert head.loadings.grad is not None
    assert float(density.grad.abs().max()) > 1e-3
    for left_alone in (decoded.grad, head.loadings.grad):
        assert float(left_alone.abs().max()) <= 1e-5 * float(density.grad.abs().max())


def test_programs_that_say_nothing_share_the_density_evenly() -> None:
    latent = make_head("rate").activate(torch.full((1, 4, 2, 2), -200.0), torch.zeros(1, 1, 2, 2))
    assert torch.allclose(latent, torch.tensor(0.25 * np.log(2.0), dtype=torch.float32))


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_the_papers_heads_take_the_decoders_output_as_it_is(kind: str) -> None:
    decoded = torch.randn(1, 4, 5, 5)
    assert torch.equal(make_head(kind).activate(decoded), decoded)


@pytest.mark.parametrize("kind", KINDS)
def test_aggregating_before_the_head_is_the_same_as_after(kind: str) -> None:
    """Eq. 9 on the map of every gene, against the head on the integral of the latent map."""
    head = make_head(kind).double()
    decoded = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1)).double()
    density = density_for(head)
    latent = head.activate(decoded, None if density is None else density.double())
    coverage = torch.rand(7, 36, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        weight, bias = head.linear()
        genes = latent[0].flatten(1).T @ weight + bias  # (pixels, M): the dense map G
        expected = coverage @ genes
        area = coverage.sum(1)
        if kind == "mean":
            expected = expected / area.view(-1, 1)
        found = head(coverage @ latent[0].flatten(1).T, area)
    assert torch.allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_follows_its_scale(kind: str) -> None:
    head = make_head(kind)
    integral, area = parts_of_a_whole(head)
    with torch.no_grad():
        before = head(integral, area) - (0 if kind == "rate" else head(0 * integral, 0 * area + 1) * 0)
        head.scale.mul_(3.0)
        head.offset.mul_(3.0)
        assert torch.allclose(head(integral, area), 3.0 * before, rtol=1e-4, atol=1e-5)


def test_gradients_reach_loadings_and_baseline() -> None:
    for kind in KINDS:
        head = make_head(kind)
        integral, area = parts_of_a_whole(head)
        head(integral, area).square().sum().backward()
        for parameter in head.parameters():
            assert parameter.grad is not None
            assert (parameter.grad != 0).any()


def test_a_disk_of_the_dense_map_is_what_the_head_gives() -> None:
    """The paper's own case: complete pixels inside a radius, each counted with its area."""
    head = make_head("sum")
    latent = torch.randn(1, 4, 9, 9, generator=torch.Generator().manual_seed(3))
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    inside = ((x - 4) ** 2 + (y - 4) ** 2 <= 9.0).float().view(1, 81) * 4.0  # pixels of 2 um
    with torch.no_grad():
        weight, bias = head.linear()
        dense = torch.einsum("chw,cm->mhw", latent[0], weight) + bias.view(-1, 1, 1)
        expected = (dense.flatten(1) * inside).sum(1)
        found = head(integrate(latent, inside.to_sparse_csr()), inside.sum(1))[0]
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-3)
