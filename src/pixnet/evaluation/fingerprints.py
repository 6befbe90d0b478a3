"""Hashes of what an evaluation hangs on: the inputs, and the code that computes from them."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import pixnet
from pixnet.sample import Sample

_ROOT = Path(pixnet.__file__).parent
_LIBRARIES = ("numpy", "scipy", "torch", "timm", "scikit-learn", "anndata")


def digest(facts: Any) -> str:
    """Give the sha256, in hex, of something that JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def counts_hash(sample: Sample) -> str:
    """Hash a sample's counts and the names of its genes."""
    matrix, found = sample.counts.matrix, hashlib.sha256()
    for part in (matrix.indptr.astype("<i8"), matrix.indices.astype("<i8"), matrix.data.astype("<f4")):
        found.update(part.tobytes())
    found.update("\n".join(map(str, sample.genes)).encode())
    return found.hexdigest()


def positions_hash(sample: Sample) -> str:
    """Hash where a sample's regions lie, how large they are, and how large the slide's pixels are."""
    regions, found = sample.regions, hashlib.sha256(f"{type(sample.regions).__name__} {sample.slide.mpp!r}".encode())
    for part in (regions.centers_um, regions.bounds_um, regions.areas_um2):
        found.update(np.ascontiguousarray(part, "<f8").tobytes())
    return found.hexdigest()


def sample_hashes(sample: Sample) -> dict[str, str]:
    """Give the three hashes of a sample: of its slide, its counts and its positions."""
    return {
        "slide_sha256": sample.slide.fingerprint(),
        "counts_sha256": counts_hash(sample),
        "positions_sha256": positions_hash(sample),
    }


@cache
def code_hash(module: str) -> str:
    """Hash the code of a module of this package and of all modules of it that this one imports, near or far.

    Comments, docstrings, layout and what is imported for the type checker alone do not count: whoever mends a comment
    need not compute for hours again.
    """
    reached, waiting = {}, [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            code, imported = _read(name)
            reached[name] = code
            waiting += imported
    return digest(sorted(reached.items()))


def environment() -> dict[str, str]:
    """Name the versions that figures may hang on in their last digits."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    return {"pixnet": pixnet.__version__, "python": platform.python_version(), **libraries}


@cache
def machine() -> str:
    """Name the processor, and how many of its cores may be used."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = named[0] if named else platform.processor() or platform.machine()
    return f"{name}, {cores} cores, {platform.system()}"


@cache
def _read(module: str) -> tuple[str, list[str]]:
    """Give a module's code without comments and docstrings, and the modules of this package that it imports."""
    path = _file(module)
    assert path is not None, module  # noqa: S101
    tree = _Bare().visit(ast.parse(path.read_text(encoding="utf-8")))
    named = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "pixnet":
            named += [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        elif isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
    # The front door names everything, and is no part of what a module needs.
    ours = [name for name in named if name.startswith("pixnet.") and _file(name)]
    # Of `from pixnet.a import b`, where b is a module, a itself is not needed.
    packages = {name.rpartition(".")[0] for name in ours}
    return ast.unparse(tree), [name for name in ours if name not in packages or _needed(name, tree)]


def _needed(package: str, tree: ast.AST) -> bool:
    """Tell whether something that is no module is imported from a package."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == package
        and any(_file(f"{package}.{alias.name}") is None for alias in node.names)
        for node in ast.walk(tree)
    )


def _file(module: str) -> Path | None:
    place = _ROOT.joinpath(*module.split(".")[1:])
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


class _Bare(ast.NodeTransformer):
    """Takes out docstrings, and what stands under `if TYPE_CHECKING`."""

    def visit_If(self, node: ast.If) -> Any:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> Any:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node
