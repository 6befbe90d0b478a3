"""Compute the golden results again: `python -m tests.goldens --write`, after a change that is meant to move numbers.

If the predictions of a method moved, raise its METHOD_VERSION first: otherwise nothing is written.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.goldens import recipe
from tests.goldens.kept import HERE, KEPT, OLD, processor, versions, without_a_new_version


def main() -> None:
    """Write `results.json`, and the snapshots of names, options and help."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.add_argument("--old", action="store_true", help="also keep a model and a field for later versions to read")
    parser.add_argument("--snapshots-only", action="store_true", help="names, options and help; no numbers")
    options = parser.parse_args()
    if not options.snapshots_only:
        write_results(options.old)
    (HERE / "names.json").write_text(json.dumps(recipe.public_names(), indent=1) + "\n")
    (HERE / "options.json").write_text(json.dumps(recipe.command_options(), indent=1) + "\n")
    (HERE / "help.txt").write_text(recipe.help_texts())


def write_results(old: bool) -> None:
    """Write `results.json`, and with `old` the model and the field; exit where a method moved at the same version."""
    golden = json.loads(KEPT.read_text()) if KEPT.exists() else None
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        manifest = recipe.write_data(work)
        results = {
            "processor": processor(),
            "versions": versions(),
            "evaluate": recipe.summarised(recipe.evaluated(manifest, work)),
            "predict": recipe.summarised(recipe.predicted(manifest, work)),
            "demo": recipe.summarised(recipe.demonstrated(work)),
        }
        same = without_a_new_version(golden, results) if golden else []
        if same:
            sys.exit(
                f"The predictions of {', '.join(same)} moved at the same METHOD_VERSION. If on purpose, raise it; "
                "otherwise undo the change. Nothing was written."
            )
        if old:
            shutil.rmtree(OLD, ignore_errors=True)
            shutil.copytree(work / "model", OLD / "model")
            shutil.copytree(work / "field", OLD / "field")
            results["old"] = results["predict"]
        elif golden:
            results["old"] = golden["old"]
    KEPT.write_text(json.dumps(results, indent=None, separators=(",", ":")).replace('"},"', '"},\n"') + "\n")


if __name__ == "__main__":
    main()
