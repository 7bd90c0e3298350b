"""Command line of the benchmarks: list the commands, or run one of them."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from app.errors import ExtractorError
from bench.tables import print_table, save_tables

# Name → (module, summary). A module is imported only when its command runs, because most modules import torch.
COMMANDS = {
    "detection": ("detection_speed", "pages a second, next to the library's own ways and the floor"),
    "jobs": ("whole_jobs", "seconds of whole detection jobs, next to a short script"),
    "similarity": ("similarity_speed", "images embedded a second, seconds to match two documents"),
    "comparison": ("whole_comparison", "hours of a whole comparison with verification"),
    "search": ("search_speed", "seconds of a search among 100,000 images, next to the bare matrix product"),
    "request-size": ("request_size", "bytes, seconds and average precision at each request size"),
    "long-pages": ("long_pages", "recall on scrolls, panoramas and large sheets, in one look and in parts"),
    "engines": ("engines", "speed and accuracy of the default weights in torch and OpenVINO"),
    "accuracy": (
        "accuracy",
        "precision, recall, average precision and calibration, with intervals, by kind of document",
    ),
    "retrieval": ("retrieval", "whether prints of a block and altered copies are found, and what verification adds"),
    "politeness": ("politeness", "requests that a library counts, next to what the limit allows"),
    "workers": ("workers", "the rate of one and of two workers of a queue"),
    "soak": ("soak", "whether jobs survive killed workers, broker restarts and a wiped broker"),
    "submit": ("submit_latency", "how long a request takes while a thousand jobs are queued"),
    "scale": ("scale", "the cost of a page, a pair and a query while pages, documents and history grow"),
    "training": ("training_speed", "seconds of an epoch, next to the library's own trainer and the floor"),
    "new-kind": ("new_kind", "what a training on a few pages of a new kind changes on old and new kinds"),
    "train-weights": ("train_default_weights", "the recipe of the default weights"),
    "synthesis": ("synthesis.writing", "synthetic pages, made of training pages, for that recipe"),
    "sample": ("sample.document", "the sample document in iiif/sample"),
    "pictures": ("manual_pictures", "the pictures of docs/numbers.md"),
    "formats": ("export_readers", "whether software of others reads the exports, with the same boxes"),
    "check-sample": ("check_sample", "an annotation file of the sample, compared with the true boxes"),
}


def main(words: Sequence[str] | None = None) -> None:
    """Run a command, or list the commands if none is given.

    Args:
        words: Name and arguments of the command; by default those of the command line.
    """
    words = sys.argv[1:] if words is None else words
    if not words or words[0] in ("-h", "--help"):
        print("python -m bench COMMAND [--help]\n")
        print_table(["command", "what it measures or makes"], list_commands())
        return
    name, *rest = words
    if name not in COMMANDS:
        sys.exit(f"`{name}` is not a command; choose one of: {', '.join(COMMANDS)}.")
    module = import_module(f"bench.{COMMANDS[name][0]}")
    parser = argparse.ArgumentParser(
        prog=f"python -m bench {name}",
        description=str(module.__doc__).replace("``", "`"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the tables as JSON")
    arguments = parser.parse_args(rest)
    try:
        module.run(arguments)
    except ExtractorError as error:
        sys.exit(error.message)
    finally:
        if arguments.json:
            save_tables(arguments.json)


def list_commands() -> list[tuple[str, str]]:
    """Return the name and summary of each command, as rows of a table."""
    return [(f"`{name}`", summary) for name, (_, summary) in COMMANDS.items()]


if __name__ == "__main__":
    main()
