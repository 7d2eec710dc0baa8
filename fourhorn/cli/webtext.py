"""`fourhorn webtext …`: the stages of §2.1, from links to splits, each printing what it wrote and the next command.

A stage is imported when its command is asked for, so that `webtext links` does not wait for the extractors.
"""

from typing import Any

from fourhorn.cli.command import command

# Command and stage have the same name; what comes after it is filled with its own arguments.
NEXT_COMMANDS = {
    "links": "fourhorn webtext crawl {destination} pages",
    "crawl": "fourhorn webtext extract {destination} raw",
    "extract": "fourhorn webtext clean {destination} clean",
    "clean": "fourhorn webtext dedup {destination} unique",
    "dedup": "fourhorn webtext split {destination} webtext",
    "split": "fourhorn tokenizer train {destination}/train tokenizer",
    "stats": "",
}


def __getattr__(name: str) -> Any:
    if name not in NEXT_COMMANDS:
        raise AttributeError(name)
    return command(f"fourhorn.webtext.{name}:{name}", next_command=NEXT_COMMANDS[name])
