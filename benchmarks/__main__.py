"""Run benchmarks, print their figures and write them to out/benchmarks.json."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed.figures import Figures, Target
from pixnet.cli.process import let_threads_sleep, share_freed_memory

# First the benchmarks with targets; those at the end take longest.
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
    "samples": "speed.samples:run",
    "platforms": "accuracy.platforms:run",
    "encoders": "speed.encoders:run",
    "demo": "speed.programs:demo",
    "evaluate": "speed.programs:evaluate",
}
QUICK = ("predict", "memory", "crops", "sliding_window", "query", "many_genes", "kills", "nuclei", "samples")
_OUT = Path("out/benchmarks.json")


def main() -> None:
    """Run the named benchmarks, or all of them; figures of other benchmarks stay in the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *ALL], help=", ".join(ALL))
    parser.add_argument("--quick", action="store_true", help=f"small sizes, to check that they run: {', '.join(QUICK)}")
    options = parser.parse_args()
    # Both as in `pixnet predict`.
    let_threads_sleep()
    share_freed_memory()
    for name in options.names or (QUICK if options.quick else ALL):
        run = _benchmark(name)
        figures = run(quick=True) if options.quick and name in QUICK else run()
        if not options.quick:
            _store(name, figures)
        for figure, value in figures.items():
            if options.quick and isinstance(value, Target):
                value = value.value  # the targets are for full sizes
            print(f"{name:15} {figure:75} {value}", flush=True)


def _benchmark(name: str) -> Callable[..., Figures]:
    module, function = ALL[name].split(":")
    run: Callable[..., Figures] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    return run


def _store(name: str, figures: Figures) -> None:
    """Add the figures of one benchmark to the file."""
    _OUT.parent.mkdir(exist_ok=True)
    stored = json.loads(_OUT.read_text()) if _OUT.exists() else {}
    stored[name] = {
        figure: {"value": value.value, "target": value.target, "met": value.met} if isinstance(value, Target) else value
        for figure, value in figures.items()
    }
    _OUT.write_text(json.dumps(stored, indent=1) + "\n")


main()
