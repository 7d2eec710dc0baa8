"""The stages of the paper, in its order, each the same function that its own command runs.

A stage takes the workspace, works from the folders of earlier stages into its own, and returns one line that says
what came out. It must be idempotent: a second call finds its work done, a call after a kill goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fourhorn.files import Manifest, read_json
from fourhorn.reproduce.ladder import Rung, Scale


@dataclass(frozen=True)
class Workspace:
    """One run's folder, its scale, and the folder of official evaluation sets if there is one."""

    root: Path
    scale: Scale
    data: Path | None

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def run_folder(self, rung: Rung) -> Path:
        """Where one model of the ladder is trained."""
        return self.root / "runs" / rung.name


@dataclass(frozen=True)
class Stage:
    """One step of the paper: where it stands there, what it makes, and its usual share of the time."""

    name: str
    section: str
    title: str
    run: Callable[[Workspace], str]
    folders: tuple[str, ...]
    share: float


def kept(manifest: Manifest, what: str) -> str:
    """`9,871 of 12,345 pages kept`, with the most frequent reasons of dropping."""
    reasons = sorted(manifest.drops.items(), key=lambda item: -item[1])[:3]
    dropped = "; " + ", ".join(f"{reason} {n:,}" for reason, n in reasons) if reasons else ""
    return f"{manifest.n_kept:,} of {manifest.n_in:,} {what} kept{dropped}"


# ------------------------------------------------------------------------------------------------ §2.1 WebText


def make_web(w: Workspace) -> str:
    """A web of real documentation on this machine."""
    from fourhorn.reproduce.local_web import local_web

    manifest = local_web(w / "web", max_pages=w.scale.max_pages, packages=w.scale.packages)
    return f"{manifest.n_kept:,} pages on {manifest.details['hosts']} hosts"


def make_dump(w: Workspace) -> str:
    """A Reddit dump that links to it."""
    from fourhorn.reproduce.submissions import submissions

    manifest = submissions(w / "web", w / "dump")
    return f"{manifest.n_kept:,} submissions in {len(manifest.outputs)} monthly dumps"


def make_links(w: Workspace) -> str:
    """Outbound links with at least 3 karma, up to December 2017."""
    from fourhorn.webtext.links import links

    return kept(links(w / "dump", w / "links"), "submissions")


def make_pages(w: Workspace) -> str:
    """Crawl the links into WARC files."""
    from fourhorn.records import iter_records
    from fourhorn.reproduce.server import hosts_file, serving
    from fourhorn.webtext.crawl import crawl

    with serving(w / "web") as port:
        hosts = {row["host"] for row in iter_records(w / "web" / "pages.jsonl.zst", columns=["host"])}
        resolve = hosts_file(w / "web" / "hosts.txt", hosts, port)
        manifest = crawl(
            w / "links",
            w / "pages",
            resolve=resolve,
            allow_private=("127.0.0.0/8",),
            delay_seconds=0.0,
            timeout_seconds=10.0,
            links_per_shard=1500,  # some shards for each of a few processes
        )
    return kept(manifest, "links")


def make_raw(w: Workspace) -> str:
    """Extract the text of each page."""
    from fourhorn.webtext.extract import extract

    return kept(extract(w / "pages", w / "raw"), "pages")


def make_clean(w: Workspace) -> str:
    """Keep good English text."""
    from fourhorn.webtext.clean import clean

    return kept(clean(w / "raw", w / "clean"), "documents")


def make_unique(w: Workspace) -> str:
    """Remove exact and near duplicates."""
    from fourhorn.webtext.dedup import dedup

    return kept(dedup(w / "clean", w / "unique"), "documents")


def make_splits(w: Workspace) -> str:
    """Split into train, val and test by a stable hash."""
    from fourhorn.webtext.split import split
    from fourhorn.webtext.stats import stats

    manifest = split(w / "unique", w / "webtext")
    stats(w / "unique", w / "stats")
    return f"{manifest.n_kept:,} documents in train, val and test"


# ------------------------------------------------------------------------------- §2.2 tokenizer, §2.3 training


def make_tokenizer(w: Workspace) -> str:
    """Train the byte-level BPE vocabulary on the training split."""
    from fourhorn.tokenizer.train import train

    manifest = train(w / "webtext" / "train", w / "tokenizer", n_vocab=w.scale.n_vocab)
    return (
        f"{manifest.details['n_vocab']:,} tokens from {manifest.details['n_bytes_text'] / 1e6:.1f} MB of text"
    )


def make_tokens(w: Workspace) -> str:
    """Encode all splits into token shards."""
    from fourhorn.tokenizer.tokens import tokens

    counts = []
    for name in ("train", "val", "test"):
        tokens(w / "webtext" / name, w / "tokens" / name, tokenizer=w / "tokenizer")
        counts.append(f"{read_json(w / 'tokens' / name / 'index.json')['n_tokens']:,} {name}")
    return ", ".join(counts) + " tokens"


