"""The `fourhorn` command: every stage of the paper, registered by import string so that `--help` loads none of them.

Order of options: default < `--config file.json` < flag. A user's mistake ends in one sentence and exit code 2, an
interrupt in exit code 130; both leave nothing half-written behind.
"""

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, Group, UnknownOptionError, UnusedCliTokensError

from fourhorn.errors import UserError, unknown
from fourhorn.files import read_json, version

COMMANDS = {
    "The whole paper": [
        ("reproduce", "reproduce:reproduce", "Run every stage of the paper, in order, at pocket scale."),
        (
            "report",
            "report:report",
            "Build the report: every table and figure, the paper's beside the run's.",
        ),
    ],
    "§2.1 WebText": [
        (
            "webtext links",
            "webtext:links",
            "Outbound links with enough karma, from Reddit dumps or URL lists.",
        ),
        ("webtext crawl", "webtext:crawl", "Fetch the linked pages politely into WARC files."),
        ("webtext extract", "webtext:extract", "Extract the article text of each page."),
        ("webtext clean", "webtext:clean", "Keep good text in the wanted language; count every drop."),
        ("webtext dedup", "webtext:dedup", "Remove exact and near duplicates."),
        ("webtext split", "webtext:split", "Split documents into train, val and test by a stable hash."),
        ("webtext stats", "webtext:stats", "Domains, lengths, languages and the data funnel."),
    ],
    "§2.2 Byte-level BPE": [
        ("tokenizer train", "tokenizer:train", "Train a byte-level BPE vocabulary."),
        ("tokenizer encode", "tokenizer:encode", "Encode text into tokens."),
        ("tokenizer decode", "tokenizer:decode", "Decode tokens into text."),
        ("tokenizer show", "tokenizer:show", "Show the tokens of a text in color with their ids."),
        ("tokenizer compare", "tokenizer:compare", "Compare tokenizers' bytes per token by kind of text."),
        ("tokens", "tokenizer:tokens", "Encode documents into token shards for training."),
    ],
    "§2.3 Training, §5 fine-tuning": [
        ("plan", "training:plan", "Memory, time and cost of a training run before it starts."),
        ("train", "training:train", "Train a model on token shards; goes on where it stopped."),
        ("finetune", "training:finetune", "Fine-tune a checkpoint on your own text."),
    ],
    "Checkpoints": [
        ("convert", "checkpoints:convert", "Convert a checkpoint between formats."),
        ("download", "checkpoints:download", "Download a released model with checksums."),
        ("push", "checkpoints:push", "Push a checkpoint to the Hugging Face Hub with a model card."),
    ],
    "Sampling and serving": [
        ("sample", "sampling:sample", "Continue prompts, at the terminal or from a file."),
        ("serve", "serving:serve", "Serve a model: OpenAI-compatible API and a web page."),
    ],
    "§3 Experiments": [
        ("evaluate", "evaluation:evaluate", "Run the paper's zero-shot experiments."),
        ("compare", "evaluation:compare", "Compare two result folders: paired differences with intervals."),
        (
            "data list",
            "evaluation:data_list",
            "List the official evaluation sets: source, license, size, sha256.",
        ),
        ("data fetch", "evaluation:data_fetch", "Download official evaluation sets with checksums."),
        ("data check", "evaluation:data_check", "Say what evaluation sets a folder holds."),
    ],
    "§4 Memorization": [
        ("overlap", "memorization:overlap", "8-gram overlap of test sets with training text (Table 6)."),
        ("scores", "memorization:scores", "Scores with and without the overlapping items."),
        ("recitation", "memorization:recitation", "Longest verbatim runs of samples in the training text."),
        ("bloom build", "memorization:bloom_build", "Build a Bloom filter over the n-grams of a text."),
        ("bloom merge", "memorization:bloom_merge", "Merge filters that were built in parts."),
        ("bloom check", "memorization:bloom_check", "Measure a filter's false-positive rate."),
    ],
    "This machine": [
        ("doctor", "training:doctor", "What works on this machine, what does not, and why."),
        ("completion", "completion:completion", "Completion of commands and options for bash, zsh or fish."),
    ],
}

# Errors of the system that a person can mend: no space, no permission, a full quota, a read-only or failing disk.
MENDABLE = {
    errno.ENOSPC: "no space is left",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk failed to read or write",
    errno.EMFILE: "too many files are open (see ulimit -n)",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.EEXIST: "a file is already there",
    errno.ENOENT: "it does not exist",
    errno.EADDRINUSE: "the address is already in use",
}

