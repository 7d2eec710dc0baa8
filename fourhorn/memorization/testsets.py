"""The texts of a test set, item by item, under the ids that the evaluation gives them.

§4 asks of each test set how much of it stands in the training text, and of each item, so that scores can be computed
without the items that do. A set is told by its file's name (the official names of `fourhorn data list`, and those of
the pocket sets); anything else is read as records with `text`, or as samples with `completion`.

An item's text: LAMBADA its passage; the Children's Book Test the twenty sentences and the filled query; Winograd the
sentence with its pronoun; CoQA the passage (id of the conversation); summarization the article; translation the source
segment; questions the question. WikiText, PTB, enwik8, text8 and 1BW are one stream, as one item.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fourhorn.errors import UserError
from fourhorn.evaluation import datasets, formats
from fourhorn.files import read_chunks
from fourhorn.records import iter_records, kind

Item = tuple[str, str]
TEXT_FIELDS = ("completion", "text")
STREAMS = {"wikitext2": 0, "wikitext103": 0, "ptb": 0, "1bw": 0, "enwik8": 5_000_000, "text8": 5_000_000}
POCKET_NAMES = {
    "lambada.jsonl": "lambada",
    "cbt_cn.txt": "cbt_cn",
    "cbt_ne.txt": "cbt_ne",
    "winograd.xml": "winograd",
    "coqa.json": "coqa",
    "articles.src.txt": "cnn_dailymail",
    "questions.jsonl": "natural_questions",
    "pairs-src.en.sgm": "wmt14_en_fr",
    "pairs-src.fr.sgm": "wmt14_fr_en",
}
N_WINOGRAD = 273  # of the 285 schemata, those the paper scores


def read_sets(source: Path, name: str = "") -> dict[str, list[Item]]:
    """The test sets at `source`: a file is one; a folder is the sets it holds, or one folder of records.

    Raises `UserError` when there is nothing to read.
    """
    if source.is_file():
        task = task_of(source)
        found = read_set(task, source) if task else records(source)
        return {name or task or stem(source): list(found)}
    if not source.is_dir():
        raise UserError(
            f"{source} does not exist. Give a test set: a file, or a folder of sets or of records."
        )
    files = sets_in(source)
    if files:
        return {task: list(read_set(task, path)) for task, path in files.items()}
    return {name or stem(source): list(records(source))}


def sets_in(folder: Path) -> dict[str, Path]:
    """Every known test set in a folder; a folder of pocket sets stands for those that ship with fourhorn as well."""
    found = {task: folder / name for name, task in POCKET_NAMES.items() if (folder / name).is_file()}
    if found and (folder / "manifest.json").is_file():
        shipped = Path(datasets.__file__).parent / "pocket"
        found |= {
            t: shipped / n for n, t in POCKET_NAMES.items() if t not in found and (shipped / n).is_file()
        }
    if not found and any(kind(path) and path.name.startswith("part-") for path in folder.iterdir()):
        return {}
    for task in datasets.OFFICIAL:
        paths = None if task in found else datasets.find(task, folder)
        if paths:
            found[task] = paths[0]
    return found


def task_of(path: Path) -> str | None:
    """The task whose official or pocket file goes by this name."""
    if path.name in POCKET_NAMES:
        return POCKET_NAMES[path.name]
    for task, official in datasets.OFFICIAL.items():
        if any(Path(name).name == path.name and "/" not in name for name in official.files[0].names):
            return task
    return None


def read_set(task: str, path: Path) -> Iterator[Item]:
    """The items of a test set in its official format."""
    if task in STREAMS:
        data = b"".join(read_chunks(path))[-STREAMS[task] :]
        yield "0", data.decode("utf-8", errors="replace")
        return
    yield from READERS[task](path)


def records(source: Path) -> Iterator[Item]:
    """Records with `text`, or samples with `completion`; those without an id are numbered from 0."""
    for number, record in enumerate(iter_records(source)):
        text = next((record[f] for f in TEXT_FIELDS if isinstance(record.get(f), str)), None)
        if text is None:
            raise UserError(
                f"Item {number} of {source} has no {' or '.join(TEXT_FIELDS)}; it has {sorted(record)}."
            )
        yield str(record.get("id", number)), text


def stem(path: Path) -> str:
    """`wiki` for `wiki.test.tokens`, the folder's name for a folder."""
    return path.resolve().name.split(".")[0]


def _numbered(texts: Sequence[str]) -> Iterator[Item]:
    return ((str(i), text) for i, text in enumerate(texts))


def _lambada(path: Path) -> Iterator[Item]:
    return _numbered(formats.read_lambada(path))


def _childrens_book(path: Path) -> Iterator[Item]:
    questions = formats.read_childrens_book(path)
    filled = [" ".join((*q.context, q.query.replace(formats.BLANK, q.answer))) for q in questions]
    return _numbered(filled)


def _winograd(path: Path) -> Iterator[Item]:
    return _numbered([f"{s.before} {s.pronoun} {s.after}" for s in formats.read_winograd(path)[:N_WINOGRAD]])


def _coqa(path: Path) -> Iterator[Item]:
    return ((conversation.id, conversation.story) for conversation in formats.read_coqa(path))


def _articles(path: Path) -> Iterator[Item]:
    reference = path.with_name(path.name.replace("src", "ref"))
    found = formats.read_articles(path, reference if reference != path and reference.is_file() else None)
    return _numbered([article.text for article in found])


def _segments(path: Path) -> Iterator[Item]:
    return _numbered(formats.read_segments(path))


def _questions(path: Path) -> Iterator[Item]:
    return _numbered([question.question for question in formats.read_questions(path)])


READERS: dict[str, Callable[[Path], Iterator[Item]]] = {
    "lambada": _lambada,
    "cbt_cn": _childrens_book,
    "cbt_ne": _childrens_book,
    "winograd": _winograd,
    "coqa": _coqa,
    "cnn_dailymail": _articles,
    "wmt14_en_fr": _segments,
    "wmt14_fr_en": _segments,
    "natural_questions": _questions,
}
