"""Real English prose that every machine has: the documentation inside its own Python packages.

§2.1's WebText cannot be shipped, and a pocket run must not need a network. The sources of Python and of fourhorn's
own dependencies hold tens of megabytes of documentation by thousands of authors. It is read by parsing the sources,
never by importing a module, and cut into pages as documentation sites do: one per module, and one per class or
function whose documentation is long enough to stand alone.

`pages_of(package)` gives pages in a fixed order; the same installation gives the same pages.
"""

import ast
import importlib.metadata
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import cast

# The standard library, and packages that come with fourhorn itself: the same ones on every machine that runs it.
PACKAGES = (
    "python", "torch", "sympy", "networkx", "numpy", "matplotlib", "nltk", "numba", "pip", "setuptools", "mpmath",
    "mpl_toolkits", "fontTools", "huggingface_hub", "pydantic", "cyclopts", "rich", "pygments", "jinja2", "pyarrow",
    "fsspec", "aiohttp", "PIL", "babel", "pyparsing", "click", "packaging", "anyio", "urllib3", "lxml", "trafilatura",
    "fastapi", "starlette", "absl", "dateutil", "yaml", "httpx", "joblib", "regex", "docutils", "uvicorn",
)  # fmt: skip
SKIPPED_FOLDERS = {
    "test",
    "tests",
    "testing",
    "_vendor",
    "site-packages",
    "idlelib",
    "lib2to3",
    "__pycache__",
}
PAGE_CHARACTERS = 600  # documentation shorter than this stays on its module's page
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_ADDED_DOCSTRINGS = {"add_docstr", "add_newdoc"}  # how torch and numpy document their compiled functions


@dataclass(frozen=True)
class Block:
    """A piece of a page: `kind` is h2, p, li or pre."""

    kind: str
    text: str


@dataclass(frozen=True)
class Page:
    """A page of documentation: its package, its path on the site, a title and blocks of text."""

    package: str
    path: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def n_characters(self) -> int:
        """Length of all text on the page."""
        return sum(len(block.text) for block in self.blocks)


def installed() -> list[str]:
    """The packages of `PACKAGES` that are on this machine."""
    return [package for package in PACKAGES if _folder(package) is not None]


def pages_of(package: str) -> Iterator[Page]:
    """Every page of one package, in path order."""
    folder = _folder(package)
    if folder is None:
        return
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if not SKIPPED_FOLDERS.intersection(parts):
            yield from _pages_of_module(package, parts, file)
    yield from _readme(package)
    if package == "python":
        yield from _language_reference()


def _folder(package: str) -> Path | None:
    if package == "python":
        return Path(sysconfig.get_path("stdlib"))
    folder = Path(sysconfig.get_path("purelib")) / package
    return folder if folder.is_dir() else None


# ----------------------------------------------------------------------------------------- pages out of sources


def _pages_of_module(package: str, parts: tuple[str, ...], file: Path) -> Iterator[Page]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old sources hold escapes that newer Pythons warn of
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return
    module = ".".join((package, *[part for part in parts if part != "__init__"]))
    if package == "python":
        module = module.removeprefix("python.")
    base = "/".join(("", *parts))
    own = list(blocks_of(ast.get_docstring(tree) or ""))
    for name, text in _documentation(tree):
        blocks = list(blocks_of(text))
        if len(text) >= PAGE_CHARACTERS:
            yield Page(package, f"{base}/{name}.html", f"{module}.{name}", tuple(blocks))
            blocks = blocks[:1]
        own.append(Block("h2", name))
        own.extend(blocks)
    page = Page(package, f"{base}.html", module, tuple(own))
    if page.n_characters >= PAGE_CHARACTERS:
        yield page