# Which extra brings a library, so that a command without it names the way out.
EXTRAS = {
    **dict.fromkeys(
        (
            "aiohttp",
            "brotli",
            "can_ada",
            "ftfy",
            "isal",
            "lxml",
            "msgspec",
            "protego",
            "pyarrow",
            "pycld2",
            "readability",
            "resiliparse",
            "tldextract",
            "trafilatura",
            "xxhash",
            "yarl",
        ),
        "webtext",
    ),
    **dict.fromkeys(("sacrebleu", "rouge_score"), "eval"),
    **dict.fromkeys(("fastapi", "h11", "pydantic", "starlette", "uvicorn"), "serve"),
    **dict.fromkeys(("matplotlib", "jinja2"), "report"),
    **dict.fromkeys(("gguf", "huggingface_hub"), "interop"),
    **dict.fromkeys(("tensorboard", "wandb", "trackio"), "track"),
    "ray": "ray",
}


def build(config: Any = None, commands: Mapping[str, list[tuple[str, str, str]]] = COMMANDS) -> App:
    """The application with its commands registered by import string."""
    app = App(
        name="fourhorn",
        help="The whole GPT-2 paper in one package, from a Reddit link to Table 6.",
        version=version,
        help_format="plaintext",
        config=config,
        default_parameter=None,
    )
    groups: dict[str, App] = {}
    for order, (title, rows) in enumerate(commands.items()):
        panel = Group(title, sort_key=order)
        for position, (name, target, help_text) in enumerate(rows):
            parent, _, leaf = name.rpartition(" ")
            owner = app
            if parent:
                owner = groups.get(parent) or App(name=parent, group=panel, help_format="plaintext")
                if parent not in groups:
                    leaves = [n.rpartition(" ")[2] for n, _, _ in rows if n.startswith(f"{parent} ")]
                    owner.help = f"{title}: {', '.join(leaves)}."
                    groups[parent] = app.command(owner)
            owner.command(
                f"fourhorn.cli.{target}",
                name=leaf or name,
                help=help_text,
                group=panel if not parent else None,
                sort_key=position,
            )
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `fourhorn` command; always ends by `sys.exit`."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code."""
    try:
        tokens, config = take_config(arguments)
        check_command(tokens)
        result = build(config)(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        return result if isinstance(result, int) else 0
    except CycloptsError as error:
        return fail(f"{explain(error)}\nSee: {help_line(error)}")
    except UserError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return fail(
            f"This command needs {error.name}, which is not installed: pip install 'fourhorn[{extra}]'."
        )
    except KeyboardInterrupt:
        print("\nfourhorn: interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in MENDABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{MENDABLE[error.errno]}. Mend that and run the same command again.")


def check_command(tokens: Sequence[str]) -> None:
    """Refuse an unknown command, naming the nearest, before any command's module is loaded."""
    names = [name for rows in COMMANDS.values() for name, _, _ in rows]
    words = [token for token in tokens[:2] if not token.startswith("-")]
    if not words:
        return
    first = list(dict.fromkeys(name.split()[0] for name in names))
    if words[0] not in first:
        raise unknown("command", words[0], first)
    second = [name.split()[1] for name in names if name.startswith(f"{words[0]} ")]
    if second and len(words) > 1 and words[1] not in second:
        raise unknown(f"command {words[0]}", words[1], second)


def take_config(arguments: Sequence[str]) -> tuple[list[str], Any]:
    """Take `--config FILE` out of the arguments; the rest, and the file as a source of option values."""
    tokens = list(arguments)
    for i, token in enumerate(tokens):
        if token == "--":
            break
        if token == "--config" or token.startswith("--config="):
            if "=" not in token and i + 1 == len(tokens):
                raise UserError("--config needs a file: --config options.json.")
            path = token.partition("=")[2] if "=" in token else tokens[i + 1]
            del tokens[i : i + 1 if "=" in token else i + 2]
            values = read_json(Path(path))
            if not isinstance(values, dict):
                raise UserError(f"{path} must hold one JSON object of option names and values.")
            from cyclopts.config import Dict

            return tokens, Dict(values, use_commands_as_keys=False, source=str(path))
    return tokens, None


def fail(message: str) -> int:
    """Print a user's mistake; exit code 2."""
    print(f"fourhorn: {message}", file=sys.stderr)
    return 2


def explain(error: CycloptsError) -> str:
    """What is wrong with the command line; for an unknown key of a config file, also the nearest known one."""
    if isinstance(error, UnusedCliTokensError):
        return (
            f"{' '.join(error.unused_tokens or ())!r} is more than this command takes; options begin with --."
        )
    token = getattr(error, "token", None)
    if not isinstance(error, UnknownOptionError) or token is None or token.source == "cli":
        return str(error)
    known = [name for a in error.argument_collection or () for name in a.names if name.startswith("--")]
    options = [name.removeprefix("--").replace("-", "_") for name in known if not name.startswith("--empty-")]
    return str(unknown(f"option in {token.source}:", token.keyword.strip("[]"), options))


def help_line(error: CycloptsError) -> str:
    """The help command nearest to where parsing stopped."""
    chain = " ".join(error.command_chain or ())
    return " ".join(f"fourhorn {chain} --help".split())


if __name__ == "__main__":
    main()
