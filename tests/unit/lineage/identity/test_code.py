"""The digest of code changes with everything that can change a result, and with nothing else."""

from __future__ import annotations

import importlib
import re
import sys
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.errors import DeclarationError
from lineage.identity.code import code_digest, reached

# The text of shop/steps.py, whose `step` is digested, and of other files below it: «before|after» is the edit.
CHANGES = {
    "its body": "def step(t): return t.head(«1|2»)",
    "a constant's type": "def step(t): return t.head(«1|True»)",
    "a helper": """
        def top(t): return t.head(«1|2»)
        def step(t): return top(t)
    """,
    "a helper of a helper": """
        def low(t): return t.head(«1|2»)
        def top(t): return low(t)
        def step(t): return top(t)
    """,
    "an async helper": """
        async def top(t): return «1|2»
        def step(t): return top(t)
    """,
    "import x.y": """
        import shop.money
        def step(t): return shop.money.vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "import x.y as z": """
        import shop.money as m
        def step(t): return m.vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "import x, a package": """
        import shop
        def step(t): return shop.money.vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
        # shop/__init__.py
        import shop.money
    """,
    "from x import module": """
        from shop import money
        def step(t): return money.vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "from x import f": """
        from shop.money import vat
        def step(t): return vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "from x import f as g": """
        from shop.money import vat as v
        def step(t): return v(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "from .x import f": """
        from .money import vat
        def step(t): return vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "from . import x": """
        from . import money
        def step(t): return money.vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "from .. import x": """
        from .deep.er import f as step
        # shop/money.py
        def vat(p): return p + «1|2»
        # shop/deep/er.py
        from .. import money
        def f(t): return money.vat(t)
    """,
    "from ..x import f": """
        from shop.deep.er import f
        def step(t): return f(t)
        # shop/money.py
        def vat(p): return p + «1|2»
        # shop/deep/er.py
        from ..money import vat
        def f(t): return vat(t)
    """,
    "an import in the function": """
        def step(t):
            from shop.money import vat
            return vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "an import in a try": """
        try:
            from shop.money import vat
        except ImportError:
            from shop.cheap import vat
        def step(t): return vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
        # shop/cheap.py
        def vat(p): return p
    """,
    "the import in its except": """
        try:
            from shop.cheap import vat
        except ImportError:
            from shop.money import vat
        def step(t): return vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
        # shop/cheap.py
        def vat(p): return p
    """,
    "a name that a package passes on": """
        from shop import vat
        def step(t): return vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
        # shop/__init__.py
        from .money import vat
    """,
    "a name that hides its module": """
        from shop import vat
        def step(t): return vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
        # shop/__init__.py
        from .money import vat
        # shop/vat.py
    """,
    "a star import": """
        from shop.money import *
        def step(t): return vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "a star import's star import": """
        from shop.all import *
        def step(t): return vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
        # shop/all.py
        from shop.money import *
    """,
    "a module as a value": """
        from shop import money
        def step(t): return getattr(money, 'v' + 'at')(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "import_module": """
        import importlib
        def step(t): return importlib.import_module('shop.money').vat(t)
        # shop/money.py
        def vat(p): return p + «1|2»
    """,
    "globals()": """
        def low(t): return «1|2»
        def step(t): return globals()['l' + 'ow'](t)
    """,
    "names made by globals()": """
        globals()['low'] = dict(a=«1|2»)
        def step(t): return low
    """,
    "which library a name is from": """
        from math import «floor|ceil» as r
        def step(t): return r(t)
    """,
    "which library a star is from": """
        from «|c»math import *
        def step(t): return sqrt(t)
    """,
    "a namespace package": """
        from loose import vat
        def step(t): return vat.of(t)
        # loose/vat.py
        def of(p): return «1|2»
    """,
    "a constant": """
        LATE = «15|20»
        def step(t): return t > LATE
    """,
    "a constant of a constant": """
        A = «1|2»
        B = A + 1
        def step(t): return B
    """,
    "another module's constant": """
        from shop.limits import LATE
        def step(t): return LATE
        # shop/limits.py
        LATE = «15|20»
    """,
    "an annotated constant": """
        LATE: int = «15|20»
        def step(t): return LATE
    """,
    "an unpacked constant": """
        A, (B, *C) = 1, (2, «3|4»)
        def step(t): return C
    """,
    "a constant bound twice": """
        A = 1
        A = A + «1|2»
        def step(t): return A
    """,
    "a constant added to": """
        A = [1]
        A += [«2|3»]
        def step(t): return A
    """,
    "a constant that a function adds to": """
        N = 0
        def bump():
            global N
            N += «1|2»
        bump()
        def step(t): return N
    """,
    "a name of a for loop": """
        for A in [«1|2»]:
            B = A
        def step(t): return B
    """,
    "a name of a with": """
        import io
        with io.StringIO('«1|2»') as A:
            pass
        def step(t): return A
    """,
    "a walrus": """
        if (A := «1|2») > 0:
            pass
        def step(t): return A
    """,
    "a match": """
        match [«1|2»]:
            case [A]:
                pass
        def step(t): return A
    """,
    "a match of the rest": """
        match [1, «2|3»]:
            case [1, *B]:
                pass
        def step(t): return B
    """,
    "a match on keys": """
        match {'a': 1, 'b': «2|3»}:
            case {'a': _, **B}:
                pass
        def step(t): return B
    """,
    "a name bound in a try": """
        try:
            A = «1|2»
        except ZeroDivisionError:
            A = 3
        def step(t): return A
    """,
    "a name bound in an except": """
        try:
            A = 1 / 0
        except ZeroDivisionError:
            A = «3|4»
        def step(t): return A
    """,
    "the condition of an import": """
        BIG = «1|0»
        if BIG:
            from math import floor as low
        else:
            from math import ceil as low
        def step(t): return low(t)
    """,
    "the condition of a definition": """
        BIG = «1|0»
        if BIG:
            def top(t): return 1
        else:
            def top(t): return 2
        def step(t): return top(t)
    """,
    "a definition under an else": """
        if 1:
            def top(t): return 1
        else:
            def top(t): return «2|3»
        def step(t): return top(t)
    """,
    "a lambda": """
        top = lambda t: t.head(«1|2»)
        def step(t): return top(t)
    """,
    "a dispatch table": """
        def a(t): return «1|2»
        BY = {'a': a}
        def step(t): return BY['a'](t)
    """,
    "a partial": """
        from functools import partial
        def f(n, t): return n
        top = partial(f, «1|2»)
        def step(t): return top(t)
    """,
    "what a partial calls": """
        from functools import partial
        def f(n, t): return «1|2»
        top = partial(f, 5)
        def step(t): return top(t)
    """,
    "an item put in a table": """
        T = {}
        T['a'] = «1|2»
        def step(t): return T
    """,
    "an item appended": """
        T = []
        T.append(«1|2»)
        def step(t): return T
    """,
    "an item put in by a call": """
        T = []
        def add(to, n): to.append(n)
        add(T, «1|2»)
        def step(t): return T
    """,
    "an item registered": """
        T = []
        def add(n): T.append(n)
        add(«1|2»)
        def step(t): return T
    """,
    "a registered function": """
        T = {}
        def register(f):
            T[f.__name__] = f
            return f
        @register
        def a(t): return «1|2»
        def step(t): return T['a'](t)
    """,
    "a single dispatch": """
        from functools import singledispatch
        @singledispatch
        def area(x): return 0
        @area.register
        def _(x: int): return «1|2»
        def step(t): return area(t)
    """,
    "the type of a single dispatch": """
        from functools import singledispatch
        @singledispatch
        def area(x): return 0
        @area.register
        def _(x: «in|floa»t): return 1
        def step(t): return area(t)
    """,
    "an attribute set later": """
        class A:
            n = 0
        A.n = «1|2»
        def step(t): return A.n
    """,
    "a default": "def step(t, n=«1|2»): return n",
    "a keyword default": "def step(t, *, n=«1|2»): return n",
    "a helper's default": """
        A = «1|2»
        def top(t, n=A): return n
        def step(t): return top(t)
    """,
    "a class": """
        class A:
            def f(self): return «1|2»
        def step(t): return A().f()
    """,
    "a base class": """
        from shop.base import B
        class A(B):
            pass
        def step(t): return A().f()
        # shop/base.py
        class B:
            def f(self): return «1|2»
    """,
    "a field's type": """
        from dataclasses import dataclass
        @dataclass
        class A:
            n: «int|str» = 1
        def step(t): return A()
    """,
    "a nested function": """
        def step(t):
            def f(x): return «1|2»
            return f(t)
    """,
    "what a nested function calls": """
        def low(): return «1|2»
        def step(t):
            def f(x): return low()
            return f(t)
    """,
    "a decorator of a helper": """
        def twice(f):
            return lambda t: «2|3» * f(t)
        @twice
        def top(t): return 1
        def step(t): return top(t)
    """,
    "a decorator's argument": """
        from functools import lru_cache
        @lru_cache(maxsize=«1|2»)
        def top(t): return t
        def step(t): return top(t)
    """,
    "a method's decorator": """
        def twice(f): return lambda s: «2|3» * f(s)
        class A:
            @twice
            def f(self): return 1
        def step(t): return A().f()
    """,
    "a comprehension": """
        def low(x): return «1|2»
        def step(t): return [low(x) for x in t]
    """,
    "a name that a comprehension also binds": """
        rate = [«1|2»]
        def step(t): return [rate for rate in t] + rate
    """,
    "a name declared global": """
        N = [«1|2»]
        def step(t):
            global N
            N = N + [5]
            return N
    """,
    "a name a class body reads before it binds it": """
        n = «1|2»
        def step(t):
            class A:
                n = n + 5
            return A.n
    """,
    "an f-string": """
        A = '«x|y»'
        def step(t): return f'{A!r:>5}'
    """,
}

KEEPS = {
    "a comment": "def step(t): return t«|  # why»",
    "formatting": """
        def step(t): return «t.f(1, 'a'|(
            t.f(
                1, "a",
            )
        »)
    """,
    "how a number is written": "def step(t): return «1000|1_000»",
    "its docstring": """
        def step(t):
            '«Old|New».'
            return t
    """,
    "a new docstring": """
        def step(t):
            «|'''Says.'''
            »return t
    """,
    "a helper's docstring": """
        def top(t):
            '«Old|New».'
            return t
        def step(t): return top(t)
    """,
    "a class's docstring": """
        class A:
            '«Old|New».'
        def step(t): return A()
    """,
    "a module's docstring": """
        from shop.all import *
        def step(t): return vat(t)
        # shop/all.py
        '«Old|New».'
        def vat(p): return p
    """,
    "an argument's type": "def step(t: «int|'Frame'»): return t",
    "a result's type": "def step(t) -> «int|str»: return t",
    "a method's type": """
        class A:
            @property
            def f(self) -> «int|str»: return 1
        def step(t): return A().f
    """,
    "a local variable's type": """
        def step(t):
            x: «int|str» = 1
            return x
    """,
    "what only a type names": """
        class A:
            n = «1|2»
        def step(t: A): return t
    """,
    "another function": """
        def other(t): return «1|2»
        def step(t): return t
    """,
    "another function under the same decorator": """
        from functools import cache
        @cache
        def other(t): return «1|2»
        @cache
        def top(t): return t
        def step(t): return top(t)
    """,
    "another function under the same decorator of a module": """
        import functools
        @functools.cache
        def other(t): return «1|2»
        @functools.cache
        def top(t): return t
        def step(t): return top(t)
    """,
    "another function under our own decorator": """
        def timed(f): return f
        @timed
        def other(t): return «1|2»
        @timed
        def top(t): return t
        def step(t): return top(t)
    """,
    "another constant": """
        A = «1|3»
        B = 2
        def step(t): return B
    """,
    "a new function above": """
        def «|other(t): return 1


        def »step(t): return t
    """,
    "the order of functions": """
        def «low(t): return t


        def step(t): return low(t)|step(t): return low(t)


        def low(t): return t»
    """,
    "an input of the name of a step": """
        def legs(t): return «1|2»
        def step(legs): return legs.head()
    """,
    "a local variable of the name of a step": """
        def legs(t): return «1|2»
        def step(t):
            legs = t
            return legs
    """,
    "an import that is not used": """
        «|import json
        »def step(t): return t
    """,
    "a call with a constant": """
        A = 1
        print(A, «5|6»)
        def step(t): return A
    """,
    "what another module also holds": """
        from shop.money import vat
        def step(t): return vat(t)
        # shop/money.py
        def vat(p): return p + 1

        def idle(p): return '«idle|busy»'
    """,
}


def _files(case: str, side: int) -> dict[str, str]:
    """The files of a case before (0) or after (1) its edit."""
    text = re.sub("«([^|]*)\\|([^»]*)»", lambda found: found[side + 1], dedent(case))
    _, *pairs = re.split(r"^# (\S+\.py)$", f"# shop/steps.py\n{text}", flags=re.M)
    return {name: f"{body}\n" for name, body in zip(pairs[::2], pairs[1::2], strict=True)}


@pytest.mark.parametrize("case", CHANGES.values(), ids=CHANGES)
def test_what_can_change_the_result_changes_the_digest(digest_of, case):
    """No code that a step reaches can change unseen."""
    before, after = (digest_of(_files(case, side)) for side in (0, 1))

    assert before != after


@pytest.mark.parametrize("case", KEEPS.values(), ids=KEEPS)
def test_what_cannot_change_the_result_keeps_the_digest(digest_of, case):
    """A step is not computed again for the sake of looks, or for what it does not reach."""
    before, after = (digest_of(_files(case, side)) for side in (0, 1))

    assert before == after


@given(
    calls=st.lists(st.sets(st.integers(0, 5)), min_size=6, max_size=6),
    edited=st.integers(0, 5),
    homes=st.lists(st.sampled_from(["shop/steps.py", "shop/a.py", "shop/b.py"]), min_size=6, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_digest_changes_exactly_when_what_is_reached_does(digest_of, calls, edited, homes):
    """Whatever calls whatever, across modules and in circles: an edit counts exactly when it can be reached."""
    homes = ["shop/steps.py", *homes[1:]]
    entry = "shop.steps:f0"

    before = digest_of(_program(calls, homes), entry)
    after = digest_of(_program(calls, homes, edited), entry)

    assert (edited in _reachable(calls, 0)) == (before != after)


def _program(calls, homes, edited=None):
    files = {"shop/steps.py": "", "shop/a.py": "", "shop/b.py": ""}
    for number, called in enumerate(calls):
        imports = [f"    from {homes[to][:-3].replace('/', '.')} import f{to}" for to in sorted(called)]
        body = f"    return [{edited == number}, {', '.join(f'f{to}()' for to in sorted(called))}]"
        files[homes[number]] += "\n".join([f"def f{number}():", *imports, body, ""])
    return files


def _reachable(calls, start):
    found, queue = set(), [start]
    while queue:
        if (number := queue.pop()) not in found:
            found.add(number)
            queue += calls[number]
    return found


def test_import_cycles_end(digest_of):
    """Modules that import each other, and names that lead back to themselves, are followed once."""
    files = {
        "shop/__init__.py": "from . import a, b",
        "shop/a.py": "from shop.b import g, lost\nfrom shop import b\ndef f(): return g() + b.lost()",
        "shop/b.py": "from shop.a import f, lost\nimport shop\ndef g(): return f() + shop.a.lost()",
    }

    assert digest_of(files, "shop.a:f") == digest_of(files, "shop.b:g")


def test_digesting_imports_nothing(tmp_path, importable, write_files):
    """The walk reads files: a module that would fail, or take seconds, at import is only looked at."""
    steps = """
        from quiet.loud import f, other
        import quiet.deep.er
        def step(t): return f(t, other, quiet.deep.er.x)
    """
    loud = "raise SystemExit('imported')\ndef f(t): return t"
    write_files(tmp_path, {"quiet/steps.py": dedent(steps), "quiet/loud.py": loud, "quiet/deep/er.py": loud})

    with importable(tmp_path):
        places = reached(["quiet.steps:step"], tmp_path)
        loaded = [name for name in sys.modules if name.startswith("quiet")]

    assert {"quiet.steps:step", "quiet.loud:f", "quiet.deep.er:*"} <= set(places)
    assert [] == loaded


def test_third_party_code_counts_by_name_only(tmp_path, importable, write_files):
    """What is installed is in the lock: even below the project's folder its text is not read."""
    write_files(
        tmp_path,
        {"ours/steps.py": "from theirs import f\ndef step(t): return f(t)", "lib/site-packages/theirs.py": "("},
    )

    with importable(tmp_path), importable(tmp_path / "lib" / "site-packages"):
        places = reached(["ours.steps:step"], tmp_path)

    assert ["ours.steps:import f", "ours.steps:step"] == sorted(places)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("shop.steps:stp", "no 'stp'; did you mean step?"),
        ("shop.stps:step", "no module 'shop.stps'"),
        ("nowhere.steps:step", "no module 'nowhere.steps'"),
    ],
)
def test_an_entry_that_is_not_there_is_refused(digest_of, entry, said):
    """A misspelt trainer has no digest: the message has its name and the nearest ones."""
    with pytest.raises(DeclarationError, match=said):
        digest_of({"shop/steps.py": "def step(t): return t"}, entry)


def test_functions_without_source_are_refused(tmp_path):
    """What was made by exec, is built in or is no function has no source, and says so."""
    made: dict[str, object] = {}
    exec("def step(t): return t", made)

    for function in (made["step"], len, int):
        with pytest.raises(DeclarationError, match="source"):
            code_digest([function], tmp_path)


def test_a_declared_step_is_its_function_only(tmp_path, importable, write_files):
    """What the declaring decorator says is in the step; other decorators count."""
    text = """
        from lineage import Pipeline, files
        shop = Pipeline("shop")
        shop.source("orders", files("data/raw/orders.csv"), schema={"id": "string"})
        def same(f): return f
        @shop.table(key="id")
        def step(orders): return orders
        @shop.table(key=["id"])
        @same
        def other(orders): return orders
    """
    write_files(tmp_path, {"declared/steps.py": dedent(text)})

    with importable(tmp_path):
        module = importlib.import_module("declared.steps")
        step, other = (sorted(reached([function], tmp_path)) for function in (module.step, module.other))

    assert ["declared.steps:step"] == step
    assert ["declared.steps:other", "declared.steps:same"] == other


def test_the_platform_is_first_party_everywhere(tmp_path):
    """An upgrade of the table writer changes the digest of every table, wherever it is installed."""
    places = reached(["lineage.tables:write_table"], tmp_path)

    assert "lineage.tables:ROWS_PER_GROUP" in places