def _documentation(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name and documentation of each class (with its methods) and function of a module, in source order."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            texts = [ast.get_docstring(node) or ""]
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and (
                    doc := ast.get_docstring(method)
                ):
                    texts.append(f"{method.name}\n{'-' * len(method.name)}\n\n{doc}")
            if any(texts):
                yield node.name, "\n\n".join(filter(None, texts))
        elif isinstance(node, _DOCUMENTED):
            if doc := ast.get_docstring(node):
                yield node.name, doc
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _added_docstring(node.value)


def _added_docstring(call: ast.Call) -> Iterator[tuple[str, str]]:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in _ADDED_DOCSTRINGS or not call.args:
        return
    texts = [n.value for n in ast.walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    if not texts:
        return
    target = call.args[0]
    subject = ast.unparse(target) if not isinstance(target, ast.Constant) else ".".join(texts[:2])
    yield subject.rpartition(".")[2] or subject, inspect.cleandoc(max(texts, key=len))


def _readme(package: str) -> Iterator[Page]:
    try:
        # The long description is the body of what is an e-mail message in all but the type's name.
        text = cast(Message, importlib.metadata.metadata(package)).get_payload()
    except importlib.metadata.PackageNotFoundError:
        return
    if isinstance(text, str) and len(text) >= PAGE_CHARACTERS:
        yield Page(package, "/readme.html", f"{package} readme", tuple(blocks_of(text)))


def _language_reference() -> Iterator[Page]:
    """The language reference of Python itself, kept in `pydoc_data/topics.py` as a dict of long strings."""
    file = Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"
    if not file.exists():
        return
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                    topic, text = str(key.value), str(value.value)
                    yield Page(
                        "python", f"/reference/{topic}.html", f"reference: {topic}", tuple(blocks_of(text))
                    )


# -------------------------------------------------------------------------------------- blocks out of docstrings

_UNDERLINE = re.compile(r"^([=\-~^*#\"+`])\1{2,}\s*$")
_DIRECTIVE = re.compile(r"^\s*\.\. [\w:-]+::.*$")
_MARKUP = (
    (re.compile(r":[a-zA-Z:+.\-]+:`~?([^`<]+?)(?:\s*<[^`>]*>)?`"), r"\1"),  # :func:`name`
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{1,2}"), r"\1"),  # `text <link>`_
    (re.compile(r"``([^`]+)``"), r"\1"),
    (re.compile(r"`([^`]+)`_?"), r"\1"),
    (re.compile(r"\*\*([^*\n]+)\*\*"), r"\1"),
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),  # Markdown links and pictures
    (re.compile(r"^#{1,6}\s*", re.MULTILINE), ""),
    (re.compile(r"^\.\. \w[\w:-]*::\s*", re.MULTILINE), ""),
)


def blocks_of(text: str) -> Iterator[Block]:
    """Cut a docstring or readme (reStructuredText, NumPy, Google or Markdown style) into blocks."""
    for chunk in re.split(r"\n[ \t]*\n", inspect.cleandoc(text)):
        lines = [line.rstrip() for line in chunk.splitlines() if line.strip()]
        while len(lines) >= 2 and _UNDERLINE.match(lines[1].strip()) and not lines[0].startswith(" "):
            yield Block("h2", plain(lines[0]).strip())
            lines = lines[2:]
        if not lines or (len(lines) == 1 and _DIRECTIVE.match(lines[0])):
            continue
        body = "\n".join(lines)
        if lines[0].lstrip().startswith((">>>", "$ ", "```", "In [")) or _looks_like_code(lines):
            yield Block("pre", inspect.cleandoc(body))
        elif re.match(r"\s*([-*•]|\d+[.)])\s", lines[0]):
            for item in re.split(r"(?m)^\s*(?:[-*•]|\d+[.)])\s+", body):
                if item.strip():
                    yield Block("li", " ".join(plain(item).split()))
        else:
            yield Block("p", " ".join(plain(body).split()))


def plain(text: str) -> str:
    """The words of marked-up text: roles, links, emphasis and directives taken off."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def _looks_like_code(lines: list[str]) -> bool:
    """An indented chunk with as many code marks as words."""
    if not all(line.startswith("    ") for line in lines):
        return False
    text = " ".join(lines)
    marks = len(re.findall(r"[=(){}\[\];<>_|\\]", text))
    return marks * 4 > len(text.split()) * 3
