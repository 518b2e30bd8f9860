"""README as the package index shows it: its links lead to the files of this version.

All else is in setup.cfg, the address too.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")


def repository():
    """Where the tree of this version is to be found, once it is tagged."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    urls = dict(re.findall(r"(\w+) = (\S+)", metadata["metadata"]["project_urls"]))
    package = (ROOT / "stdevents" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', package, re.MULTILINE)[1]
    return urls["Source"], f"v{version}"


def page():
    """README with absolute links; a picture's leads to the picture itself."""
    address, tag = repository()

    def lead(found):
        is_picture, text, target = found.groups()
        kind = "raw" if is_picture else "blob"
        return f"{is_picture}[{text}]({address}/{kind}/{tag}/{target})"

    return LINK.sub(lead, (ROOT / "README.md").read_text(encoding="utf-8"))


setup(long_description=page())
