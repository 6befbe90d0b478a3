"""The folder of an evaluation, replaced whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixnet.errors import DataError
from pixnet.evaluation.results import RESULTS
from pixnet.evaluation.tables import PER_GENE, PREDICTIONS, SCORES

_PARTIAL = ".partial"
_MADE = ("model", "fields", PREDICTIONS, PER_GENE, SCORES, "report.html", RESULTS)


@contextmanager
def replacing(out: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder inside `out`; what it holds takes its place in `out` if nothing fails."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; give a folder for the results.")
    if not (out / RESULTS).exists():
        taken = [name for name in _MADE if (out / name).exists()]
        if taken:
            raise DataError(f"{out}: holds {taken[0]!r} but no {RESULTS}; give another folder.")
    elif not overwrite:
        raise DataError(f"{out}: holds {RESULTS} already; give another folder, or --overwrite.")
    existed = out.exists()
    partial = out / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        (out / RESULTS).unlink(missing_ok=True)  # last to come, so first to go
        for name in _MADE:
            old, new = out / name, partial / name
            if old.is_dir():
                shutil.rmtree(old)
            old.unlink(missing_ok=True)
            if new.exists():
                os.replace(new, old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not existed and not any(out.iterdir()):
            out.rmdir()
