"""Run the benchmarks: `python -m benchmarks [NAME ...]`. Prints a table and writes out/benchmarks.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks import coverage, platforms, predict, programs, sliding_window, visium_hd

ALL = {
    "coverage": coverage.run,
    "predict": predict.run,
    "sliding_window": sliding_window.run,
    "platforms": platforms.run,
    "demo": programs.demo,
    "evaluate": programs.evaluate,
    "visium_hd": visium_hd.run,
}


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all of them."""
    if unknown := [name for name in names if name not in ALL]:
        raise SystemExit(f"no benchmark {unknown[0]!r}; there are {', '.join(ALL)}")
    results = {}
    for name in names or ALL:
        results[name] = ALL[name]()
        for figure, value in results[name].items():
            print(f"{name:10} {figure:60} {value}", flush=True)
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "benchmarks.json").write_text(json.dumps(results, indent=1) + "\n")


main(sys.argv[1:])
