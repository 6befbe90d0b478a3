from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from PIL import Image

from pixnet.errors import PixNetError, SlideError
from pixnet.safe.budget import VARIABLE, memory_limit
from pixnet.slide import Slide
from pixnet.slide.decode_limit import check_decoded_size, pillow_limit


def test_the_limit_is_4_gb_or_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert memory_limit() == 4 << 30
    monkeypatch.setenv(VARIABLE, "0.5")
    assert memory_limit() == 1 << 29


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "4GB"])
def test_an_invalid_limit_is_an_error(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(PixNetError, match=f"{VARIABLE} must be a positive number of GB, not '{given}'"):
        memory_limit()


def test_a_higher_limit_allows_larger_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(1 << 24))
    with pytest.raises(SlideError, match=rf"8\.4 GB in memory, but the limit is 4 GB\..*{VARIABLE}"):
        check_decoded_size(path, 50_000, 60_000)
    monkeypatch.setenv(VARIABLE, "9")
    check_decoded_size(path, 50_000, 60_000)


def test_more_pixels_than_the_bytes_can_hold_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(1000))
    with pytest.raises(SlideError, match="declares 30000 x 20000 pixels in 1000 bytes"):
        check_decoded_size(path, 20_000, 30_000)


def test_pillows_limit_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (400, 300)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pillow_limit():
        assert Image.MAX_IMAGE_PIXELS == (4 << 30) // 3
    assert Image.MAX_IMAGE_PIXELS == 10_000
    # Pillow alone refuses the image, PixNet opens it.
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert Slide.open(path, mpp=1.0).read(0, 0, 400, 300, 1.0)[1].all()
    monkeypatch.setenv(VARIABLE, "0.0001")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(SlideError, match=VARIABLE):
            Slide.open(path, mpp=1.0)