def make_models(w: Workspace) -> str:
    """Train the four models of the ladder."""
    from fourhorn.training.config import TrainConfig
    from fourhorn.training.loop import train

    losses = []
    for rung in w.scale.rungs:
        steps = w.scale.max_steps
        config = TrainConfig(
            n_layer=rung.n_layer,
            n_head=rung.n_head,
            n_embd=rung.n_embd,
            n_ctx=w.scale.n_ctx,
            dropout=0.0,  # a few passes over the data, by models far too small to learn it by heart
            batch_size=w.scale.batch_size,
            max_steps=steps,
            warmup_steps=max(steps // 20, 1),
            beta2=0.95,  # the paper does not give it; runs of so few steps need a short memory
            sweep=w.scale.sweep,
            sweep_steps=w.scale.sweep_steps,
            eval_every=max(steps // 4, 1),
            save_every=max(steps // 8, 1),
            keep=1,
        )
        summary = train(w / "tokens", w.run_folder(rung), config=config)
        if summary["stopped"] == "asked":
            raise KeyboardInterrupt  # SIGTERM: the state is saved, the next call goes on
        losses.append(f"{rung.paper} {summary['val_loss']:.3f}")
    return f"held-out loss (nats per token): {', '.join(losses)}"


# ------------------------------------------------------------------------------------ §3, §4, appendix, report


def make_samples(w: Workspace) -> str:
    """Let the largest model continue held-out documents, top-k 40."""
    from fourhorn.checkpoints.load import load
    from fourhorn.sampling.samples import samples

    rung = w.scale.rungs[-1]
    model, tokenizer = load(w.run_folder(rung))
    manifest = samples(
        model,
        tokenizer,
        w / "samples" / rung.name,
        prompts=w / "webtext" / "test",
        n_prompts=w.scale.n_samples,
    )
    return f"{manifest.n_kept} completions of held-out documents"


def make_results(w: Workspace) -> str:
    """Every experiment of §3 on all four models."""
    from fourhorn.checkpoints.load import load
    from fourhorn.evaluation.pocket.build import build
    from fourhorn.evaluation.run import evaluate

    build(w / "webtext" / "test", w / "sets", max_items=w.scale.n_items)
    scores = []
    for rung in w.scale.rungs:
        model, tokenizer = load(w.run_folder(rung))
        results = evaluate(
            model,
            tokenizer,
            data=w.data,
            pocket=w / "sets",
            heldout=w / "webtext" / "test",
            train=w / "webtext" / "train",
            destination=w / "results" / rung.name,
            name=rung.name,
        )
        scores.append(f"{results['lambada'].metrics['accuracy'].value:.1%}")
    return f"LAMBADA-style accuracy along the ladder: {', '.join(scores)}"


def make_overlap(w: Workspace) -> str:
    """8-gram overlap of every test set with the training text."""
    from fourhorn.memorization.demonstrations import demonstrations
    from fourhorn.memorization.overlap import overlap
    from fourhorn.memorization.recitation import recitation
    from fourhorn.memorization.scores import scores

    rung = w.scale.rungs[-1]
    train = w / "webtext" / "train"
    tests = {path.name: path for path in (w / "sets", w.data) if path is not None}
    results = overlap(
        {**tests, "webtext": w / "webtext" / "test", "samples": w / "samples" / rung.name},
        train,
        w / "overlap",
        tokenizer=w / "tokenizer",
    )
    scores(w / "results" / rung.name, w / "overlap")
    recitation(w / "samples" / rung.name, train, w / "overlap")
    demonstrations(train, w / "overlap")
    return f"{len(results)} test sets against the training text"


def make_report(w: Workspace) -> str:
    """Every table and figure of the paper beside this run's."""
    from fourhorn.report.page import report

    report([w.root], w / "report")
    return f"{w / 'report' / 'index.html'}"


STAGES = (
    Stage("web", "", "a small real web on this machine", make_web, ("web",), 25),
    Stage("dump", "", "a Reddit dump that links to it", make_dump, ("dump",), 1),
    Stage("links", "§2.1", "outbound links with at least 3 karma", make_links, ("links",), 1),
    Stage("crawl", "§2.1", "fetch the pages into WARC files", make_pages, ("pages",), 25),
    Stage("extract", "§2.1", "text out of HTML", make_raw, ("raw",), 60),
    Stage("clean", "§2.1", "good English text", make_clean, ("clean",), 8),
    Stage("dedup", "§2.1", "exact and near duplicates out", make_unique, ("unique",), 6),
    Stage("split", "§2.1", "train, val and test", make_splits, ("webtext", "stats"), 3),
    Stage("tokenizer", "§2.2", "byte-level BPE", make_tokenizer, ("tokenizer",), 5),
    Stage("tokens", "§2.2", "documents to token shards", make_tokens, ("tokens",), 2),
    Stage("train", "§2.3", "four models, learning rates searched", make_models, ("runs",), 360),
    Stage("samples", "§8", "continuations of held-out text", make_samples, ("samples",), 6),
    Stage("evaluate", "§3", "every zero-shot experiment", make_results, ("results", "sets"), 90),
    Stage("overlap", "§4", "8-gram overlap with the training text", make_overlap, ("overlap",), 5),
    Stage("report", "", "all tables and figures, beside the paper's", make_report, ("report",), 8),
)
