"""Pages and drawings from the templates beside this file; all values in them are escaped.

A page stands alone: styles and drawings are in it, it runs no script and asks for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

COLOURS = 8
"""In the style sheet, `s0` to `s7`. With more models they repeat."""
_TEMPLATES = Environment(
    loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_TEMPLATES.globals["colours"] = COLOURS


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    heading: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """A drawing with its heading, and the names that its colours stand for."""

    title: str
    drawing: Markup
    names: Sequence[tuple[int, str]] = ()


def render(template: str, **values: object) -> Markup:
    """The template filled in."""
    return Markup(_TEMPLATES.get_template(template).render(values))
