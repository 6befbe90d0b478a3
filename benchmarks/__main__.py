"""Run the benchmarks: `python -m benchmarks [--quick] [NAME ...]`. Prints a table and writes out/benchmarks.json."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed.figures import Figures, Reached
from pixnet.cli.process import let_threads_sleep, share_freed_memory

# Of the field engine first, those with targets; the last take the longest.
ALL = {
    "predict": "speed.predict:run",
    "memory": "speed.memory:run",
    "crops": "speed.crops:run",
    "sliding_window": "speed.sliding_window:run",
    "query": "speed.query:run",
    "many_genes": "speed.many_genes:run",
    "kills": "speed.kills:run",
    "nuclei": "accuracy.nuclei:run",
    "coverage": "speed.coverage:run",
    "visium_hd": "speed.visium_hd:run",
    "platforms": "accuracy.platforms:run",
    "demo": "speed.programs:demo",
    "evaluate": "speed.programs:evaluate",
}
QUICK = ("predict", "memory", "crops", "sliding_window", "query", "many_genes", "kills", "nuclei")
_OUT = Path("out/benchmarks.json")


def main() -> None:
    """Run the named benchmarks, or all of them; what an earlier run found of others is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *ALL], help=", ".join(ALL))
    parser.add_argument("--quick", action="store_true", help=f"small sizes, to see that they run: {', '.join(QUICK)}")
    given = parser.parse_args()
    let_threads_sleep()
    share_freed_memory()  # both as `pixnet predict` does
    for name in given.names or (QUICK if given.quick else ALL):
        found = _benchmark(name)(quick=True) if given.quick and name in QUICK else _benchmark(name)()
        if not given.quick:
            _keep(name, found)
        for figure, value in found.items():
            seen = value.value if given.quick and isinstance(value, Reached) else value  # targets are for full sizes
            print(f"{name:15} {figure:75} {seen}", flush=True)


def _benchmark(name: str) -> Callable[..., Figures]:
    module, function = ALL[name].split(":")
    found: Callable[..., Figures] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    return found


def _keep(name: str, found: Figures) -> None:
    _OUT.parent.mkdir(exist_ok=True)
    kept = json.loads(_OUT.read_text()) if _OUT.exists() else {}
    kept[name] = {
        figure: {"value": value.value, "target": value.target, "met": value.met}
        if isinstance(value, Reached)
        else value
        for figure, value in found.items()
    }
    _OUT.write_text(json.dumps(kept, indent=1) + "\n")


main()
