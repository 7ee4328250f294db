"""A written page taken apart, for the tests that look into it."""

import re
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """A page taken apart: its tags with attributes, and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.texts, self.scripts = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def rows(self, html, section):
        part = html[html.index(f'id="{section}"') :]
        part = part[: part.index("</section>")]
        return [Page(row).text for row in re.findall(r"<tr[^>]*>.*?</tr>", part, re.DOTALL)]


def page_of(path):
    html = path.read_text(encoding="utf-8")
    return html, Page(html)
