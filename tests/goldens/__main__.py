"""Compute the golden results anew: `python -m tests.goldens --write`, after a change that is meant to move numbers."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from tests.goldens import recipe
from tests.goldens.kept import HERE, KEPT, OLD, processor


def main() -> None:
    """Write `results.json`, and the snapshots of names, options and help."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.add_argument("--old", action="store_true", help="also keep a model and a field for later versions to read")
    parser.add_argument("--snapshots-only", action="store_true", help="names, options and help; no numbers")
    options = parser.parse_args()
    (HERE / "names.json").write_text(json.dumps(recipe.public_names(), indent=1) + "\n")
    (HERE / "options.json").write_text(json.dumps(recipe.command_options(), indent=1) + "\n")
    (HERE / "help.txt").write_text(recipe.help_texts())
    if options.snapshots_only:
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        manifest = recipe.write_data(work)
        results = {
            "processor": processor(),
            "evaluate": recipe.summarised(recipe.evaluated(manifest, work)),
            "predict": recipe.summarised(recipe.predicted(manifest, work)),
        }
        if options.old:
            shutil.rmtree(OLD, ignore_errors=True)
            shutil.copytree(work / "model", OLD / "model")
            shutil.copytree(work / "field", OLD / "field")
            results["old"] = results["predict"]
        elif KEPT.exists():
            results["old"] = json.loads(KEPT.read_text())["old"]
    KEPT.write_text(json.dumps(results, indent=None, separators=(",", ":")).replace('"},"', '"},\n"') + "\n")


if __name__ == "__main__":
    main()
