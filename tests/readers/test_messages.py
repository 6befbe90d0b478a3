"""Messages name an option in one form that is true in a manifest, in Python and on the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pixnet
from pixnet.readers.platforms import PLATFORMS

SOURCE = Path(pixnet.__file__).parent
FILES = [*sorted((SOURCE / "readers").glob("*.py")), *sorted((SOURCE / "inspection").glob("*.py"))]
FILES += [SOURCE / "pixel_size.py", SOURCE / "sample.py"]
KEYS = sorted({key for entry in PLATFORMS.values() for key in entry.model_fields})
# What is no word of everyday language, and so an option wherever it stands in a message.
TELLING = [key for key in KEYS if "_" in key] + ["mpp", "filtered"]


def messages(path: Path) -> Iterator[str]:
    """Give the texts with words in a file, but for docstrings; what is put into them is a brace."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone | within:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_options_are_named_for_all_three_ways(path: Path) -> None:
    for text in messages(path):
        for key in KEYS:
            bare = rf"`{key}`(?! (= \S+ )?\(--(set )?{key.replace('_', '.')}\b)"
            # The store's own name for what a manifest calls `element`.
            assert not re.search(bare, text.replace("`image` of `read_spatialdata`", "")), text
        for key in TELLING:
            assert not re.search(rf"(?:[Gg]ive|with|[Cc]hange) (?:the |their |as )?`?{key}\b(?!`)", text), text
            assert not re.search(rf"\b{key} must be|\b{key}=(?:True|False)", text), text


def test_what_messages_name_can_be_given() -> None:
    for path in FILES:
        for text in messages(path):
            for key in re.findall(r"--set (\w+)=", text):
                assert key in KEYS, text
