"""What SGLang's engine is told: the device and how a model is spread over GPUs, memory, determinism."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import InputError
from inference.model import Model

# Kernels of attention on CUDA that SGLang has deterministic ones for.
ATTENTION = ("fa3", "flashinfer", "triton")
# Those of them for which SGLang 0.5.6 keeps the prefix cache on; for the others it would turn it off with a warning.
CACHED = ("fa3", "triton")
# Numbers of a head that SGLang 0.5.6 rotates by itself on CUDA and all of those kernels take. For others, 512 aside, it
# imports vLLM (layers/rotary_embedding.py), which neither it nor its image brings.
HEAD_SIZES = (64, 128, 256)
# Memory for keys and values on a CPU; a batch that needs more is worked off in parts.
CACHE_BYTES = 2**30
# Messages about an unfinished answer, each of which holds all of its tokens so far: one after so many tokens, and
# not more than so many in all, or a long answer is copied hundreds of times.
STREAM_INTERVAL, STREAM_MESSAGES = 50, 32
# SGLang keeps one token of slack for each request, and refuses a prompt that would fill its context.
SLACK = 8


@dataclass(frozen=True)
class Hardware:
    """Where a model runs.

    Attributes
    ----------
    device
        cpu or cuda.
    tensor
        Processes, on CUDA each with a GPU, that share one copy of the model.
    data
        Copies of the model; samples are dealt out among them.
    memory_fraction
        Share of a GPU's memory for weights, keys and values.
    attention
        One of `ATTENTION`; on CUDA only.
    prefix_cache
        Keep the keys and values of prompts, for others that begin alike.
    """

    device: str
    tensor: int = 1
    data: int = 1
    memory_fraction: float = 0.85
    attention: str = ATTENTION[0]
    prefix_cache: bool = False

    def check(self) -> None:
        """Refuse what SGLang would change by itself.

        Raises
        ------
        InputError
            If the cache is asked for with kernels that make answers depend on it.
        """
        if self.device == "cuda" and self.prefix_cache and self.attention not in CACHED:
            raise InputError(
                f"infer.prefix_cache: with infer.attention: {self.attention} answers would depend on what is in the "
                f"cache. Set it to false, or attention to {' or '.join(CACHED)}."
            )

    def check_model(self, model: Model) -> None:
        """Refuse a model that SGLang has no kernels for.

        Raises
        ------
        InputError
            Names the size of its heads.
        """
        if self.device == "cuda" and model.head_size not in HEAD_SIZES:
            raise InputError(
                f"{model.folder}: heads of {model.head_size}; on CUDA SGLang has kernels for "
                f"{', '.join(map(str, HEAD_SIZES))}. Take another model, or set device to cpu."
            )

    def __str__(self) -> str:
        copies = f", {self.data} copies" if self.data > 1 else ""
        return self.device + (f", {self.tensor} processes each" if self.tensor > 1 else "") + copies

    @property
    def gpus(self) -> int:
        """GPUs that are needed."""
        return self.tensor * self.data if self.device == "cuda" else 0

    def meaning(self) -> dict[str, Any]:
        """What of it answers may depend on: 16-bit sums differ with the kernel and with how they are split.

        Not which copy of the model answers: copies are equal, and a token depends on nothing else in its batch.
        """
        if self.device == "cpu":
            return {"device": self.device} | ({"tensor": self.tensor} if self.tensor > 1 else {})
        return {
            "device": self.device,
            "dtype": "bfloat16",
            "tensor": self.tensor,
            "attention": self.attention,
            "prefix_cache": self.prefix_cache,
        }


@dataclass(frozen=True)
class Load:
    """What the engine has to bear.

    Attributes
    ----------
    batch
        Samples answered at a time, by all copies of the model together.
    longest
        Tokens of the longest prompt with its answer, a second pass included.
    max_new_tokens
        Tokens of the longest answer.
    greedy
        Whether answers are the likeliest ones.
    constrained
        Whether some answers have to match a regular expression.
    """

    batch: int
    longest: int
    max_new_tokens: int
    greedy: bool
    constrained: bool = False


def engine_settings(model: Model, hardware: Hardware, load: Load, timeout_s: float) -> Mapping[str, Any]:
    """Arguments of SGLang 0.5.6's engine; every one is a field of its ServerArgs.

    Parameters
    ----------
    timeout_s
        Seconds without a sign of life after which the program gives up.
    """
    share = math.ceil(load.batch / hardware.data)
    settings: dict[str, Any] = {
        "model_path": str(model.folder),
        "device": hardware.device,
        "tp_size": hardware.tensor,
        "dp_size": hardware.data,
        # A model made for 262,144 tokens would have tables for as many for each sample.
        "context_length": min(model.context, load.longest + SLACK),
        # Token ids in, token ids out; only a grammar needs to know the texts of tokens.
        "skip_tokenizer_init": not load.constrained,
        "grammar_backend": "llguidance" if load.constrained else "none",
        "max_running_requests": share,
        # Where it is off, what was asked before cannot change how a prompt is computed.
        "disable_radix_cache": not hardware.prefix_cache,
        "enable_deterministic_inference": hardware.device == "cuda" or not load.greedy,
        "stream_interval": max(STREAM_INTERVAL, math.ceil(load.max_new_tokens / STREAM_MESSAGES)),
        # The system picks a free port: two engines never want the same one. Processes that share a model have to
        # agree on one; SGLang looks for it.
        "nccl_port": 0 if hardware.tensor == 1 else None,
        "random_seed": 0,
        "log_level": "error",
        # SGLang's own watchdog has the last word only.
        "watchdog_timeout": timeout_s + 60,
    }
    if hardware.device == "cpu":
        return settings | {
            "dtype": "float32",
            "attention_backend": "torch_native",
            "disable_cuda_graph": True,
            "disable_overlap_schedule": True,
            "max_total_tokens": cache_tokens(model, share, load.longest),
        }
    return settings | {
        "dtype": "bfloat16",
        "attention_backend": hardware.attention,
        "mem_fraction_static": hardware.memory_fraction,
    }


def cache_tokens(model: Model, batch: int, longest: int) -> int:
    """Tokens whose keys and values have to be in memory at once: those of a whole batch, if they fit."""
    fit = CACHE_BYTES // model.cache_bytes_per_token
    # One answer has to fit in any case.
    return max(min(batch * (longest + 1), fit), longest + 1)
