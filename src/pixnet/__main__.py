"""`python -m pixnet` does what `pixnet` does."""

from __future__ import annotations

from pixnet.cli import main

if __name__ == "__main__":
    main()
