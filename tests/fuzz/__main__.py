"""Read damaged inputs with every reader: `python -m tests.fuzz --cases 10000`; exit status 1 if a bug is found."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.harness import Outcome, available, damaged_copy, import_all, make_inputs, run_case, run_cases, totals
from tests.fuzz.inputs import Target


def main() -> int:
    """Run the cases that the arguments select."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="number of cases, divided among the inputs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case of each input")
    parser.add_argument(
        "--only", default="", help="beginnings of the names of the inputs to use, with commas between them"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument("--json", type=Path, help="file for the outcomes, one per line")
    parser.add_argument(
        "--replay", metavar="INPUT:SEED", help="run a single case in this process, and show its outcome"
    )
    parser.add_argument("--keep", type=Path, help="with --replay, folder to store the damaged input in")
    options = parser.parse_args()
    # A process with threads must not fork.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    prefixes = options.replay.split(":")[:1] if options.replay else options.only.split(",")
    targets = {name: target for name, target in available().items() if name.startswith(tuple(prefixes))}
    if not targets:
        parser.error(f"there is no such input; there are {', '.join(available())}")
    with tempfile.TemporaryDirectory(prefix="pixnet-fuzz-") as name:
        folder = Path(name)
        make_inputs(folder / "inputs", targets)
        if options.replay:
            return _replay(folder, targets, options.replay, options.keep)
        return _run(folder, list(targets.values()), options)


def _run(folder: Path, targets: list[Target], options: argparse.Namespace) -> int:
    cases = [(targets[case % len(targets)], options.seed + case // len(targets)) for case in range(options.cases)]
    started = time.monotonic()
    outcomes = []
    for outcome in run_cases(folder / "inputs", cases, folder, options.jobs):
        outcomes.append(outcome)
        if outcome.kind == "bug":
            print(f"BUG {outcome.target}:{outcome.seed} ({outcome.file})\n{outcome.message}", file=sys.stderr)
        if len(outcomes) % 500 == 0:
            print(f"{len(outcomes)} of {len(cases)} cases, {time.monotonic() - started:.0f} s", file=sys.stderr)
    if options.json:
        options.json.write_text("".join(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes))
    return _report(outcomes, len(cases), time.monotonic() - started)


def _report(outcomes: list[Outcome], n_cases: int, seconds: float) -> int:
    head = f"{'cases':>6} {'valid':>8} {'refused':>8} {'bugs':>5}  slowest, worst memory"
    print(f"{'input':20} {head}")
    for row in totals(outcomes):
        good, bugs = (row["kinds"].get(kind, 0) for kind in ("sample", "bug"))
        line = f"{row['target']:20} {row['cases']:6} {good:8} {row['cases'] - good - bugs:8} {bugs:5}"
        print(f"{line}  {row['slowest'][0]:.2f} s (seed {row['slowest'][1]}), {row['memory'][0] >> 20} MB")
    bugs = [outcome for outcome in outcomes if outcome.kind == "bug"]
    if bugs:
        print(f"replay: {', '.join(f'{bug.target}:{bug.seed}' for bug in bugs)}")
    print(f"\n{len(outcomes)} cases in {seconds:.0f} s, {len(bugs)} bugs", end="")
    print(
        f"; worst memory {max(o.memory for o in outcomes) >> 20} MB, slowest {max(o.seconds for o in outcomes):.1f} s"
    )
    return 1 if bugs or len(outcomes) < n_cases else 0


def _replay(folder: Path, targets: dict[str, Target], case: str, keep: Path | None) -> int:
    name, seed = case.split(":")
    target = targets[name]
    import_all()
    outcome = run_case(folder / "inputs", target, int(seed), folder)
    print(f"{outcome.target}:{outcome.seed}, {outcome.file} damaged: {outcome.kind}\n{outcome.message}")
    print(f"{outcome.seconds:.2f} s, {outcome.memory >> 20} MB")
    if keep:
        shutil.rmtree(folder / "damaged", ignore_errors=True)
        damaged_copy(folder / "inputs", target, int(seed), folder / "damaged")
        shutil.copytree(folder / "damaged", keep)
    return 1 if outcome.kind == "bug" else 0


if __name__ == "__main__":
    sys.exit(main())
