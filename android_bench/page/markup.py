"""Elements of HTML and SVG as text, with every name and value escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

# Elements without an end tag.
_VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta"})


class Markup(str):
    """Text that is markup already; any other text is escaped where it is put."""

    __slots__ = ()


Child = str | Iterable["Child"] | None


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """An element; attributes that are None or False are left out, underscores in their names stand for hyphens.

    >>> tag("p", "a < b", class_="note", aria_hidden="true")
    '<p class="note" aria-hidden="true">a &lt; b</p>'
    """
    pairs = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{pairs}>")
    return Markup(f"<{name}{pairs}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Several pieces as one, nested sequences flattened."""
    return Markup("".join(_text(child) for child in children))


def table(head: Iterable[Child], body: Iterable[Iterable[Child]], caption: str, class_: str = "") -> Markup:
    """A table whose first cell of each row names the row; wide ones scroll inside their own box.

    Of class `words` cells wrap and stand to the left, of class `named` the second cell stands to the left.
    """
    columns = tag("tr", [tag("th", cell, scope="col") for cell in head])
    rows = [
        tag("tr", [tag("th", cell, scope="row") if at == 0 else tag("td", cell) for at, cell in enumerate(cells)])
        for cells in body
    ]
    made = tag("table", tag("caption", caption), tag("thead", columns), tag("tbody", rows))
    # A box that scrolls must be reachable by keyboard.
    return tag("div", made, class_=f"scroll {class_}".strip(), tabindex=0, role="region", aria_label=caption)


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(child)
    return join(child)
