"""Messages name options as arguments in backticks; the command line replaces them by its own options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pixnet
from pixnet.readers.platforms import PLATFORMS

SOURCE = Path(pixnet.__file__).parent
FILES = [*sorted((SOURCE / "readers").rglob("*.py")), *sorted((SOURCE / "inspection").glob("*.py"))]
FILES += [SOURCE / "slide/pixel_size.py", SOURCE / "sample/sample.py"]
KEYS = sorted({key for platform in PLATFORMS.values() for key in platform.entry.model_fields})
# Words that do not occur in everyday language, and are options wherever a message has them.
UNUSUAL = [key for key in KEYS if "_" in key] + ["mpp", "filtered"]


def messages(path: Path) -> Iterator[str]:
    """Yield the texts with words in a file, except docstrings; a brace stands for inserted values."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.relative_to(SOURCE).parts))
def test_options_are_in_backticks(path: Path) -> None:
    for text in messages(path):
        assert not re.search(r"(^|[\s(`])--[a-z]", re.sub("`pixnet [^`]*`", "", text)), text
        for key in UNUSUAL:
            assert not re.search(rf"(?:[Gg]ive|with|[Cc]hange) (?:the |their |as )?{key}\b", text), text
            assert not re.search(rf"(?<!`)\b{key} must be|(?<!`)\b{key}=(?:True|False)", text), text
