"""Write virtual samples in the file layouts of the platforms.

Each writer creates its folder if it is missing, and returns the sample's entry in a manifest in that folder.
"""

from __future__ import annotations
