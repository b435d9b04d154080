"""Import and export of a large model against copying its files: seconds, and memory.

    python benchmarks/conversion.py --size 4b --folder /somewhere/with/30/GB --output benchmarks/results/conversion.json

A Qwen3 of random weights in bfloat16 is imported, laid out as two tensor ranks leave a trained one (every weight
negated, the vocabulary padded), and exported; what comes out must be the negated weights, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from common.files import read_json, sha256, write_json
from common.provenance import record
from grpo import stored_weights
from grpo.hugging_face import read_tensors, write_tensors
from grpo.qwen3 import Qwen3Shape, read_shape
from grpo.tensors import LazyTensors, joined
from grpo.weights import expected_shapes, to_megatron, weights_sum

SCRIPTS = Path(__file__).parents[1] / "scripts"
# layers, hidden, heads, groups, head dim, intermediate, vocabulary: Qwen3-4B's, and the same structure, small
SIZES = {"4b": (36, 2560, 32, 8, 128, 9728, 151_936), "small": (4, 64, 8, 4, 16, 160, 1000)}
RANKS = 2
BLOCK = 2**24  # random numbers drawn; larger tensors repeat them


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="4b")
    parser.add_argument("--folder", type=Path, required=True, help="made here and removed: base/, unless it is there")
    parser.add_argument("--rounds", type=int, default=3, help="of each; seconds vary with the system's memory")
    parser.add_argument("--machine", default="not stated")
    parser.add_argument("--date", default="not stated")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    base, megatron, trained = (args.folder / name for name in ("base", "megatron", "trained"))
    if not base.exists():
        make_base(base, SIZES[args.size])
    weights = sorted(base.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in weights)
    found: dict[str, Any] = {"gigabytes": size / 1e9, "files": len(weights)}
    given = [f"--base={base}", f"--output={megatron}"]
    found["import"] = rounds(args.rounds, megatron, weights, [], "import_weights", *given)
    manifest = lay_out(base, megatron, args.folder)
    shutil.rmtree(megatron)
    stored, parity = sorted((args.folder / "checkpoints").rglob("*.distcp")), args.folder / "parity.json"
    given = [f"--manifest={manifest}", f"--base={base}", f"--output={trained}", f"--output-parity={parity}"]
    found["export"] = rounds(args.rounds, trained, weights, stored, "export_weights", *given)
    found["median_speed_as_share_of_copying"] = {
        name: median(measured["speed_as_share_of_copying"] for measured in found[name]) for name in ("import", "export")
    }
    before, after = read_tensors(base), read_tensors(trained)
    found["bit_equal"] = before.keys() == after.keys() and all(torch.equal(before[n], -after[n]) for n in before)
    found["exported_files"] = sorted(file.name for file in trained.iterdir())
    found["parity"] = read_json(parity)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "what": "a Qwen3 of random bfloat16 weights, import_weights.py and export_weights.py against copying the "
        "weight files; both until the files are on the disk (fsync), and both from files that the system has in memory",
        "memory": "largest sum of the resident memory of the program and its children, looked at 20 times a second; "
        "pages of mapped files count",
        "machine": args.machine,
        "date": args.date,
    }
    write_json(args.output, about | record(args, {}, ("torch", "megatron-core", "safetensors")) | {"measured": found})
    for path in (base, trained, args.folder / "checkpoints"):
        shutil.rmtree(path)
    print(json.dumps(found["median_speed_as_share_of_copying"]))


def make_base(folder: Path, size: tuple[int, ...]) -> None:
    """Write a Hugging Face folder of random weights, a tensor at a time."""
    layers, hidden, heads, groups, head_dim, ffn, vocabulary = size
    shape = Qwen3Shape(layers, hidden, heads, groups, head_dim, ffn, vocabulary, 5e6, 1e-6, True, 4096)
    folder.mkdir(parents=True)
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": head_dim,
        "intermediate_size": ffn,
        "vocab_size": vocabulary,
        "rope_theta": shape.rope_base,
        "rms_norm_eps": shape.norm_epsilon,
        "tie_word_embeddings": True,
        "max_position_embeddings": shape.max_positions,
        "dtype": "bfloat16",
    }
    write_json(folder / "config.json", config)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        write_json(folder / name, {"stands for": name})
    sizes = expected_shapes(shape)
    count = sum(torch.Size(size).numel() for size in sizes.values())
    block = (torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)) * hidden**-0.5).bfloat16()
    drawn = block.repeat(2 + max(torch.Size(size).numel() for size in sizes.values()) // BLOCK)

    def values(size: tuple[int, ...], seed: int, rows: slice) -> torch.Tensor:
        if len(size) == 1:  # norms, far from 1 so that a swapped one shows
            return torch.rand(size, generator=torch.Generator().manual_seed(seed)).add_(0.5).bfloat16()[rows]
        start = seed * 10_007 % BLOCK
        return drawn[start : start + torch.Size(size).numel()].reshape(size)[rows]

    layout = {name: torch.empty(size, dtype=torch.bfloat16, device="meta") for name, size in sizes.items()}
    values_of = {name: partial(values, size, seed) for seed, (name, size) in enumerate(sizes.items())}
    sums = write_tensors(folder, layout, LazyTensors(values_of))
    write_json(folder / "model.json", {"name": "Random", "weights": count, "files": sums})


class TwoRanks(stored_weights.OneByOne):
    """Writes every matrix as the parts of `RANKS` tensor ranks, as Megatron splits it."""

    def parts(self, name: str) -> Iterator[tuple[slice, ...]]:
        size = self.meta[name].shape
        axis = 1 if name.endswith(("linear_proj.weight", "linear_fc2.weight")) else 0
        # A rank has its part of the gate projection and its part of the up projection.
        count = 1 if "norm" in name else RANKS * (2 if name.endswith("linear_fc1.weight") else 1)
        each = size[axis] // count
        for number in range(count):
            part = [slice(0, length) for length in size]
            part[axis] = slice(number * each, (number + 1) * each)
            yield tuple(part)


def lay_out(base: Path, megatron: Path, folder: Path) -> Path:
    """A trained checkpoint of two tensor ranks, every weight negated, with its manifest."""
    shape = read_shape(base)
    source = megatron / stored_weights.folder_name(0)
    extra = -shape.vocabulary % (128 * RANKS)

    def negated(tensors: LazyTensors, name: str, rows: slice) -> torch.Tensor:
        found = -tensors.rows(name, rows)
        if name != "embedding.word_embeddings.weight":
            return found
        start, stop, _ = rows.indices(shape.vocabulary + extra)
        return joined([found, found.new_ones(stop - start - len(found), shape.hidden)])

    def view(tensors: LazyTensors) -> LazyTensors:
        return LazyTensors({name: partial(negated, tensors, name) for name in tensors})

    layout = to_megatron(read_tensors(base, meta=True), shape)
    written = stored_weights.write_weights(
        folder / "checkpoints", 1, view(stored_weights.read_weights(source)), view(layout), planner=TwoRanks
    )
    manifest = folder / "checkpoint.json"
    write_json(
        manifest,
        {
            "iteration": 1,
            "name": written.name,
            "checkpoint": os.path.relpath(written, folder),
            "shape": shape.as_dict(),
            "weights_sha256": weights_sum(written, shape),
            "inputs": {"base": read_json(megatron / "parity.json")["inputs"]["base"]},
        },
    )
    return manifest


def rounds(
    count: int, made: Path, weights: list[Path], others: list[Path], script: str, *arguments: str
) -> list[dict[str, Any]]:
    """A program several times, each time without what it made before."""
    found = []
    for _ in range(count):
        shutil.rmtree(made, ignore_errors=True)
        found.append(beside_copying(weights, others, made.with_name("copy"), script, *arguments))
        print(json.dumps({script: found[-1]}), flush=True)
    return found


def beside_copying(
    weights: list[Path], others: list[Path], folder: Path, script: str, *arguments: str
) -> dict[str, Any]:
    """A program's seconds between those of copying before and after it, which vary with the system's memory."""
    in_memory(weights)
    before = copied(weights, folder)
    in_memory([*weights, *others])
    measured = program(script, *arguments)
    in_memory(weights)
    after = copied(weights, folder)
    share = (before["seconds"] + after["seconds"]) / 2 / measured["seconds"]
    return measured | {"copy_before": before, "copy_after": after, "speed_as_share_of_copying": share}


def in_memory(files: list[Path]) -> None:
    """Have the system read files into its memory."""
    for file in files:
        sha256(file)


def copied(files: list[Path], folder: Path) -> dict[str, float]:
    """Seconds until copies of the files are on the disk; they are removed."""
    os.sync()
    folder.mkdir()
    start, cpu = time.perf_counter(), time.process_time()
    for file in files:
        shutil.copyfile(file, folder / file.name)
        with open(folder / file.name, "rb") as handle:
            os.fsync(handle.fileno())
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    shutil.rmtree(folder)
    return {"seconds": seconds, "cpu_seconds": cpu}


def program(script: str, *arguments: str) -> dict[str, float]:
    """Run one of the project's programs; its seconds and its largest memory."""
    os.sync()
    start, cpu = time.perf_counter(), sum(os.times()[2:4])
    process = psutil.Popen([sys.executable, str(SCRIPTS / f"{script}.py"), *arguments])
    largest = max(resident(process))
    if process.wait():
        sys.exit(f"{script} failed")
    seconds, cpu = time.perf_counter() - start, sum(os.times()[2:4]) - cpu
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_memory_mb": largest / 1e6}


def resident(process: psutil.Popen) -> Iterator[int]:
    """Resident memory of a process and its children while it runs, in bytes."""
    yield 0
    while process.poll() is None:
        total = 0
        for part in [process, *process.children(recursive=True)]:
            try:
                total += part.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        yield total
        time.sleep(0.05)


if __name__ == "__main__":
    main()
