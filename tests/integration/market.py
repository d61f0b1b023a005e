"""A market: a project whose steps do what makes row lineage hard, and the same steps again in plain Python.

The plain steps are loops over dictionaries. Each gives its rows, which rows of its inputs each row came from, and why
rows of the inputs are in none: nothing of it is Polars or ours, so that both can be compared.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

MONTHS = ("2020-01", "2020-02", "2020-03")
SHOPS = ("north", "south", "east", "west")
PRODUCTS = ("tea", "salt", "rice", "oil", "soap")

PIPELINE = '''"""A market: what is sold and what comes back, by month."""

import polars as pl

from lineage import Pipeline, by_time, files, monthly
from lineage.history import history, with_history

shop = Pipeline("shop")
MONTHS = monthly("2020-01", "2020-04")
MOVED = {"id": "string", "at": "datetime_utc", "shop": "string", "product": "string", "amount": "int32"}

shop.source(
    "sales", files("data/raw/shop/sales/{partition}.csv"), partitions=MONTHS, schema={**MOVED, "note": "string"}
)
shop.source(
    "returns", files("data/raw/shop/returns/{partition}.csv"), partitions=MONTHS, schema={**MOVED, "reason": "string"}
)
shop.source(
    "visits",
    files("data/raw/shop/visits/{partition}.csv"),
    partitions=MONTHS,
    schema={"known_at": "datetime_utc", "shop": "string", "visitors": "float64"},
)
shop.source(
    "products",
    files("data/raw/shop/products.csv"),
    schema={"product": "string", "grade": "int32", "price": "float64"},
)
shop.source("shops", files("data/raw/shop/shops.csv"), schema={"shop": "string", "city": "string"})
shop.source("promos", files("data/raw/shop/promos.csv"), schema={"product": "string", "name": "string"})
shop.source("banned", files("data/raw/shop/banned.csv"), schema={"product": "string"})


@shop.table(key=["id", "what"])
def movements(sales, returns):
    """Everything that moved, each once."""
    both = [sales.with_columns(what=pl.lit("sale")), returns.with_columns(what=pl.lit("return"))]
    known = pl.concat(both, how="diagonal").filter(pl.col("amount").is_not_null()).filter(pl.col("amount") > 0)
    return known.unique(["id", "what"], keep="first", maintain_order=True)


@shop.table(key="id")
def singles(sales):
    """Sales whose id nobody else has."""
    return sales.filter(pl.col("shop").is_not_null()).unique("id", keep="none")


@shop.table(key=["id", "what", "grade"])
def priced(movements, products, shops, promos, banned):
    """What moved of products that are promoted and not banned."""
    return (
        movements.join(products, on="product", how="inner")
        .join(shops, on="shop", how="left")
        .join(promos, on="product", how="semi")
        .join(banned, on="product", how="anti")
    )


@shop.table(key="shop", whole=True)
def totals(movements, shops):
    """Days on which a shop moved much, and the most in a day."""
    daily = (
        movements.filter(pl.col("shop").is_not_null())
        .join(shops, on="shop", how="left", validate="m:1")
        .group_by("shop", day=pl.col("at").dt.date())
        .agg(pl.col("amount").sum())
    )
    busy = daily.filter(pl.col("amount") > 6)
    return busy.group_by("shop").agg(days=pl.len(), most=pl.col("amount").max())


@shop.table(key=["id", "what"])
def rolled(movements):
    """Each movement, and what its shop moved in three days."""
    window = movements.sort("at").rolling("at", period="3d", group_by="shop")
    return window.agg(pl.col("id").last(), pl.col("what").last(), moved=pl.col("amount").sum())


@shop.table(key=["shop", "at"])
def weekends(movements):
    """What a shop moved on the first two days of each week."""
    known = movements.filter(pl.col("shop").is_not_null()).sort("at")
    return known.group_by_dynamic("at", every="1w", period="2d", group_by="shop").agg(moved=pl.col("amount").sum())


SOLD = {
    "sold_9d": history(keys="shop", value="sold", known_at="known_at", window="9d", agg="sum"),
    "last_sold": history(keys=["shop", "product"], value="sold", known_at="known_at", window="20d", agg="last"),
}
VISITED = {
    "visits_5d": history(keys="shop", value="visitors", known_at="known_at", window="5d", agg="count"),
    "visitors_5d": history(
        keys="shop", value="visitors", known_at="known_at", window="5d", agg="mean", decimals=1
    )
}


@shop.table(key=["id", "what"], inputs={"past": "movements"}, look_back={"past": SOLD, "visits": VISITED})
def features(movements, past, visits, products):
    """What is known of a movement when it happens."""
    events = past.filter(pl.col("what") == "sale").select("shop", "product", known_at="at", sold="amount")
    rows = movements.with_columns(of_shop=pl.col("amount").sum().over("shop"), is_sale=pl.col("what") == "sale")
    rows = with_history(rows, at="at", events=events, aggregates=SOLD)
    rows = with_history(rows, at="at", events=visits, aggregates=VISITED)
    return rows.join(products.filter(pl.col("grade") == 1), on="product", how="left")


shop.model(
    "sale",
    table="features",
    target="is_sale",
    features=["amount", "of_shop", "sold_9d", "last_sold", "visitors_5d", "price"],
    split=by_time("at", tune_from="2020-01-15", test_from="2020-01-25"),
    trainer="PACKAGE.trainer:fit",
)
'''

# --- the raw files


def raw_files() -> dict[str, str]:
    """Path below data/raw/shop -> text: with duplicates, nulls, unmatched keys and lookup rows that nothing uses."""
    draw = random.Random(7)
    found = {
        "products.csv": "product,grade,price\n"
        "tea,1,4.5\nsalt,1,0.79\nrice,1,2.35\ntea,2,3\noil,1,\nwax,1,9.5\nink,3,1\n",
        "shops.csv": "shop,city\nnorth,Oslo\nsouth,Rome\neast,\nmoon,None\n",
        "promos.csv": "product,name\ntea,spring\nrice,\ntea,summer\nwax,never\noil,fat\n",
        "banned.csv": "product\noil\nglue\n",
    }
    for number, month in enumerate(MONTHS):
        found[f"sales/{month}.csv"] = _moves(draw, month, "note", 60, number)
        found[f"returns/{month}.csv"] = _moves(draw, month, "reason", 18, number)
        found[f"visits/{month}.csv"] = _visits(draw, month)
    return found


def _moves(draw: random.Random, month: str, extra: str, count: int, number: int) -> str:
    lines = [f"id,at,shop,product,amount,{extra}"]
    minutes = draw.sample(range(28 * 24 * 60), count)
    for place, minute in enumerate(sorted(minutes)):
        at = datetime.fromisoformat(f"{month}-01T00:00:00+00:00") + timedelta(minutes=minute, seconds=len(extra))
        name = f"{chr(97 + number)}{place:03d}"
        shop, product = draw.choice((*SHOPS, "")), draw.choice((*PRODUCTS, ""))
        amount = draw.choice(("", "0", "-1", "1", "2", "3", "5", "8"))
        line = f"{name},{at:%Y-%m-%dT%H:%M:%SZ},{shop},{product},{amount},{draw.choice(('', 'x', 'a b'))}"
        lines += [line] * draw.choice((1, 1, 1, 1, 2, 3))
        if draw.random() < 0.1:
            # The same id with another amount: who is first is kept.
            lines.append(line.replace(f",{amount},", ",7,", 1))
    return "\n".join(lines) + "\n"


def _visits(draw: random.Random, month: str) -> str:
    lines = ["known_at,shop,visitors"]
    for _ in range(45):
        minute = draw.randrange(28 * 24 * 60)
        at = datetime.fromisoformat(f"{month}-01T00:00:00+00:00") + timedelta(minutes=minute)
        lines.append(f"{at:%Y-%m-%dT%H:%MZ},{draw.choice((*SHOPS, ''))},{draw.choice(('', '1.5', '20', '7.25'))}")
    return "\n".join(lines) + "\n"


# --- the same steps again

Row = dict[str, Any]


@dataclass
class Plain:
    """A partition of a table: its rows, for each row which rows (by number) of each input it came from, and for each
    input why its other rows are in none: the kind, and what the reason says."""

    rows: list[Row]
    behind: list[dict[str, set[int]]]
    reasons: dict[str, dict[int, tuple[str, str]]] = field(default_factory=dict)

    def sorted_by(self, *key: str) -> Plain:
        """In the order of the key, as a table is stored."""
        order = sorted(range(len(self.rows)), key=lambda place: [self.rows[place][name] for name in key])
        return Plain([self.rows[at] for at in order], [self.behind[at] for at in order], self.reasons)


def typed(text: str) -> list[Row]:
    """The records of a raw file, with values of their types."""
    kinds: dict[str, Callable[[str], Any]] = {
        "at": datetime.fromisoformat,
        "known_at": datetime.fromisoformat,
        "amount": int,
        "grade": int,
        "price": float,
        "visitors": float,
    }
    records = csv.DictReader(text.splitlines())
    return [{name: kinds.get(name, str)(value) if value else None for name, value in row.items()} for row in records]


def movements(sales: list[Row], returns: list[Row]) -> Plain:
    made = Plain([], [], {"sales": {}, "returns": {}})
    place: dict[tuple[str, str], int] = {}
    for name, what, rows in (("sales", "sale", sales), ("returns", "return", returns)):
        for number, row in enumerate(rows):
            if row["amount"] is None:
                made.reasons[name][number] = ("filter", "is_not_null")
            elif row["amount"] <= 0:
                made.reasons[name][number] = ("filter", "> ")
            elif (row["id"], what) in place:
                made.behind[place[row["id"], what]][name].add(number)
            else:
                place[row["id"], what] = len(made.rows)
                made.rows.append({"note": None, "reason": None, **row, "what": what})
                made.behind.append({"sales": set(), "returns": set(), name: {number}})
    return made.sorted_by("id", "what")


def singles(sales: list[Row]) -> Plain:
    made = Plain([], [], {"sales": {}})
    known = [number for number, row in enumerate(sales) if row["shop"] is not None]
    for number, row in enumerate(sales):
        if row["shop"] is None:
            made.reasons["sales"][number] = ("filter", "is_not_null")
        elif sum(sales[other]["id"] == row["id"] for other in known) > 1:
            made.reasons["sales"][number] = ("dedup", "id")
        else:
            made.rows.append(row)
            made.behind.append({"sales": {number}})
    return made.sorted_by("id")


def priced(movements: list[Row], products: list[Row], shops: list[Row], promos: list[Row], banned: list[Row]) -> Plain:
    made = Plain([], [], {name: {} for name in ("movements", "products", "shops", "promos", "banned")})
    reasons = made.reasons
    # What no row has met, until one has.
    reasons["products"] |= dict.fromkeys(range(len(products)), ("join", "product"))
    reasons["shops"] |= dict.fromkeys(range(len(shops)), ("join", "shop"))
    reasons["promos"] |= dict.fromkeys(range(len(promos)), ("join", "on product"))
    reasons["banned"] |= dict.fromkeys(range(len(banned)), ("join", "anti on product"))
    lost: list[tuple[str, set[tuple[str, int]]]] = []
    for number, row in enumerate(movements):
        matches = _equal(products, "product", row["product"])
        if not matches:
            reasons["movements"][number] = ("join", "on product")
        for match in matches:
            cities, names = _equal(shops, "shop", row["shop"]), _equal(promos, "product", row["product"])
            behind = {
                "movements": {number},
                "products": {match},
                "shops": set(cities),
                "promos": set(names),
                "banned": set(),
            }
            parts = {(name, at) for name, rows in behind.items() for at in rows}
            if not names:
                lost.append(("semi join on product", parts))
            elif _equal(banned, "product", row["product"]):
                lost.append(("anti join on product", parts))
            else:
                city = shops[cities[0]]["city"] if cities else None
                made.rows.append(
                    {**row, "grade": products[match]["grade"], "price": products[match]["price"], "city": city}
                )
                made.behind.append(behind)
    for text in ("semi join on product", "anti join on product"):
        for name, at in {part for said, parts in lost if said == text for part in parts}:
            reasons[name][at] = ("join", text)
    return _without_reached(made).sorted_by("id", "what", "grade")


def totals(movements: list[Row], shops: list[Row]) -> Plain:
    made = Plain([], [], {"movements": {}, "shops": {}})
    days: dict[tuple[str, Any], set[int]] = {}
    for number, row in enumerate(movements):
        if row["shop"] is None:
            made.reasons["movements"][number] = ("filter", "is_not_null")
        else:
            days.setdefault((row["shop"], row["at"].date()), set()).add(number)
    busy: dict[str, list[set[int]]] = {}
    for (name, _), numbers in days.items():
        if sum(movements[number]["amount"] for number in numbers) > 6:
            busy.setdefault(name, []).append(numbers)
        else:
            made.reasons["movements"] |= dict.fromkeys(numbers, ("filter", "6"))
    for name, groups in busy.items():
        sums = [sum(movements[number]["amount"] for number in numbers) for numbers in groups]
        made.rows.append({"shop": name, "days": len(groups), "most": max(sums)})
        made.behind.append({"movements": set().union(*groups), "shops": set()})
    # The city is not used, and each row has at most one: no row of the table owes it anything.
    for number, row in enumerate(shops):
        met = [day for day in days if day[0] == row["shop"]]
        kept = row["shop"] in busy
        made.reasons["shops"][number] = ("unmatched", "") if kept else ("filter", "6") if met else ("join", "on shop")
    return made.sorted_by("shop")


def rolled(movements: list[Row]) -> Plain:
    made = Plain([], [], {"movements": {}})
    for row in movements:
        inside = {
            other
            for other, known in enumerate(movements)
            if known["shop"] == row["shop"] and row["at"] - timedelta(days=3) < known["at"] <= row["at"]
        }
        moved = sum(movements[other]["amount"] for other in inside)
        made.rows.append({"shop": row["shop"], "at": row["at"], "id": row["id"], "what": row["what"], "moved": moved})
        made.behind.append({"movements": inside})
    return made.sorted_by("id", "what")


def weekends(movements: list[Row]) -> Plain:
    made = Plain([], [], {"movements": {}})
    weeks: dict[tuple[str, datetime], set[int]] = {}
    for number, row in enumerate(movements):
        if row["shop"] is None:
            made.reasons["movements"][number] = ("filter", "is_not_null")
            continue
        monday = row["at"].replace(hour=0, minute=0, second=0) - timedelta(days=row["at"].weekday())
        if row["at"] < monday + timedelta(days=2):
            weeks.setdefault((row["shop"], monday), set()).add(number)
        else:
            made.reasons["movements"][number] = ("window", "")
    for (name, monday), numbers in weeks.items():
        moved = sum(movements[number]["amount"] for number in numbers)
        made.rows.append({"shop": name, "at": monday, "moved": moved})
        # Polars begins to count at the first of all, so that every window owes its place to it.
        first = min(_equal(movements, "shop", name), key=lambda number: movements[number]["at"])
        made.behind.append({"movements": {*numbers, first}})
    return _without_reached(made).sorted_by("shop", "at")


def features(movements: list[Row], past: list[Row], visits: list[Row], products: list[Row]) -> Plain:
    made = Plain([], [], {"movements": {}, "past": {}, "visits": {}, "products": {}})
    reasons = made.reasons
    reasons["past"] |= {
        n: ("window", "") if row["what"] == "sale" else ("filter", "sale") for n, row in enumerate(past)
    }
    reasons["visits"] |= dict.fromkeys(range(len(visits)), ("window", ""))
    reasons["products"] |= {
        n: ("join", "on product") if row["grade"] == 1 else ("filter", "1") for n, row in enumerate(products)
    }
    for row in movements:
        same = {n for n, other in enumerate(movements) if other["shop"] == row["shop"]}
        at, sales = row["at"], [(n, event) for n, event in enumerate(past) if event["what"] == "sale" and row["shop"]]
        nine = {n for n, event in sales if event["shop"] == row["shop"] and at - timedelta(days=9) <= event["at"] < at}
        known = [
            (event["at"], n)
            for n, event in sales
            if (event["shop"], event["product"]) == (row["shop"], row["product"])
            and row["product"]
            and at - timedelta(days=20) <= event["at"] < at
        ]
        last = {max(known)[1]} if known else set()
        seen = {
            n
            for n, event in enumerate(visits)
            if row["shop"]
            and event["shop"] == row["shop"]
            and event["visitors"] is not None
            and at - timedelta(days=5) <= event["known_at"] < at
        }
        price = [n for n in _equal(products, "product", row["product"]) if products[n]["grade"] == 1]
        made.rows.append(
            {
                **row,
                "of_shop": sum(movements[n]["amount"] for n in same),
                "is_sale": row["what"] == "sale",
                "sold_9d": sum(past[n]["amount"] for n in nine) if nine else None,
                "last_sold": past[max(known)[1]]["amount"] if known else None,
                "visits_5d": len(seen),
                "visitors_5d": sum(round(visits[n]["visitors"] * 10) for n in seen) / (len(seen) * 10.0)
                if seen
                else None,
                "grade": 1 if price else None,
                "price": products[price[0]]["price"] if price else None,
            }
        )
        made.behind.append({"movements": same, "past": nine | last, "visits": seen, "products": set(price)})
    return _without_reached(made).sorted_by("id", "what")


def _equal(rows: Sequence[Row], column: str, value: Any) -> list[int]:
    """The rows with this value; null is like nothing."""
    return [number for number, row in enumerate(rows) if value is not None and row[column] == value]


def _without_reached(made: Plain) -> Plain:
    for name, reasons in made.reasons.items():
        for number in set().union(*(behind[name] for behind in made.behind)):
            reasons.pop(number, None)
    return made


# --- all of it

Place = tuple[str, str]
LOOKUPS = ("products", "shops", "promos", "banned")
SOURCES = ("sales", "returns", "visits", *LOOKUPS)
# Table -> its function, and for each input the step that it reads and how many earlier months.
STEPS: dict[str, tuple[Callable[..., Plain], Mapping[str, tuple[str, int]]]] = {
    "movements": (movements, {"sales": ("sales", 0), "returns": ("returns", 0)}),
    "singles": (singles, {"sales": ("sales", 0)}),
    "priced": (priced, {"movements": ("movements", 0), **{name: (name, 0) for name in LOOKUPS}}),
    "totals": (totals, {"movements": ("movements", 99), "shops": ("shops", 0)}),
    "rolled": (rolled, {"movements": ("movements", 0)}),
    "weekends": (weekends, {"movements": ("movements", 0)}),
    "features": (
        features,
        {"movements": ("movements", 0), "past": ("movements", 2), "visits": ("visits", 2), "products": ("products", 0)},
    ),
}


class Market:
    """Every table again, from the text of the raw files."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.sources = {place: typed(files[_path(place)]) for place in _places(SOURCES)}
        self.tables: dict[Place, Plain] = {}
        for name, (function, inputs) in STEPS.items():
            for partition in ("",) if name == "totals" else MONTHS:
                read = {given: self._read(self.reads(name, partition, given)) for given in inputs}
                self.tables[name, partition] = function(**read)

    def reads(self, table: str, partition: str, given: str) -> list[Place]:
        """What a table's partition reads as an input, in order."""
        step, back = STEPS[table][1][given]
        if step in LOOKUPS:
            return [(step, "")]
        last = MONTHS.index(partition) if partition else len(MONTHS) - 1
        return [(step, month) for month in MONTHS[max(0, last - back) : last + 1]]

    def _read(self, places: Sequence[Place]) -> list[Row]:
        return [row for place in places for row in (self.sources.get(place) or self.tables[place].rows)]

    def count(self, place: Place) -> int:
        """How many rows there are."""
        return len(self.sources[place] if place in self.sources else self.tables[place].rows)

    def behind(self, place: Place, number: int) -> set[tuple[Place, int]]:
        """The rows of tables and sources behind a row, and itself; all the way."""
        found = {(place, number)}
        if place in self.sources:
            return found
        for at, row in self.just_behind(place, number):
            found |= self.behind(at, row)
        return found

    def just_behind(self, place: Place, number: int) -> Iterator[tuple[Place, int]]:
        """The rows of what its step read that are behind a row."""
        for given, rows in self.tables[place].behind[number].items():
            for row in rows:
                yield self.located(*place, given, row)

    def located(self, table: str, partition: str, given: str, row: int) -> tuple[Place, int]:
        """Which row of which version a row of an input is."""
        for place in self.reads(table, partition, given):
            if row < self.count(place):
                return place, row
            row -= self.count(place)
        raise IndexError(row)


def _places(steps: Sequence[str]) -> list[Place]:
    return [(step, month) for step in steps for month in (("",) if step in LOOKUPS else MONTHS)]


def _path(place: Place) -> str:
    return f"{place[0]}/{place[1]}.csv" if place[1] else f"{place[0]}.csv"


def make(shop: Any) -> Market:
    """Turn a new shop into the market, and run it."""
    files = raw_files()
    shop.write(f"{shop.package}/shop.py", PIPELINE.replace("PACKAGE", shop.package))
    for name, text in files.items():
        shop.write(f"data/raw/shop/{name}", text)
    shop.run()
    return Market(files)
