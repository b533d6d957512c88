"""Pages as tests read them, and text that must not become part of one."""

from __future__ import annotations

from html.parser import HTMLParser

HOSTILE = '<script>alert("1")</script>\u202e\'&amp;'
SHOWN = HOSTILE.replace("\u202e", "\\u202e")
"""The same as people see it: what turns text around is written out."""
"""A script, both quotes, an entity that is none, and the sign that turns the direction of what follows."""


class Page(HTMLParser):
    """Collects tags and visible text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str, css: str = "") -> list[dict[str, str | None]]:
        return [a for name, a in self.tags if name == tag and css in ["", *(a.get("class") or "").split()]]
