"""The tables of Her2ST from a finished evaluation: `python -m benchmarks.accuracy.her2st PROTOCOL --cells DIR`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from benchmarks.accuracy.accuracy import accuracy_page
from benchmarks.accuracy.frozen import frozen_samples
from benchmarks.accuracy.merged_scores import merged_scores, merged_table
from pixnet.cli.progress import Progress
from pixnet.errors import PixNetError
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.results import finite


def main() -> None:
    """Write `accuracy.md` and `merged.json` beside the results of the evaluation."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.her2st", description=__doc__)
    parser.add_argument("protocol", type=Path)
    parser.add_argument("--cells", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the evaluation was written to")
    parser.add_argument("--command", help="to be named in the tables, in place of this one")
    options = parser.parse_args()
    command = options.command or shlex.join(["python", "-m", "benchmarks.accuracy.her2st", *sys.argv[1:]])
    protocol = Protocol.read(options.protocol)
    samples = frozen_samples(protocol)
    with Progress() as progress:
        found = merged_scores(protocol, samples, options.cells, progress=progress)
    text = json.dumps(finite(found), indent=1, allow_nan=False)
    (options.out / "merged.json").write_text(text + "\n", encoding="utf-8")
    page = accuracy_page(Evaluated.read(options.out), "Her2ST", command, [merged_table(found)])
    (options.out / "accuracy.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
