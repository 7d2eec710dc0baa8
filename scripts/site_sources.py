"""A MkDocs hook: every file that a page may point at becomes a page of the site, one click from the claim on it.

Sources, examples, run files and benchmarks are shown with line numbers, a folder as a table of its files and their
first lines, results as they are. Links such as `../fourhorn/model/config.py`, which work in a checkout, are turned.
"""

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
SHOWN = ("fourhorn/**/*.py", "fourhorn/report/paper.json", "examples/*.py", "runs/*.sh", "benchmarks/*.py")
RENDERED = ("benchmarks/results/*.md",)
LINK = re.compile(r"(?<!!)\[([^\]\n]*)\]\(\.\./([\w./-]+?)/?(#[\w-]+)?\)")
LANGUAGES = {".py": "python", ".json": "json", ".sh": "bash"}
HEAD = "---\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n"  # the pages on the packages are what a reader searches


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page per file and per folder."""
    paths = sorted(path for pattern in (*SHOWN, *RENDERED) for path in ROOT.glob(pattern))
    folders = {parent for path in paths for parent in path.parents if ROOT in parent.parents}
    pages = {f"{name_of(path)}.md": page_of(path) for path in paths if path.suffix != ".md"}
    pages |= {name_of(path): path.read_text() for path in paths if path.suffix == ".md"}
    pages |= {f"{name_of(folder)}/index.md": table_of(folder, {*paths, *folders}) for folder in folders}
    for name, content in pages.items():
        level = InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, f"source/{name}", content=content, inclusion=level))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the checkout into links to their pages, and into plain words where there is no page."""
    if page.file.src_uri.startswith("source/"):
        return markdown

    def turned(match: re.Match[str]) -> str:
        target = f"source/{target_of(ROOT / match[2])}"
        known = files.get_file_from_path(target) is not None
        return f"[{match[1]}]({target}{match[3] or ''})" if known else match[1]

    return LINK.sub(turned, markdown)


def target_of(path: Path) -> str:
    """The page of a file or folder."""
    if path.is_dir():
        return f"{name_of(path)}/index.md"
    return name_of(path) if path.suffix == ".md" else f"{name_of(path)}.md"


def name_of(path: Path) -> str:
    """The path from the root of the checkout; an `__init__.py` would look like an index to MkDocs otherwise."""
    return path.relative_to(ROOT).as_posix()


def page_of(path: Path) -> str:
    """A file with line numbers; fences are longer than any inside."""
    fence = "`" * 8
    code = f'{fence}{LANGUAGES[path.suffix]} linenums="1"\n{path.read_text()}\n{fence}\n'
    return f"{HEAD}# {name_of(path)}\n\n{code}"


def table_of(folder: Path, known: set[Path]) -> str:
    """A folder: its files and folders with what each is for."""
    rows = [path for path in sorted(folder.iterdir()) if path in known and path.name != "__init__.py"]
    lines = [f"| [`{path.name}`]({link_from(path)}) | {idea_of(path)} |" for path in rows]
    return (
        f"{HEAD}# {name_of(folder)}\n\n"
        + "\n".join(["| file | what it is |", "| --- | --- |", *lines])
        + "\n"
    )


def link_from(path: Path) -> str:
    """The page of `path`, seen from its folder's page."""
    return (
        f"{path.name}/index.md" if path.is_dir() else path.name if path.suffix == ".md" else f"{path.name}.md"
    )


def idea_of(path: Path) -> str:
    """The first line of a docstring, a comment or a heading."""
    path = path / "__init__.py" if (path / "__init__.py").is_file() else path
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        return text.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    if path.suffix in (".sh", ".md"):
        lines = [
            line
            for line in path.read_text().splitlines()
            if line.startswith("#") and not line.startswith("#!")
        ]
        return lines[0].lstrip("# ") if lines else ""
    return ""
