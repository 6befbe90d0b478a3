"""Kill commands, damage their working files and resume: `python -m tests.kills --kills 25`."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from tests.kills.harness import COMMANDS, import_all, kill_and_resume, make_inputs


def main() -> None:
    """Run the commands that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("commands", nargs="*", default=list(COMMANDS), metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--kills", type=int, default=25, help="number of kills of each command")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments and the damage")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixnet-kills-") as name:
        folder = Path(name)
        import_all()
        # In a process of its own: this one must have no threads when it forks.
        pid = os.fork()
        if not pid:
            make_inputs(folder)
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            raise SystemExit("the inputs could not be made")
        for command in options.commands:
            kill_and_resume(command, folder, options.kills, options.seed, lambda line: print(line, flush=True))
            print(f"{command}: {options.kills} kills, always the same bytes or a clear error", flush=True)


if __name__ == "__main__":
    main()
