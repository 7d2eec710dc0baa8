"""Readers of the official evaluation files, each strict about its own format.

§3: LAMBADA (jsonl or one passage per line), Children's Book Test, Winograd collection (XML), CoQA (JSON), CNN/Daily
Mail (line files or jsonl), WMT (SGML or plain lines), Natural Questions open (jsonl).

In: a path. Out: items as small dataclasses. A file that breaks its format raises `UserError` with file, line and
reason; given `problems`, readers put such items there instead and go on, so that a caller can count them.
"""

import html
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import read_chunks

Problems = list[str] | None


def report(problems: Problems, path: Path, where: str, reason: str) -> None:
    """Raise the problem, or note it when the caller counts problems."""
    message = f"{path} {where}: {reason}."
    if problems is None:
        raise UserError(message)
    problems.append(message)


def read_text(path: Path) -> str:
    """A whole file as text; bytes that are not UTF-8 are a `UserError` with their line."""
    data = b"".join(read_chunks(path))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} line {line}: not UTF-8 (byte {data[error.start]:#04x} at {error.start:,})."
        ) from None


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; the newline that ends the file starts no line."""
    text = read_text(path)
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    yield from enumerate(lines, start=1)


def _json_lines(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            report(problems, path, f"line {number}", f"cut off or not JSON ({error})")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            report(problems, path, f"line {number}", "not a JSON object")


# --------------------------------------------------------------------------------------------- LAMBADA


def read_lambada(path: Path, problems: Problems = None) -> list[str]:
    """Passages: OpenAI's jsonl of {"text": …}, or the original release's one passage per line."""
    passages = []
    if ".jsonl" in path.name:
        for number, row in _json_lines(path, problems):
            if isinstance(row.get("text"), str) and len(row["text"].split()) > 1:
                passages.append(row["text"])
            else:
                report(problems, path, f"line {number}", 'needs a "text" of two words or more')
        return passages
    for number, line in numbered_lines(path):
        if len(line.split()) > 1:
            passages.append(line)
        else:
            report(problems, path, f"line {number}", "needs a passage of two words or more")
    return passages


# ---------------------------------------------------------------------------------- Children's Book Test

N_CONTEXT, N_CANDIDATES, BLANK = 20, 10, "XXXXX"


@dataclass(frozen=True)
class ClozeQuestion:
    """Twenty sentences, a twenty-first with a blank, and ten candidates for it."""

    context: tuple[str, ...]
    query: str
    answer: str
    candidates: tuple[str, ...]
    line: int = 0


def split_candidates(text: str) -> tuple[str, ...]:
    """Candidates joined by "|", one of which may be the character "|" itself (as in four items of the NE test set)."""
    found: list[str] = []
    parts = text.split("|")
    i = 0
    while i < len(parts):
        if parts[i] == "" and i + 1 < len(parts) and parts[i + 1] == "":
            found.append("|")
            i += 2
        else:
            found.append(parts[i])
            i += 1
    return tuple(found)


def read_childrens_book(path: Path, problems: Problems = None) -> list[ClozeQuestion]:
    """Questions of a CBT file: lines 1 … 20, line 21 as query, answer, an empty field and the candidates, by tabs."""
    questions: list[ClozeQuestion] = []
    block: list[str] = []
    first = 1
    for number, line in [*numbered_lines(path), (0, "")]:
        if line.strip():
            if not block:
                first = number
            block.append(line)
        elif block:
            question, reason = _cloze(block, first)
            if question is None:
                report(problems, path, f"line {first + len(block) - 1}", reason)
            else:
                questions.append(question)
            block = []
    return questions


def _cloze(block: list[str], first: int) -> tuple[ClozeQuestion | None, str]:
    if len(block) != N_CONTEXT + 1:
        return None, f"a question of {len(block)} lines where {N_CONTEXT + 1} must stand"
    texts = []
    for i, line in enumerate(block, start=1):
        number, _, text = line.partition(" ")
        if number != str(i):
            return None, f"line {number[:20]!r} where number {i} of the question must stand"
        texts.append(text)
    fields = texts.pop().split("\t")
    if len(fields) != 4:
        return (
            None,
            f"{len(fields)} tab-separated fields where query, answer, nothing and candidates must stand",
        )
    query, answer, _, joined = fields
    candidates = split_candidates(joined.strip("\n"))
    if len(candidates) != N_CANDIDATES:
        return None, f"{len(candidates)} candidates where {N_CANDIDATES} must stand"
    if not answer:
        return None, "an empty answer"
    if answer not in candidates:
        return None, f"the answer {answer!r} is none of the candidates"
    if query.split().count(BLANK) != 1:
        return None, f"the query needs exactly one {BLANK}"
    return ClozeQuestion(tuple(texts), query, answer, candidates, first), ""


# --------------------------------------------------------------------------------------------- Winograd


@dataclass(frozen=True)
class Schema:
    """A sentence around a pronoun and the two things it may stand for; `label` 0 or 1 is the right one."""

    before: str
    pronoun: str
    after: str
    candidates: tuple[str, str]
    label: int


def read_winograd(path: Path, problems: Problems = None) -> list[Schema]:
    """Schemata of the Winograd collection, in file order."""
    try:
        root = ElementTree.fromstring(b"".join(read_chunks(path)))
    except ElementTree.ParseError as error:
        raise UserError(f"{path} line {error.position[0]}: not well-formed XML ({error}).") from None
    schemata = []
    for number, node in enumerate(root.iter("schema"), start=1):
        parts = [" ".join((node.findtext(f"text/{tag}") or "").split()) for tag in ("txt1", "pron", "txt2")]
        answers = [" ".join((answer.text or "").split()) for answer in node.iter("answer")]
        correct = (node.findtext("correctAnswer") or "").strip(" .\n\t").upper()
        if len(answers) != 2 or not all(answers):
            report(problems, path, f"schema {number}", f"{len(answers)} answers where two must stand")
        elif correct not in ("A", "B"):
            report(problems, path, f"schema {number}", f"correct answer {correct!r} where A or B must stand")
        elif not parts[1]:
            report(problems, path, f"schema {number}", "no pronoun")
        else:
            schemata.append(
                Schema(parts[0], parts[1], parts[2], (answers[0], answers[1]), "AB".index(correct))
            )
    return schemata


# ------------------------------------------------------------------------------------------------- CoQA


@dataclass(frozen=True)
class Conversation:
    """A passage and its turns: question, the main answer, and all reference answers of each."""

    id: str
    domain: str
    story: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]


def read_coqa(path: Path, problems: Problems = None) -> list[Conversation]:
    """Conversations of a CoQA file, turns in order; every turn has its main and the additional answers."""
    try:
        data = json.loads(read_text(path))["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path} is not a CoQA file: needs a JSON object with "data" ({error}).') from None
    conversations = []
    for number, row in enumerate(data, start=1):
        try:
            found = _conversation(row)
        except (KeyError, TypeError, AttributeError) as error:
            report(problems, path, f"conversation {number}", f"field {error} is missing or of the wrong kind")
            continue
        empty = [i + 1 for i, answers in enumerate(found.references) if not all(a.strip() for a in answers)]
        if not found.questions or len(found.questions) != len(found.answers):
            counts = f"{len(found.questions)} questions and {len(found.answers)} answers"
            report(problems, path, f"conversation {number}", counts)
        elif empty:
            report(problems, path, f"conversation {number}", f"an empty answer at turn {empty[0]}")
        else:
            conversations.append(found)
    return conversations


def _conversation(row: dict[str, Any]) -> Conversation:
    def in_order(turns: list[dict[str, Any]]) -> tuple[str, ...]:
        return tuple(str(turn["input_text"]) for turn in sorted(turns, key=lambda turn: int(turn["turn_id"])))

    answers = in_order(row["answers"])
    others = [in_order(turns) for turns in row.get("additional_answers", {}).values()]
    references = tuple((answer, *(other[i] for other in others)) for i, answer in enumerate(answers))
    return Conversation(
        str(row["id"]),
        str(row.get("source", "")),
        str(row["story"]),
        in_order(row["questions"]),
        answers,
        references,
    )


# --------------------------------------------------------------------------------------- CNN/Daily Mail


@dataclass(frozen=True)
class Article:
    """An article and its highlights, one sentence each."""

    text: str
    highlights: tuple[str, ...]


def read_articles(path: Path, reference: Path | None = None, problems: Problems = None) -> list[Article]:
    """Articles from jsonl of {"article", "highlights"}, or one per line with the highlights in a second file.

    In line files `<t>` … `</t>` marks each highlight and a leading `<t>` of an article is dropped.
    """
    articles = []
    if reference is None:
        for number, row in _json_lines(path, problems):
            text, highlights = row.get("article"), row.get("highlights")
            lines = tuple(line.strip() for line in str(highlights or "").split("\n") if line.strip())
            if isinstance(text, str) and text.strip() and lines:
                articles.append(Article(text, lines))
            else:
                report(problems, path, f"line {number}", 'needs "article" and "highlights"')
        return articles
    texts, summaries = list(numbered_lines(path)), list(numbered_lines(reference))
    if len(texts) != len(summaries):
        raise UserError(f"{path} has {len(texts):,} articles but {reference} {len(summaries):,} summaries.")
    for (number, text), (_, summary) in zip(texts, summaries, strict=True):
        found = re.findall(r"<t>(.*?)</t>", summary) or [summary]
        lines = tuple(" ".join(line.split()) for line in found if line.strip())
        text = text.removeprefix("<t>").strip()
        if text and lines:
            articles.append(Article(text, lines))
        else:
            report(problems, path if not text else reference, f"line {number}", "empty")
    return articles


# -------------------------------------------------------------------------------------------------- WMT

_SEGMENT = re.compile(r"<seg\s+id=\"?(\d+)\"?\s*>(.*?)</seg>", re.IGNORECASE | re.DOTALL)


def read_segments(path: Path, problems: Problems = None) -> list[str]:
    """Segments of an SGML file, or the lines of a plain one."""
    if ".sgm" not in path.name:
        return [line.strip() for _, line in numbered_lines(path)]
    text = read_text(path)
    segments = [html.unescape(found[2]).strip() for found in _SEGMENT.finditer(text)]
    n_opened = len(re.findall(r"<seg\b", text, re.IGNORECASE))
    if n_opened != len(segments):
        last = text.rfind("<seg")
        line = text.count("\n", 0, last) + 1
        report(problems, path, f"line {line}", f"{n_opened} segments opened but {len(segments)} closed")
    return segments


# ------------------------------------------------------------------------------------ Natural Questions


@dataclass(frozen=True)
class OpenQuestion:
    """A question and the answers that count as right."""

    question: str
    answers: tuple[str, ...] = field(default_factory=tuple)


def read_questions(path: Path, problems: Problems = None) -> list[OpenQuestion]:
    """Questions of a Natural Questions open file: jsonl of {"question", "answer": […]}."""
    questions = []
    for number, row in _json_lines(path, problems):
        question, answers = row.get("question"), row.get("answer")
        if not isinstance(question, str) or not isinstance(answers, list):
            report(problems, path, f"line {number}", 'needs "question" and a list "answer"')
        elif not answers or not all(isinstance(answer, str) and answer.strip() for answer in answers):
            report(problems, path, f"line {number}", "an empty answer")
        else:
            questions.append(OpenQuestion(question, tuple(answers)))
    return questions
