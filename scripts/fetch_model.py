"""Have the base model in the hub's cache, downloaded once, and record the SHA-256 of its files."""

from __future__ import annotations

import argparse
from pathlib import Path

from common.errors import InputError, run
from common.files import write_json
from common.hub import checked_files, fetch
from common.options import add_setting
from common.provenance import record


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_setting(parser, "--hub-name", "base_model.hub.name", required=True, meaning="Such as Qwen/Qwen3-4B.")
    add_setting(parser, "--hub-commit", "base_model.hub.commit", required=True, meaning="Its commit.")
    parser.add_argument("--hub-cache", type=Path, required=True, help="the hub's cache, shared by all projects")
    parser.add_argument("--output", type=Path, required=True, help="record of the files")
    return parser.parse_args()


def main() -> None:
    """Download what is missing, check all."""
    args = arguments()
    folder = fetch(args.hub_cache, args.hub_name, args.hub_commit, lambda line: print(line, flush=True))
    files = checked_files(folder)
    if not files:
        raise InputError(f"{folder}: no files. Delete it and run again.")
    write_json(args.output, {"files": files, **record(args, {}, ["huggingface_hub"])})
    print(f"{args.hub_name} at {args.hub_commit[:12]}: {len(files)} files, checked")


if __name__ == "__main__":
    run(main)
