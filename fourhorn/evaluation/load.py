"""From task names to tasks bound to their data: official files where a folder has them, the pocket sets otherwise.

§3. `load_task(name, …)` looks for the official set in `data`; without one it takes the pocket set (written for this
project, in the official format), which for LAMBADA and the Children's Book Test is cut from held-out documents into
the folder `pocket`. A task without any data is reported as missing, never invented.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fourhorn.errors import UserError, unknown
from fourhorn.evaluation import datasets, formats
from fourhorn.evaluation.task import Source, Task
from fourhorn.evaluation.tasks.childrens_book_test import ChildrensBookTest
from fourhorn.evaluation.tasks.lambada import Lambada
from fourhorn.evaluation.tasks.language_modeling import LanguageModeling
from fourhorn.evaluation.tasks.question_answering import QuestionAnswering
from fourhorn.evaluation.tasks.reading_comprehension import ReadingComprehension
from fourhorn.evaluation.tasks.summarization import Summarization
from fourhorn.evaluation.tasks.translation import Translation
from fourhorn.evaluation.tasks.webtext_perplexity import WebTextPerplexity
from fourhorn.evaluation.tasks.winograd import Winograd
from fourhorn.files import read_chunks, sha256_bytes
from fourhorn.records import iter_texts

TASKS = (
    "lambada",
    "cbt_cn",
    "cbt_ne",
    "wikitext2",
    "wikitext103",
    "ptb",
    "enwik8",
    "text8",
    "1bw",
    "webtext",
    "winograd",
    "coqa",
    "cnn_dailymail",
    "wmt14_en_fr",
    "wmt14_fr_en",
    "natural_questions",
    "webtext_perplexity",
)
STREAMS = ("wikitext2", "wikitext103", "ptb", "enwik8", "text8", "1bw")
TAIL_BYTES = {"enwik8": 5_000_000, "text8": 5_000_000}
MAX_DOCUMENTS = 200  # per split of WebText; more would narrow Figure 4's interval little
POCKET = Path(__file__).parent / "pocket"
# The pocket sets' files: those written for this project, and those cut from held-out documents.
POCKET_FILES = {
    "winograd": ("winograd.xml",),
    "coqa": ("coqa.json",),
    "cnn_dailymail": ("articles.src.txt", "articles.ref.txt"),
    "wmt14_en_fr": ("pairs-src.en.sgm", "pairs-ref.fr.sgm"),
    "wmt14_fr_en": ("pairs-src.fr.sgm", "pairs-ref.en.sgm"),
    "natural_questions": ("questions.jsonl",),
    "lambada": ("lambada.jsonl",),
    "cbt_cn": ("cbt_cn.txt",),
    "cbt_ne": ("cbt_ne.txt",),
}


@dataclass(frozen=True)
class DataOptions:
    """Where data is looked for and what is accepted."""

    data: Path | None = None
    pocket: Path | None = None
    heldout: Path | None = None
    train: Path | None = None
    other_files: bool = False
    skip_malformed: bool = False
    limit: int | None = None
    strides: tuple[int, ...] = (1024,)
    preprocessed: bool = True
    detokenized: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit is {self.limit}; it must be 1 or more, or left out for all items.")
        if not self.strides or min(self.strides) < 1:
            raise UserError(f"strides are {list(self.strides)}; each must be 1 token or more.")


def resolve(tasks: Sequence[str] | None) -> list[str]:
    """Task names in the paper's order; an unknown one is a `UserError` with the nearest."""
    if tasks is None:
        return list(TASKS)
    for name in tasks:
        if name not in TASKS and not Path(name).is_file():
            raise unknown("task", name, TASKS)
    return list(dict.fromkeys(tasks))


def load_tasks(names: Sequence[str], options: DataOptions) -> tuple[dict[str, Task], dict[str, str]]:
    """All tasks that have data, and for each of the others the reason.

    A file that is refused, or a library that is not installed, is a `UserError` here, before anything is scored, and
    not when the task's turn comes.
    """
    tasks: dict[str, Task] = {}
    missing: dict[str, str] = {}
    for name in names:
        found = load_task(name, options)
        if isinstance(found, str):
            missing[name] = found
        else:
            tasks[name] = found
    lacking = {name: [each for each in task.needs if find_spec(each) is None] for name, task in tasks.items()}
    for name, libraries in lacking.items():
        if libraries:
            raise UserError(
                f"{name} needs {', '.join(libraries)}, which is not installed: pip install 'fourhorn[eval]', "
                "or choose other tasks with --tasks."
            )
    return tasks, missing


