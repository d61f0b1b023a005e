"""What Great Expectations says of an expectation and its result, as plain data that a page draws without GX.

GX's own renderers (`great_expectations.render`) choose the words, also those that a custom expectation brings; here
their content blocks become a few plain kinds. GX's HTML is not used: it loads scripts from elsewhere, and it writes
names of columns and sampled values into the page as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from string import Template
from typing import Any

# One part of a text: plain, {"value": …} (what the author or the data brought in), {"table": rows, "header": names}
# or {"more": title, "parts": […]} (folded away).
Part = str | dict[str, Any]

# A page is for reading: of a long text the beginning, of a long table the first rows.
LONGEST_TEXT, MOST_ROWS = 2_000, 20

_PRESCRIPTIVE = "renderer.prescriptive"
_STATEMENT = "renderer.diagnostic.unexpected_statement"
_TABLE = "renderer.diagnostic.unexpected_table"
_OBSERVED = "renderer.diagnostic.observed_value"


def wording(result: Any) -> dict[str, list[Part]]:
    """GX's words for one validation result: what is `expected`, what was `found` wrong, what was `observed`.

    What no renderer can say is left out: a page then shows the bare facts, and no check fails over it.
    """
    configuration = result.expectation_config
    asked = {
        "expected": [_expected(configuration)],
        # Without the traceback behind the sentence: files of this machine are of no use to a reader.
        "found": [
            (_said(configuration.type, _STATEMENT, result=result) or [])[:1],
            _said(configuration.type, _TABLE, result=result),
        ],
        "observed": [_said(configuration.type, _OBSERVED, result=result)],
    }
    return {name: parts for name, blocks in asked.items() if (parts := _led(_joined(_parts(blocks))))}


def plain_text(parts: list[Part]) -> str:
    """Words in one line, without tables and what is folded away."""
    texts = [part if isinstance(part, str) else str(part.get("value", "")) for part in parts]
    return " ".join("".join(texts).split())


def _expected(configuration: Any) -> Any:
    # As GX does it: an author's description stands for the words.
    if configuration.description:
        return {"content_block_type": "text", "text": [configuration.description]}
    said = _said(
        configuration.type,
        _PRESCRIPTIVE,
        configuration=configuration,
        runtime_configuration={"styling": {}, "include_column_name": False},
    )
    notes = configuration.notes
    lines = [notes] if isinstance(notes, str) else list(notes or [])
    folded = {"content_block_type": "collapse", "collapse_toggle_link": "Notes", "collapse": ["\n".join(lines)]}
    return [said, folded] if lines else said


def _said(kind: str, renderer: str, **given: Any) -> Any:
    from great_expectations.expectations.registry import get_renderer_impl

    found = get_renderer_impl(object_name=kind, renderer_type=renderer)
    try:
        return found.renderer(**given) if found else None
    except Exception:  # noqa: BLE001
        # Renderers are anybody's code and fail on results that they did not foresee; the result itself stands.
        return None


def _parts(block: Any) -> Iterator[Part]:
    """The parts of a content block, of a list of them, or of a bare value."""
    if isinstance(block, list | tuple):
        for item in block:
            yield from _parts(item)
        return
    if hasattr(block, "to_json_dict"):
        block = block.to_json_dict()
    if isinstance(block, Mapping):
        drawn = _BLOCKS.get(str(block.get("content_block_type")))
        yield from drawn(block) if drawn else ()
    elif block is not None:
        yield _cut(str(block))


def _template(block: Mapping[str, Any]) -> Iterator[Part]:
    """A string template: its text as it is, and each parameter as a value."""
    content = block["string_template"]
    text, params, end = str(content.get("template", "")), content.get("params") or {}, 0
    for match in Template.pattern.finditer(text):
        name = match["named"] or match["braced"]
        if name in params:
            yield from _cut_parts(text[end : match.start()])
            yield {"value": _value(params[name])}
        else:
            yield from _cut_parts(text[end : match.start()] + ("$" if match["escaped"] else match[0]))
        end = match.end()
    yield from _cut_parts(text[end:])


def _cut_parts(text: str) -> Iterator[Part]:
    if text:
        yield _cut(text)


def _value(found: Any) -> str:
    text = str(found)
    # The one parameter that GX writes as HTML: a JSON schema.
    schema = re.fullmatch(r"<pre>(.*)</pre>", text, re.S)
    return _cut(unescape(schema[1]) if schema else text)


def _text(block: Mapping[str, Any]) -> Iterator[Part]:
    for name in ("text", "markdown", "value_list", "bullet_list", "content_blocks"):
        yield from _parts(block.get(name))


def _table(block: Mapping[str, Any]) -> Iterator[Part]:
    rows = block["table"]
    cells = [[_joined(_parts(_cell(cell))) for cell in row] for row in rows[:MOST_ROWS]]
    header = [plain_text(_joined(_parts(cell))) for cell in block.get("header_row") or []]
    yield {"table": cells, "header": header}
    if len(rows) > MOST_ROWS:
        yield f"… {len(rows) - MOST_ROWS:,} more"


def _cell(cell: Any) -> Any:
    if isinstance(cell, list | tuple) and not any(isinstance(item, Mapping) for item in cell):
        return ", ".join("null" if item is None else str(item) for item in cell)
    return "null" if cell is None else cell


def _graph(block: Mapping[str, Any]) -> Iterator[Part]:
    """The numbers behind a chart: a page of ours runs no chart library."""
    spec = block.get("graph") or {}
    for rows in (spec.get("datasets") or {}).values():
        header = list(rows[0]) if rows else []
        yield from _table({"table": [[row.get(name) for name in header] for row in rows], "header_row": header})


def _collapse(block: Mapping[str, Any]) -> Iterator[Part]:
    title = plain_text(_joined(_parts(block.get("collapse_toggle_link")))) or "More"
    yield {"more": title, "parts": _joined(_parts(block["collapse"]))}


_BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Part]]] = {
    "string_template": _template,
    "table": _table,
    "graph": _graph,
    "collapse": _collapse,
    **dict.fromkeys(("text", "markdown", "value_list", "bullet_list", "content_block_container"), _text),
}


def _joined(parts: Iterator[Part]) -> list[Part]:
    """Parts with neighbouring texts made one."""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(last := found[-1], str):
            found[-1] = last + part
        else:
            found.append(part)
    return found


def _led(parts: list[Part]) -> list[Part]:
    """Parts without the empty lines by which GX sets them off from what stands before."""
    first = parts[0] if parts else None
    if not isinstance(first, str):
        return parts
    return [first.lstrip(), *parts[1:]] if first.strip() else parts[1:]


def _cut(text: str) -> str:
    """The beginning of a long text; Postgres keeps no NUL in JSON."""
    text = text.replace("\0", "\N{SYMBOL FOR NULL}")
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
