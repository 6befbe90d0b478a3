from __future__ import annotations

import ast

import pytest

from pixnet import digest as hashes
from pixnet.digest import code_hash, digest


def test_digest_does_not_depend_on_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that stands in for this one."""
    root = tmp_path / "pixnet"
    (root / "deep").mkdir(parents=True)
    files = {
        "__init__.py": "", "one.py": "from pixnet.two import f\nfrom pixnet.deep import tool\n",
        "two.py": "from pixnet.three import g\n\n\ndef f():\n    return g()\n", "three.py": "def g():\n    return 1\n",
        "apart.py": "x = 1\n", "deep/__init__.py": "from pixnet.apart import x\n", "deep/tool.py": "y = 1\n",
    }  # fmt: skip
    for name, text in files.items():
        (root / name).write_text(text)
    monkeypatch.setattr(hashes, "_ROOT", root)

    def hashed(**changes):
        for name, text in changes.items():
            (root / f"{name}.py").write_text(text)
        code_hash.cache_clear()
        hashes._read.cache_clear()
        return code_hash("pixnet.one")

    yield hashed
    code_hash.cache_clear()
    hashes._read.cache_clear()


def test_code_counts_near_and_far_but_comments_do_not(package):
    first = package()
    assert package(three='"""Words."""\n\n\ndef g():\n    """More."""\n    # why\n    return (1)\n') == first
    assert package(apart="x = 2\n") == first
    guarded = "from typing import TYPE_CHECKING\n"
    plain = package(two=guarded + "from pixnet.three import g\n")
    assert plain != first
    guarded += "from pixnet.three import g\nif TYPE_CHECKING:\n    from pixnet.apart import x\n"
    assert package(two=guarded) == plain
    assert package(three="def g():\n    return 2\n") != plain


def test_the_hash_of_a_real_method_reaches_what_it_computes_with():
    reached, waiting = set(), ["pixnet.evaluation.pixnet_method"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += hashes._read(name)[1]
    assert {"pixnet.network.decoder", "pixnet.training.loop", "pixnet.field.read.integral", "pixnet.slide"} <= reached
    assert not {name for name in reached if name.startswith(("pixnet.readers", "pixnet.cli", "pixnet.virtual"))}


def test_bare_code_is_still_code():
    code, _ = hashes._read("pixnet.evaluation.blocks")
    assert '"""' not in code
    ast.parse(code)
