"""The tables of Her2ST, of an evaluation that is done: `python -m benchmarks.her2st PROTOCOL --cells DIR --out DIR`."""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

from pixnet.cli.progress import Progress
from pixnet.errors import PixNetError
from pixnet.evaluation.merged_scores import merged_scores, merged_table
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.results import finite
from pixnet.evaluation.split import listed_entries
from pixnet.genes import join_genes


def main() -> None:
    """Write `table.md`, `merged.json` and `merged.md` beside the results of the evaluation."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.her2st", description=__doc__)
    parser.add_argument("protocol", type=Path)
    parser.add_argument("--cells", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the evaluation was written to")
    options = parser.parse_args()
    table = scores_table(json.loads((options.out / "results.json").read_text(encoding="utf-8")))
    (options.out / "table.md").write_text(table, encoding="utf-8")
    print(table)
    protocol = Protocol.read(options.protocol)
    with warnings.catch_warnings():  # of what is odd in the files, which the evaluation told
        warnings.simplefilter("ignore")
        entries = {entry.id: entry for entry in listed_entries(protocol.manifests)}
        samples = join_genes([entries[name].read() for name in protocol.samples])
    with Progress() as progress:
        found = merged_scores(protocol, samples, options.cells, progress=progress)
    text = json.dumps(finite(found), indent=1, allow_nan=False)
    (options.out / "merged.json").write_text(text + "\n", encoding="utf-8")
    (options.out / "merged.md").write_text(merged_table(found), encoding="utf-8")
    print(merged_table(found))


def scores_table(results: dict[str, Any]) -> str:
    """Give the scores of all methods as Markdown."""
    lines = [
        "| method | PCC@M | over seeds, sd | share of the noise estimate | MSE | pixnet over it | p | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    against = (results["paired"] or {"against": {}})["against"]
    for name, row in results["methods"].items():
        low, high = row["interval_blocks"]
        sd, test = row["sd_over_seeds"]["pcc_m"], against.get(name)
        ratio = f"{test['ratio']:.2f}" if test and test["ratio"] is not None else ""
        p = f"{test['p_bootstrap']:.3f}" if test and test["p_bootstrap"] is not None else ""
        share = f"{row['noise_share']:.2f}" if row["noise_share"] is not None else ""
        lines.append(
            f"| {name} | {row['pcc_m']:.3f} [{low:.3f}, {high:.3f}] | {'' if sd is None else f'{sd:.3f}'} | {share} | "
            f"{row['mse']:.3f} | {ratio} | {p} | {row['seconds'] / 60:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
