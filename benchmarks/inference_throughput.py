"""Tokens a second of infer.py (SGLang) and of transformers, on the same model, questions and device.

    python benchmarks/inference_throughput.py --model results/demo/model/trained --device cuda --max-new-tokens 512 \
        --samples results/demo/samples/test.jsonl --output benchmarks/results/inference-throughput.json

Without a model at hand, `--shape 0.6b` in place of --model takes one of random weights. Both decode greedily; starting
and loading is counted apart. Each runs in a process of its own, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from random_model import SHAPES, write_random_model
from running import machine, started

from common.errors import InputError, run
from common.files import read_json, read_jsonl, write_json, write_jsonl
from common.provenance import record
from inference.asking import PACKAGES
from inference.model import read_model
from inference.processes import environment
from inference.questions import ask, load_tokenizer, read_samples

SCRIPTS = Path(__file__).parents[1] / "scripts"


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--model", type=Path, help="Hugging Face folder of a Qwen3")
    add("--shape", choices=list(SHAPES), help="in its place: a model of random weights of this size")
    add("--samples", type=Path, required=True, help="samples/test.jsonl")
    add("--count", type=int, default=256, help="samples that are asked, from the first (default: 256)")
    add("--device", choices=("cpu", "cuda"), required=True, help="the same for both")
    add("--max-new-tokens", type=int, required=True, help="an answer is cut after so many tokens")
    add("--batch", type=int, default=64, help="samples that transformers answers at a time (default: 64)")
    add("--flags", default="", help="more flags of infer.py, such as '--data=2 --attention=triton'")
    add("--only", choices=("transformers",), help=argparse.SUPPRESS)  # this program's own child
    add("--output", type=Path, required=True, help="results as JSON")
    args = parser.parse_args()
    if not args.model and not args.shape:
        raise InputError("which model is not said: give --model or --shape.")
    return args


def main() -> None:
    """Run both, compare what they said, write the numbers."""
    args = arguments()
    if args.only:
        write_json(args.output, transformers_speed(args))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.shape:
            args.model = write_random_model(args.shape, Path(folder) / "model")
        samples = Path(folder) / "samples.jsonl"
        write_jsonl(samples, read_jsonl(args.samples)[: args.count])
        sglang, answers = sglang_speed(args, samples, Path(folder))
        out = Path(folder) / "transformers.json"
        given = [*sys.argv[1:], f"--model={args.model}", f"--samples={samples}"]
        started([sys.executable, __file__, *given, "--only=transformers", f"--output={out}"])
        other, made_from = read_json(out), record(args, {"model": args.model, "samples": args.samples}, PACKAGES)
    said = other.pop("answers")
    same = sum(a == b for a, b in zip(answers, said, strict=True))
    result = {
        "what": "tokens of answers a second of infer.py (SGLang) and of transformers, on the same model, questions and "
        "device",
        "machine": machine(args.device),
        "samples": len(answers),
        "sglang": sglang,
        "transformers": other,
        "times_as_fast": round(sglang["tokens_per_second"] / other["tokens_per_second"], 2),
        "same_answers": same / len(answers),
    }
    write_json(args.output, {**result, **made_from})
    print(json.dumps(result, indent=2))


def sglang_speed(args: argparse.Namespace, samples: Path, folder: Path) -> tuple[dict[str, Any], list[list[int]]]:
    """What infer.py says of its speed, and the tokens of its answers."""
    files = {name: folder / f"{name}.json" for name in ("summary", "timing")}
    command = [sys.executable, SCRIPTS / "infer.py", "--variant=base", "--temperature=0", "--timeout-s=1200"]
    command += [f"--model={args.model}", f"--samples={samples}", f"--device={args.device}", f"--batch={args.count}"]
    command += [f"--max-new-tokens={args.max_new_tokens}", f"--journal={folder / 'journal'}", *args.flags.split()]
    command += [f"--output-decisions={folder / 'decisions.jsonl'}"]
    started([*command, *(f"--output-{name}={path}" for name, path in files.items())])
    timing = read_json(files["timing"])
    names = ("startup_seconds", "tokens", "tokens_per_second", "prompt_tokens", "cached_tokens")
    return {n: timing[n] for n in names}, [row["output_ids"] for row in read_jsonl(folder / "decisions.jsonl")]


def transformers_speed(args: argparse.Namespace) -> dict[str, Any]:
    """The same with transformers' generate, in batches padded on the left."""
    os.environ.update({name: value for name, value in environment(args.device, 1).items() if "SGLANG" not in name})
    import torch
    from transformers import AutoModelForCausalLM

    start = time.monotonic()
    folder = read_model(args.model)
    tokenizer = load_tokenizer(folder)
    folder = folder.stopping_at(tokenizer)
    dtype = torch.bfloat16 if args.device == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(args.model, torch_dtype=dtype, attn_implementation="sdpa")
    model = model.to(args.device).eval()
    if args.device == "cpu":
        torch.set_num_threads(1)
    questions = ask(read_samples(args.samples), args.samples, tokenizer, folder, args.max_new_tokens)
    startup, start = time.monotonic() - start, time.monotonic()
    answers: list[list[int]] = []
    for first in range(0, len(questions), args.batch):
        prompts = [question.prompt_ids for question in questions[first : first + args.batch]]
        longest, pad = max(map(len, prompts)), min(folder.stop_ids)
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=args.device)
        seen = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=args.device)
        out = model.generate(
            ids, attention_mask=seen, max_new_tokens=args.max_new_tokens, do_sample=False, temperature=None,
            top_p=None, top_k=None, eos_token_id=sorted(folder.stop_ids), pad_token_id=pad,
        )  # fmt: skip
        answers += [until_stop(row, folder.stop_ids) for row in out[:, longest:].tolist()]
    seconds, tokens = time.monotonic() - start, sum(map(len, answers))
    return {
        "startup_seconds": round(startup, 1),
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "answers": answers,
    }


def until_stop(ids: list[int], stop: frozenset[int]) -> list[int]:
    """Tokens up to the first that ends a turn, that one included."""
    end = next((place for place, token in enumerate(ids) if token in stop), len(ids))
    return ids[: end + 1]


if __name__ == "__main__":
    run(main)
