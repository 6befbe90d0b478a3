"""Modules do not import each other in a circle, not even for their types."""

from __future__ import annotations

import grimp


def circles(graph: grimp.ImportGraph) -> list[list[str]]:
    """Return groups of modules that import each other, directly or through others.

    These are the strongly connected components of the graph, found by Tarjan's algorithm.
    """
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for imported in graph.find_modules_directly_imported_by(module):
            if imported not in order:
                visit(imported)
            if imported in stack:
                lowest[module] = min(lowest[module], lowest[imported])
        if lowest[module] == order[module]:
            start = stack.index(module)
            groups.append(sorted(stack[start:]))
            del stack[start:]

    for module in sorted(graph.modules):
        if module not in order:
            visit(module)
    return [group for group in groups if len(group) > 1]


def test_no_modules_import_each_other() -> None:
    graph = grimp.build_graph("pixnet", cache_dir=None)
    assert circles(graph) == []


def test_a_circle_is_found() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "b"), ("d", "a"), ("c", "e")):
        for module in (importer, imported):
            graph.add_module(module)
        graph.add_import(importer=importer, imported=imported)
    assert circles(graph) == [["b", "c"]]