def load_task(name: str, options: DataOptions) -> Task | str:
    """The task with its data, or the reason why there is none."""
    if name == "webtext_perplexity":
        return _webtext_perplexity(options)
    if name == "webtext":
        if options.heldout is None:
            return "no held-out documents: give --heldout"
        texts = list(iter_texts(options.heldout))[: options.limit]
        return LanguageModeling(
            name,
            _text_source("WebText held-out", texts),
            [t.encode() for t in texts],
            strides=options.strides,
        )
    if name not in TASKS:
        return _own_file(Path(name), options)
    found = _official(name, options) or _pocket(name, options)
    if found is None:
        where = f" in {options.data}" if options.data else ""
        return f"no file of {datasets.official(name).title}{where}"
    return _bind(name, *found, options)


def _official(name: str, options: DataOptions) -> tuple[Source, tuple[Path, ...]] | None:
    paths = datasets.find(name, options.data) if options.data else None
    if not paths:
        return None
    try:
        found = datasets.verify(name, paths)
    except UserError:
        if not options.skip_malformed:
            raise
        return Source(
            datasets.official(name).title, "other", sha256_bytes(b"".join(read_chunks(paths[0])))
        ), paths
    if not options.other_files:
        datasets.refuse_other(found)
    scale = "other" if found.status == "other" else "official"
    title = (
        found.set.title
        if scale == "official"
        else f"{found.set.title} (another file: {found.n_items:,} {found.set.unit})"
    )
    if found.status == "counts agree":
        title += ", counts agree, bytes not verified"
    return Source(title, scale, found.sha256), found.paths


def _pocket(name: str, options: DataOptions) -> tuple[Source, tuple[Path, ...]] | None:
    files = POCKET_FILES.get(name)
    if files is None:
        return None
    for folder in (options.pocket, POCKET):
        if folder and all((folder / file).is_file() for file in files):
            paths = tuple(folder / file for file in files)
            data = b"".join(path.read_bytes() for path in paths)
            kind = (
                "cut from held-out documents"
                if files[0].startswith(("lambada", "cbt"))
                else "written for this project"
            )
            return Source(f"pocket set, {kind}", "pocket", sha256_bytes(data)), paths
    return None


def _bind(name: str, source: Source, paths: tuple[Path, ...], options: DataOptions) -> Task:
    """Read the items of a set and hand them to its task."""
    problems: list[str] | None = [] if options.skip_malformed else None
    task: Task
    limit = options.limit
    if name in STREAMS:
        data = b"".join(read_chunks(paths[0]))[-TAIL_BYTES.get(name, 1 << 62) :]
        task = LanguageModeling(
            name, source, [data], detokenized=options.detokenized, strides=options.strides, limit=limit
        )
    elif name == "lambada":
        task = Lambada(
            source, formats.read_lambada(paths[0], problems), preprocessed=options.preprocessed, limit=limit
        )
    elif name in ("cbt_cn", "cbt_ne"):
        questions = formats.read_childrens_book(paths[0], problems)
        task = ChildrensBookTest(name, source, questions, detokenized=options.detokenized, limit=limit)
    elif name == "winograd":
        task = Winograd(source, formats.read_winograd(paths[0], problems), limit=limit)
    elif name == "coqa":
        task = ReadingComprehension(source, formats.read_coqa(paths[0], problems), limit=limit)
    elif name == "cnn_dailymail":
        reference = paths[1] if len(paths) > 1 else None
        articles = formats.read_articles(paths[0], reference, problems)
        task = Summarization(source, articles, limit=limit, seed=options.seed)
    elif name in ("wmt14_en_fr", "wmt14_fr_en"):
        left, right = (formats.read_segments(path, problems) for path in paths)
        task = Translation(name, source, left, right, limit=limit)
    else:
        task = QuestionAnswering(source, formats.read_questions(paths[0], problems), limit=limit)
    if problems:
        task.skipped["malformed"] = len(problems)
    return task


def _webtext_perplexity(options: DataOptions) -> Task | str:
    if options.heldout is None:
        return "no held-out documents: give --heldout, and --train for training documents"
    splits = {"test": _spread(list(iter_texts(options.heldout)), options.limit or MAX_DOCUMENTS)}
    if options.train is not None:
        splits["train"] = _spread(list(iter_texts(options.train)), len(splits["test"]))
    everything = [text for texts in splits.values() for text in texts]
    return WebTextPerplexity(_text_source("WebText train and test", everything), splits)


def _spread(texts: Sequence[str], n: int) -> list[str]:
    """At most n texts, evenly spread over all."""
    return [texts[i * len(texts) // n] for i in range(n)] if len(texts) > n else list(texts)


def _own_file(path: Path, options: DataOptions) -> Task:
    data = b"".join(read_chunks(path))
    source = Source(path.name, "other", sha256_bytes(data))
    return LanguageModeling(path.stem, source, [data], strides=options.strides, limit=options.limit)


def _text_source(dataset: str, texts: Sequence[str]) -> Source:
    return Source(f"{dataset}, {len(texts):,} documents", "pocket", sha256_bytes("\0".join(texts).encode()))
