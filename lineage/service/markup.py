"""HTML of our own pages: every text that goes in is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, NewType

Html = NewType("Html", str)

_FRAME = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>{title} · Headwater Data Docs</title>
    <link rel="icon" href="/ui/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/ui/style.css">
    <link rel="stylesheet" href="/ui/docs.css">
  </head>
  <body class="docs">
    <header>
      <h1><a href="/">Headwater</a></h1>
      <nav aria-label="Where this page is">{trail}</nav>
    </header>
    <main>{body}</main>
  </body>
</html>
"""


def text(value: object) -> Html:
    """A text as text, whatever is in it."""
    return Html(escape(str(value)))


def tag(name: str, *content: Html, **attributes: object) -> Html:
    """An element. `class_` is its class; an attribute that is None is left out, True stands without a value."""
    marks = (
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{''.join(marks)}>{''.join(content)}</{name}>")


def link(target: str, label: object, **attributes: object) -> Html:
    """A link to a place of this service."""
    return tag("a", text(label), href=target, **attributes)


def page(title: str, trail: Iterable[Html], *body: Html) -> str:
    """A whole page; `trail` leads from the index to it."""
    way = " / ".join([link("/docs/", "Data Docs"), *trail])
    return _FRAME.format(title=text(title), trail=way, body="".join(body))


def wording(parts: Iterable[Any]) -> Html:
    """What `validations.wording` made of Great Expectations' words: texts, values, tables, what is folded away."""
    return Html("".join(_part(part) for part in parts))


def _part(part: Any) -> Html:
    if not isinstance(part, Mapping):
        return text(part)
    if "table" in part:
        return _table(part["table"], part.get("header") or ())
    if "more" in part:
        return tag("details", tag("summary", text(part["more"])), wording(part["parts"]))
    return tag("span", text(part.get("value", "")), class_="value")


def _table(rows: Iterable[Iterable[Any]], header: Iterable[str]) -> Html:
    head = tag("thead", tag("tr", *(tag("th", text(name), scope="col") for name in header)))
    body = tag("tbody", *(tag("tr", *(tag("td", wording(cell)) for cell in row)) for row in rows))
    return tag("div", tag("table", head, body), class_="scroll")
