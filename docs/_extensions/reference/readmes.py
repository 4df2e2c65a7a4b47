"""The READMEs of the packages as pages."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGES = Path(__file__).parents[3] / "packages"
LINK = re.compile(r"\]\(\.\./(?P<package>[\w-]+)/README\.md\)")
NOTE = re.compile(r"^<!-- .*? -->\n", re.M)


def page(package: str) -> str:
    """One README; its links to others lead to their pages."""
    text = NOTE.sub("", (PACKAGES / package / "README.md").read_text())
    return LINK.sub(lambda link: f"]({link['package']}.md)", text)
