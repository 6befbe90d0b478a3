"""What PixNet's documentation adds to Sphinx: commands described from the program itself, and checks for gaps.

- `{pixnet-command} NAME` writes usage, arguments and options of a command as the program knows them.
- Formulas are written as MathML, so that the pages need no script from a network.
- Types in signatures become links where they are public, whatever module they are defined in, and plain text otherwise.
- After reading, every public name of `pixnet` and every command must be documented; a missing one is a warning, and
  warnings are errors.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import typer
from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

import pixnet
import pixnet.evaluation
import pixnet.virtual
from pixnet.cli import app

logger = logging.getLogger(__name__)
_FACES = (pixnet, pixnet.evaluation, pixnet.virtual)
"""Modules whose names are public."""


def _commands() -> dict[str, Any]:
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


class PixnetCommand(SphinxDirective):
    """Describe one command of `pixnet`."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Return the usage and the options of the command named by the argument."""
        name = self.arguments[0]
        commands = _commands()
        if name not in commands:
            raise self.error(f"pixnet has no command {name!r}; it has {', '.join(commands)}")
        described: set[str] = self.env.metadata[self.env.docname].setdefault("pixnet_commands", set())  # type: ignore[arg-type]
        described.add(name)
        command = commands[name]
        arguments = [param for param in command.params if not param.opts[0].startswith("-")]
        options = [param for param in command.params if param.opts[0].startswith("-")]
        usage = " ".join(["pixnet", name, *map(_argument_name, arguments), "[OPTIONS]"])
        lines = ["```text", usage, "```", "", *_paragraphs(command.help or ""), ""]
        for param in arguments:
            lines += _entry(_argument_name(param).strip("[]"), param)
        for param in options:
            lines += _entry(_option_name(param), param)
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, source=f"pixnet {name}"), self.content_offset, container)
        return container.children


def _argument_name(param: Any) -> str:
    name = (param.metavar or param.name).strip("[]{}.<>").upper()
    many = "..." if param.nargs == -1 else ""
    return f"{name}{many}" if param.required else f"[{name}{many}]"


def _option_name(param: Any) -> str:
    names = ", ".join(param.opts)
    if param.is_flag:
        return names
    kind = param.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"{names} {'|'.join(str(choice.value) for choice in kind)}"
    return f"{names} {param.metavar or 'N'}"


def _paragraphs(text: str) -> list[str]:
    return [_with_code(line.strip()) for line in text.splitlines()]


def _with_code(text: str) -> str:
    """Mark options as code, so that no dash is made of their hyphens."""
    return re.sub(r"(?<![`\w-])(--[a-z][a-z-]*)(?!`)", r"`\1`", text)


def _entry(term: str, param: Any) -> list[str]:
    text = _with_code(" ".join((getattr(param, "help", None) or "").split()))
    notes = ["Required."] if param.required else []
    default = param.default
    if not param.required and isinstance(default, str | int | float) and not isinstance(default, bool):
        notes.append(f"Default: `{getattr(default, 'value', default)}`.")
    return [f"`{term}`", f": {' '.join([text, *notes]).strip()}", ""]


def _check_complete(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of public names and commands that no page documents."""
    documented = set(env.get_domain("py").objects)  # type: ignore[attr-defined]
    for module in _FACES:
        for name in module.__all__:
            if not name.startswith("_") and f"{module.__name__}.{name}" not in documented:
                logger.warning("%s.%s is public, but no page documents it", module.__name__, name)
    described = set().union(*(facts.get("pixnet_commands", set()) for facts in env.metadata.values()))
    for name in _commands():
        if name not in described:
            logger.warning("pixnet %s is a command, but no page describes it", name)


def _resolve_type(app: Sphinx, env: BuildEnvironment, node: Any, content: Any) -> Any:
    """Resolve the type of an argument, which names the module it is defined in, not its public place."""
    if node.get("refdomain") != "py" or node.source is not None:
        return None  # written by hand: must be right as it is
    name = node.get("reftarget", "").rpartition(".")[2]
    for module in _FACES:
        target = f"{module.__name__}.{name}"
        if name in module.__all__ and target in env.get_domain("py").objects:  # type: ignore[attr-defined]
            place = env.get_domain("py").objects[target]  # type: ignore[attr-defined]
            return make_refnode(app.builder, node["refdoc"], place.docname, place.node_id, content, target)
    return content


_ARRAY = re.compile(r"~?(?:numpy\.)?ndarray\[tuple\[(?:~?typing\.)?Any, \.\.\.\], ~?(?:numpy\.)?dtype\[([^][]*)\]\]")


_ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")


def _shorten_types(*event: Any) -> tuple[str | None, str | None]:
    """Write arrays in signatures as the source does: NDArray[float32] and ArrayLike."""
    signature, result = event[-2:]
    return _short(signature), _short(result)


def _short(text: str | None) -> str | None:
    if text is None:
        return None
    text = _ALIAS.sub(r"\1", _ARRAY.sub(r"NDArray[\1]", text))
    return text.replace("GivenTransform", "str | Path | ArrayLike | None")


def _shorten_properties(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Do so for properties, whose types autodoc does not hand to `autodoc-process-signature`."""
    for annotation in doctree.findall(addnodes.desc_annotation):
        text = annotation.astext()
        if (short := _ARRAY.sub(r"NDArray[\1]", text)) != text:
            annotation.children = []
            annotation += nodes.Text(short)


def _write_formula(writer: Any, node: nodes.Element) -> None:
    block = isinstance(node, nodes.math_block)
    formula = tex2mathml(node.astext().strip(), as_block=block)
    writer.body.append(f"<p>{formula}</p>" if block else formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive and the checks."""
    app.add_directive("pixnet-command", PixnetCommand)
    app.connect("env-check-consistency", _check_complete)
    app.add_html_math_renderer("mathml", (_write_formula, None), (_write_formula, None))
    app.connect("missing-reference", _resolve_type)
    app.connect("autodoc-process-signature", _shorten_types)
    app.connect("doctree-resolved", _shorten_properties)
    return {"version": "1", "parallel_read_safe": True}
