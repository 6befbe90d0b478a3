"""PixNet: dense spatial gene expression from H&E images.

Names are loaded at first use, so that `import pixnet` is fast.
"""

from __future__ import annotations

import lazy_loader

from pixnet.version import __version__ as __version__

# The names and where they are defined are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
