"""What MkDocs asks while it builds the site: the pages that lie elsewhere, and the links to them.

On GitHub the pages link to the files of the repository: README, examples, sources. The site has a
page for each of these that something links to.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
# What the site calls a file of the repository.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/chart.svg": "chart.svg",
}
LANGUAGES = {".py": "python", ".ipynb": "json", ".service": "ini"}


def name_on_site(path):
    """Where the site has this file of the repository; None for a folder."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path[len("docs/") :]
    return f"source/{path}.md" if (ROOT / path).is_file() else None


def place_of(src_uri):
    """Where the repository has this page of the site."""
    names = {name: path for path, name in PAGES.items()}
    return names.get(src_uri, f"docs/{src_uri}")


def resolved(page, target):
    """A link's target, as a path in the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def linked_from(page):
    for _, target, _ in LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        if ":" not in target:
            yield resolved(page, target)


def on_files(files, config):
    """Add what lies outside the folder of the docs."""
    wanted = set()
    pages = [path for path in PAGES if path.endswith(".md")]
    pages += [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    for page in pages:
        wanted.update(linked_from(page))
    for path in {*wanted, *PAGES}:
        name = name_on_site(path)
        if name is None or files.get_file_from_path(name) or not (ROOT / path).exists():
            continue
        if name.startswith("source/"):
            language = LANGUAGES.get(Path(path).suffix, "text")
            text = (ROOT / path).read_text(encoding="utf-8").rstrip()
            text = f"# {path}\n\n````{language}\n{text}\n````\n"
            files.append(File.generated(config, name, content=text))
        else:
            files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Have its links lead to where the site has what they name."""
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown
    place = place_of(here)

    def lead(target):
        name = name_on_site(resolved(place, target))
        return name and posixpath.relpath(name, posixpath.dirname(here) or ".")

    def link(found):
        text, target, anchor = found.groups()
        # What is not there stays as it is, and MkDocs warns of it.
        if ":" in target or not (ROOT / resolved(place, target)).exists():
            return found[0]
        there = lead(target)
        return text if there is None else f"[{text}]({there}{anchor or ''})"

    markdown = IMAGE.sub(lambda found: f"![{found[1]}]({lead(found[2])})", markdown)
    return LINK.sub(link, markdown)
