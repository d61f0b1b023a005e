"""The API as a page: every door with what it takes, from the OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lineage.service.markup import Html, link, page, tag, text

Spec = Mapping[str, Any]


def api_page(spec: Spec) -> str:
    """A page that lists the doors of an OpenAPI description by their first tag, with parameters and bodies."""
    rooms: dict[str, list[Html]] = {}
    for path, methods in spec["paths"].items():
        for method, door in methods.items():
            rooms.setdefault(door["tags"][0], []).append(_door(spec, method.upper(), path, door))
    sections = [
        tag("section", tag("h2", text(name.capitalize())), *doors, class_="api") for name, doors in rooms.items()
    ]
    opening = tag(
        "p", text(spec["info"]["description"]), text(" For programs: "), link("/openapi.json", "OpenAPI"), text(".")
    )
    return page("API", (link("/docs/api", "API"),), opening, *sections)


def _door(spec: Spec, method: str, path: str, door: Spec) -> Html:
    title = tag("summary", tag("code", text(f"{method} {path}")), text(" "), *_marked(door["summary"]))
    rows = [*_parameters(spec, door), *_body(spec, door)]
    more = door["description"].removeprefix(door["summary"]).strip()
    said = [tag("p", *_marked(part)) for part in more.split("\n\n") if part]
    return tag("details", title, *said, _table(rows) if rows else tag("p", text("It takes nothing.")))


def _marked(said: str) -> Iterator[Html]:
    """A docstring's text, what stands between backticks as code."""
    for place, part in enumerate(said.split("`")):
        yield tag("code", text(part)) if place % 2 else text(part)


def _parameters(spec: Spec, door: Spec) -> Iterator[tuple[str, str, str, str]]:
    for item in door.get("parameters", ()):
        schema = item["schema"]
        yield item["name"], item["in"], _type(spec, schema), _given(schema, needed=item["required"])


def _body(spec: Spec, door: Spec) -> Iterator[tuple[str, str, str, str]]:
    content = door.get("requestBody", {}).get("content", {}).get("application/json")
    if not content:
        return
    schema = _resolved(spec, content["schema"])
    needed = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield name, "body", _type(spec, field), _given(field, needed=name in needed)
    if "properties" not in schema:
        yield "", "body", schema.get("description") or _type(spec, schema), ""


def _given(schema: Spec, *, needed: bool) -> str:
    if needed:
        return "required"
    default = schema.get("default")
    return "" if default is None else str(default)


def _type(spec: Spec, schema: Spec) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(spec, item) for item in schema["anyOf"] if item.get("type") != "null")
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        properties = _resolved(spec, schema).get("properties", {})
        return "{" + ", ".join(properties) + "}"
    if schema.get("type") == "array":
        return f"list of {_type(spec, schema.get('items', {}))}"
    bounds = [f"{word} {schema[key]:,}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([schema.get("format") or schema.get("type") or schema.get("const", "anything"), *bounds])


def _resolved(spec: Spec, schema: Spec) -> Spec:
    """What a reference stands for; of several that are possible the first that is not null."""
    for item in schema.get("anyOf", ()):
        if item.get("type") != "null":
            return _resolved(spec, item)
    if "$ref" not in schema:
        return schema
    found: Spec = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _table(rows: Iterable[tuple[str, str, str, str]]) -> Html:
    head = tag("tr", *(tag("th", text(name), scope="col") for name in ("Name", "In", "Type", "Default")))
    body = [
        tag("tr", tag("td", tag("code", text(name))), *(tag("td", text(cell)) for cell in rest)) for name, *rest in rows
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")
