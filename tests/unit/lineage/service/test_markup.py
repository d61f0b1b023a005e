"""HTML of our own pages: nothing that goes in becomes markup."""

import pytest

from lineage.service.markup import link, page, tag, text, wording

HOSTILE = "</td><script>alert('1')</script>\"&"


@pytest.mark.parametrize(
    "part",
    [
        HOSTILE,
        {"value": HOSTILE},
        {"table": [[[HOSTILE], [{"value": HOSTILE}]]], "header": [HOSTILE]},
        {"more": HOSTILE, "parts": [HOSTILE, {"table": [[[HOSTILE]]]}]},
    ],
)
def test_words_are_text(part):
    """Wherever a hostile text stands, it is escaped."""
    drawn = wording([part])

    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&quot;&amp;" in drawn
    assert "<script" not in drawn


def test_attributes_and_titles_are_text():
    """Also in an attribute, in a link's target and in the title of the page."""
    drawn = page(HOSTILE, [link(HOSTILE, HOSTILE)], tag("p", text(HOSTILE), title=HOSTILE, hidden=None, id=True))

    assert "<script" not in drawn
    assert "hidden" not in drawn
    assert drawn.count("&lt;script&gt;") == 5
