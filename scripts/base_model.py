"""The model before training: build a tiny Qwen3 and teach it the answer format, or take a Qwen3 as it is."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import warnings
from pathlib import Path

from common.errors import InputError, run
from common.files import read_json, sha256, write_json, written_whole
from common.hub import MODEL_FILES, snapshot
from common.options import add_settings
from common.provenance import record

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_settings(parser, "base_model", paths=["folder", "hub-cache"])
    parser.add_argument("--hub-record", type=Path, help="SHA-256 of the hub's files, by fetch_model")
    parser.add_argument("--threads", type=int, default=1, help="Threads of torch. Default: 1.")
    parser.add_argument("--output", type=Path, required=True, help="Hugging Face folder to make")
    return parser.parse_args()


def main() -> None:
    """Make the folder, whole or not at all."""
    args = arguments()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the model is built on the CPU wherever that is
    warnings.filterwarnings("ignore")
    with written_whole(args.output) as folder:
        folder.mkdir()
        make = {"tiny": build_tiny, "folder": take_folder, "hub": take_snapshot}[args.source]
        details = make(args, folder)
        files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
        write_json(
            folder / "model.json",
            {
                "name": args.name,
                "source": args.source,
                **details,
                "files": files,
                **record(args, {}, PACKAGES),
            },
        )
    print(f"{args.output}: {args.name}, {details['weights']:,} weights")


def build_tiny(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Build the tiny model and warm it up on true reasons with coin-flip decisions."""
    import torch

    from grpo import tiny_qwen3
    from trading.answers import BUY, SELL
    from trading.prompts import COMPACT_WORDS, compact_answer, random_compact_prompt

    torch.set_num_threads(args.threads)
    settings = tiny_qwen3.TinySettings(
        layers=args.tiny_layers,
        hidden=args.tiny_hidden,
        heads=args.tiny_heads,
        query_groups=args.tiny_query_groups,
        head_dim=args.tiny_head_dim,
        ffn=args.tiny_ffn,
        seed=args.tiny_seed,
        warm_up_steps=args.tiny_warm_up_steps,
        warm_up_batch=args.tiny_warm_up_batch,
        warm_up_learning_rate=args.tiny_warm_up_learning_rate,
    )
    if settings.heads % settings.query_groups:
        raise InputError(
            f"base_model: heads ({settings.heads}) must be a multiple of query_groups ({settings.query_groups})."
        )
    rng = random.Random(settings.seed)
    examples = []
    for _ in range(settings.warm_up_steps * settings.warm_up_batch):
        prompt = random_compact_prompt(rng)
        # The reasons are true, the decision is a coin: the format is taught, the market is not.
        examples.append((prompt, compact_answer(prompt, rng.choice((BUY, SELL)))))
    tokenizer = tiny_qwen3.build_tokenizer(COMPACT_WORDS)
    model = tiny_qwen3.build_model(settings, tokenizer)
    loss = tiny_qwen3.warm_up(model, tokenizer, examples, settings)
    tiny_qwen3.save(folder, model, tokenizer)
    return {
        "weights": sum(p.numel() for p in model.parameters()),
        "warm_up_loss": loss if loss == loss else None,
    }


def take_folder(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Check a Qwen3 folder and link its weights; nothing of it is copied but small files."""
    if args.folder is None or not args.folder.is_dir():
        given = "no folder was given" if args.folder is None else f"folder {args.folder} is not there"
        raise InputError(f"base_model: {given}. Set base_model.folder to a Hugging Face folder.")
    return take(args.folder, folder)


def take_snapshot(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """The same with a commit of the hub, whose files must be those that were recorded when it was fetched."""
    if missing := [name for name in ("hub_name", "hub_commit", "hub_cache", "hub_record") if not getattr(args, name)]:
        raise InputError(f"base_model: --source hub needs --{missing[0].replace('_', '-')}.")
    source = snapshot(args.hub_cache, args.hub_name, args.hub_commit)
    if not source.is_dir():
        raise InputError(
            f"base_model: {source} is not there. This machine or container must see the hub's cache: set "
            "base_model.hub.cache to a folder that all nodes share."
        )
    recorded = read_json(args.hub_record).get("files")
    if not isinstance(recorded, dict):
        raise InputError(f"{args.hub_record}: no record of files. Delete it and run fetch_model again.")
    for name, digest in recorded.items():
        if not (source / name).is_file() or sha256(source / name) != digest:
            raise InputError(f"{source / name}: not the file that {args.hub_record} records. Delete it and run again.")
    return take(source, folder)


def take(source: Path, folder: Path) -> dict[str, object]:
    """Check `source` and fill `folder` from it."""
    from grpo.hugging_face import read_tensors
    from grpo.qwen3 import read_shape
    from grpo.weights import check_tensors

    shape = read_shape(source)
    tensors = read_tensors(source, meta=True)
    check_tensors(tensors, shape, str(source))
    check_tokenizer(source, shape.vocabulary)
    for path in sorted({path for pattern in MODEL_FILES for path in source.glob(pattern)}):
        if path.name == "model.json":
            continue
        if path.suffix == ".safetensors":
            (folder / path.name).symlink_to(path.resolve())
        else:
            shutil.copyfile(path, folder / path.name)
    return {"weights": sum(tensor.numel() for tensor in tensors.values())}


def check_tokenizer(folder: Path, vocabulary: int) -> None:
    """Refuse a folder whose tokenizer is missing, has no chat template, or knows more tokens than the model."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a broken file surfaces as any of a dozen types
        (reason, *_) = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{folder}: the tokenizer cannot be read ({reason}). Download the model again.") from None
    if not tokenizer.chat_template:
        raise InputError(f"{folder}: the tokenizer has no chat template. Use an instruct or thinking Qwen3.")
    if len(tokenizer) > vocabulary:
        raise InputError(
            f"{folder}: the tokenizer knows {len(tokenizer)} tokens, config.json says vocab_size {vocabulary}. "
            "Tokenizer and model do not belong together."
        )


if __name__ == "__main__":
    run(main)
