"""The files of the page are those that its sources make."""

import gzip
import hashlib
import re
from pathlib import Path

from flyball.server.admin.files import NONCE, read_files

WEB = Path(__file__).parents[3] / "web"
SINGLE = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
FIRST_PAGE = 200 * 1024


def test_built_files_are_of_these_sources():
    sources = [path for path in (WEB / "src").rglob("*") if path.is_file()]
    names = sorted([str(path.relative_to(WEB)) for path in sources] + list(SINGLE))
    found = hashlib.sha256()
    for name in names:
        found.update(name.encode() + b"\0" + (WEB / name).read_bytes() + b"\0")
    built = read_files("")["SOURCES.txt"].decode().strip()
    assert built == found.hexdigest(), "the page is older than its sources: run `make web`"


def test_page_asks_for_nothing_from_elsewhere():
    files = read_files("")
    page = files["index.html"]
    assert page.count(NONCE) == 1
    assert not re.search(rb'(?:src|href)="(?!\./)', page)
    for name, body in files.items():
        if name.endswith(".css"):
            assert b"url(http" not in body, name
            assert b"@import" not in body, name


def test_all_scripts_and_styles_together_are_small():
    bodies = [body for name, body in read_files("").items() if name.endswith((".js", ".css"))]
    assert sum(len(gzip.compress(body)) for body in bodies) <= FIRST_PAGE
