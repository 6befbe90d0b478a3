"""Run the command line: `python -m pixnet` is the same as `pixnet`."""

from __future__ import annotations

from pixnet.cli import main

if __name__ == "__main__":
    main()
