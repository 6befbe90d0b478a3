"""PixNet: dense spatial gene expression from H&E images."""

__version__ = "0.1.0"
