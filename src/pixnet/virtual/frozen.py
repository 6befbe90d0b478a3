"""What is frozen: the version, the parameters, and the seeds that tests and benchmarks use for scoring.

Tune nothing on the test seeds. If you change a number here or in `presets.py`, raise the version: scores of different
versions cannot be compared.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType

from pixnet.virtual.presets import PRESETS

VIRTUAL_VERSION = "1"

# For each preset: (slide seed, donor seed). Do not use these slides or donors for training or tuning.
TEST_SEEDS: Mapping[str, tuple[tuple[int, int], ...]] = MappingProxyType(
    {
        "breast": ((9001, 901), (9002, 902), (9003, 903)),
        "colon": ((9101, 911), (9102, 912), (9103, 913)),
        "cortex": ((9201, 921), (9202, 922), (9203, 923)),
    }
)


def frozen_digest() -> str:
    """Return the SHA-256, in hexadecimal, of the version, all parameters of the presets and the test seeds."""
    content = {
        "version": VIRTUAL_VERSION,
        "presets": {name: dataclasses.asdict(preset) for name, preset in PRESETS.items()},
        "test_seeds": dict(TEST_SEEDS),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
