"""Names that a stranger may give, and what a page made of them must not hold."""

import re
from html.parser import HTMLParser
from pathlib import Path

NAMES = (
    "<script>alert(1)</script>",
    "</script></style><img src=x onerror=alert(2)>",
    "\" onload='alert(3)' x=\"",
    "javascript:alert(4)",
    "![x](javascript:alert(5)) [y](javascript:alert(6)) <javascript:alert(7)>",
    "{{ 7 * 7 }} {% for x in y %} ${HOME}",
    "a $x_1$ costs $ and \\frac{1} ^ _",
    "$\\undefined{$",
    "two\nlines\rthree\x00 nul \x1b[31m red \u202e turned \u2066 isolated",
    "\ud83d lone, 😀 whole, ‏עברית, العربية",
    "| cell | `code` ```fence``` *bold*",
    "long " * 2000,
)
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Harmless(HTMLParser):
    """Checks that a page can do nothing but be read."""

    LEFT_OUT = ("script", "iframe", "object", "embed", "link", "form", "base", "svg")

    def __init__(self) -> None:
        super().__init__()
        self.said = ""
        self.policies: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in self.LEFT_OUT
        found = {name: value or "" for name, value in attrs}
        assert not [name for name in found if name.startswith("on")], found
        for place in ("href", "src"):
            assert re.match(r"data:image/png;base64,|#|\.\./|[^:]*$", found.get(place, "")), found[place]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(found["content"])

    def handle_data(self, data: str) -> None:
        self.said += data


def read(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    checker = Harmless()
    checker.feed(text)
    checker.close()
    (policy,) = checker.policies
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert not UNSEEN.search(text)
    return checker.said
