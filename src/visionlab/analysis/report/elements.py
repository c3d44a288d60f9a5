"""Elements of HTML. Whatever is not HTML already is escaped where it is put in."""

import re
from collections.abc import Sequence
from html import escape

_VOID = ("img", "input", "wbr")  # have no end


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str | bool | None) -> Html:
    """Return an element.

    Args:
        name: of the element.
        content: what is in it; text that is not `Html` is escaped.
        attributes: by name, with _ for - and without a trailing _; True is one without a value,
            None and False are left out.
    """
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    end = "" if name in _VOID else f"</{name}>"
    return Html(f"<{name}{given}>{joined(*content)}{end}")


def joined(*content: str, by: str = "") -> Html:
    """Return texts and elements one after another."""
    return Html(
        by.join(each if isinstance(each, Html) else escape(each, quote=False) for each in content)
    )


def breakable(name: str) -> Html:
    """Return a dotted name that may go on in the next line after its marks."""
    return joined(*re.split(r"(?<=[./_])", name), by=tag("wbr"))


def section(name: str, title: str, *content: str) -> Html:
    """Return a section of the page, with an id to jump to."""
    return tag("section", tag("h2", title), *content, id=name)


def box(content: Html, *, label: str, class_: str = "box") -> Html:
    """Return what scrolls sideways by itself, by keyboard too, where the page is narrow."""
    return tag("div", content, class_=class_, role="region", aria_label=label, tabindex="0")


def definitions(pairs: Sequence[tuple[str, str]]) -> Html:
    """Return names, and what each stands for."""
    return tag(
        "dl", *(tag("div", tag("dt", name), tag("dd", said)) for name, said in pairs if said)
    )


def listed(items: Sequence[str]) -> Html:
    """Return a list with bullets."""
    return tag("ul", *(tag("li", item) for item in items))
