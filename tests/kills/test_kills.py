"""Each command is killed once, and goes on; `python -m tests.kills` does it many times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_killed_commands_go_on_to_the_same_bytes_or_say_why_not() -> None:
    # In a process of its own, which has no threads and may fork.
    command = [sys.executable, "-W", "ignore", "-m", "tests.kills", "--kills", "1", "--seed", "3"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr
    summaries = [line for line in done.stdout.splitlines() if line.endswith("always the same bytes or a clear error")]
    assert [line.split(":")[0] for line in summaries] == ["predict", "train", "evaluate", "export"]
