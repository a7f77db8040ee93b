"""Pages of the documentation, and the blocks in them that tests run."""

import re

BLOCK = r"<!-- {mark} -->\n```{language}\n(.*?)```"


def block(text, mark, language=r"\w+"):
    """The one code block of a page under ``<!-- mark -->``."""
    pattern = BLOCK.format(mark=re.escape(mark), language=language)
    found = re.findall(pattern, text, re.DOTALL)
    assert len(found) == 1, f"the page has {len(found)} blocks {mark!r}"
    return found[0]
