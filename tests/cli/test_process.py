"""Settings of the process: those that the user has made stay."""

from __future__ import annotations

import os

import pytest

from pixnet.cli.process import let_threads_sleep

SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({}, {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7", "KMP_BLOCKTIME": "1"}),
    ],
)
def test_threads_sleep_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], then: dict[str, str]
) -> None:
    for name in SPINNING:
        monkeypatch.setenv(name, "")  # so that it is set back afterwards, whatever the test does
        del os.environ[name]
    os.environ.update(given)
    let_threads_sleep()
    assert {name: os.environ[name] for name in SPINNING if name in os.environ} == then
