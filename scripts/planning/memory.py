"""Memory of each GPU in a training, part by part, and main memory for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from grpo.shape import Qwen3Shape
from planning.machine import SLIME, Engine, Task
from planning.model import cache_bytes, weights

# CUDA's context, NCCL's buffers, workspaces: of one process, and of trainer and server together, of which slime #1951
# shows 3.2 GiB for one.
OVERHEAD, OVERHEAD_WITH_SERVER = 1.5e9, 5e9
# Of a server's process, before it measures the free memory that its pool is a share of: a GPU of 24,564 MiB (23.99 GiB)
# had 23.08 GiB then (tests/unit/test_planning_published.py).
BEFORE_SERVER = 0.98e9
# Tokens of a prompt that SGLang 0.5.6 reads at once, at least, and up to which memory (60 GiB) half of them
# (server_args.py).
_CHUNK, _CHUNK_HALVED_BELOW = 8192, 64.4e9
_LOGIT_COPIES = 5  # of the own sampler's last step: logits, log-softmax, probabilities, their sums, the draw


@dataclass(frozen=True)
class Footprint:
    """Bytes of one GPU, by part.

    Attributes
    ----------
    training
        While the weights are updated.
    sampling
        While answers are sampled.
    at_once
        Answers of full length that a server can hold at the same time, for each of its GPUs; None without a server.
    """

    training: dict[str, float]
    sampling: dict[str, float]
    at_once: int | None

    @property
    def peak(self) -> float:
        """The larger of the two phases' sums."""
        return max(sum(self.training.values()), sum(self.sampling.values()))


def footprint(shape: Qwen3Shape, engine: Engine, task: Task, memory: float) -> Footprint:
    """Memory of the fullest GPU, of GPUs that have so many bytes each.

    Sources: states as in Megatron's own theoretical_memory_usage.py; activations after Korthikanti et al. 2022
    (`layer_activations`); logits as each engine's loss holds them.
    """
    own = shard_weights(shape, task)
    shared = task.data * task.context if engine.sharded else 1
    states = {
        "weights": own * engine.weights,
        "gradients": own * engine.gradients,
        "optimiser": own * engine.optimiser / shared,
        "reference": own * engine.reference,
    }
    tokens, answers = micro_batch(engine, task)
    overhead = OVERHEAD_WITH_SERVER if engine.server else OVERHEAD
    training = states | {
        "activations": activations(shape, engine, task, tokens),
        "logits": answers * shape.vocabulary * engine.loss / (1 if engine.whole_vocabulary else task.tensor),
        "overhead": overhead,
    }
    token = cache_bytes(shape, 2 if engine.server else engine.number)
    if engine.server:
        served = weights(shape) * 2.0 / task.server_gpus
        pool = task.pool * (memory - BEFORE_SERVER)
        cache = max(0.0, pool - served)
        # What was released is on the host; contexts stay.
        sampling = {"server's weights": served, "server's cache": cache, "overhead": overhead}
        if not engine.released:
            training, sampling = training | sampling, states | sampling
        return Footprint(training, sampling, int(cache * task.server_gpus / (token * task.length)) // task.server_gpus)
    # Each prompt is read once, then its cache is copied for each answer.
    sequences = task.samples / task.data * (1 + 1 / task.group)
    sampling = states | {
        "gathered weights": weights(shape) * float(engine.number) if task.tensor > 1 else 0.0,
        "KV cache": sequences * task.length * token,
        "logits": task.samples / task.data * shape.vocabulary * 4.0 * _LOGIT_COPIES,
        "overhead": overhead,
    }
    return Footprint(training, sampling, None)


def main_memory(shape: Qwen3Shape, engine: Engine, task: Task) -> dict[str, float]:
    """Bytes that a whole training keeps in main memory for its GPUs, by part, besides what any program takes.

    What a trainer has on its GPU when it leaves it to the server has a place there, too: slime v0.2.1 sets
    torch_memory_saver's ``CPU_BACKUP`` (ray/actor_group.py).
    """
    embedding = shape.vocabulary * shape.hidden
    twice = task.pipeline > 1 and shape.tied_embeddings  # the last stage has the embedding, too
    copies = task.data * task.context
    held = copies * (weights(shape) + (embedding if twice else 0))
    parts = {}
    if engine.pinned:
        sizes = [*_matrices(shape), *[embedding] * (2 if twice or not shape.tied_embeddings else 1)]
        # torch gives it out in powers of two (CachingHostAllocator.h), for each rank's part of a tensor.
        pinned = sum(2.0 ** ceil(log2(each * size / task.tensor)) for each in engine.pinned for size in sizes)
        name = "copies of weights" if engine.server else "offloaded optimiser"
        parts[name] = copies * task.tensor * pinned + engine.host * held
    if engine.released:
        shared = copies if engine.sharded else 1
        parts["released trainers"] = (engine.weights + engine.gradients + engine.optimiser / shared) * held
    return parts


def _matrices(shape: Qwen3Shape) -> list[int]:
    """Weights of each matrix of all layers, as Megatron has them."""
    heads, groups = shape.head_dim * shape.heads, shape.head_dim * shape.query_groups
    layer = [heads + 2 * groups, heads, 2 * shape.ffn, shape.ffn]
    return [shape.hidden * width for width in layer] * shape.layers


def serving(shape: Qwen3Shape, task: Task, memory: float) -> dict[str, float]:
    """Bytes of each GPU, by part, where SGLang alone has it."""
    parts = footprint(shape, SLIME, task, memory).sampling
    # What a part of a prompt takes in a layer: its input, what is added to it, gate and up in one, and their product.
    layer = 2.0 * (2 * shape.hidden + 3 * shape.ffn / task.server_gpus)
    chunk = _CHUNK if memory > _CHUNK_HALVED_BELOW else _CHUNK // 2
    return parts | {"overhead": OVERHEAD, "a part of a prompt": chunk * layer}


def shard_weights(shape: Qwen3Shape, task: Task) -> float:
    """Weights on the fullest GPU: the first stage of a pipeline has the embedding, a tied one the last stage, too."""
    embedding = shape.vocabulary * shape.hidden
    both = embedding * (1 if shape.tied_embeddings else 2)
    if task.pipeline == 1:
        return weights(shape) / task.tensor
    return ((weights(shape) - both) / task.pipeline + embedding) / task.tensor


def micro_batch(engine: Engine, task: Task) -> tuple[int, int]:
    """Tokens of a forward pass on one GPU, and those of them that get logits."""
    if not engine.groups_whole:
        tokens = max(task.micro_batch, -(-task.length // task.context))
        return tokens, tokens
    group = task.prompt + task.group * task.answer  # its prompt once
    tokens = max(task.micro_batch, group)
    return tokens, tokens * task.group * task.answer // group


def activations(shape: Qwen3Shape, engine: Engine, task: Task, tokens: int) -> float:
    """What a micro-batch keeps for its backward pass, in all layers of the fullest GPU."""
    inputs = shape.hidden * engine.number
    if engine.own_layers:
        whole = own_layer_activations(shape, engine.number, task)
    else:
        whole, inputs = layer_activations(shape, engine.number, task.tensor), inputs / task.tensor
    layers = shape.layers / task.pipeline
    in_flight = task.pipeline  # micro-batches of the first stage
    if engine.recompute:
        return tokens * (inputs * layers * in_flight + whole)
    return tokens * whole * layers * in_flight


def layer_activations(shape: Qwen3Shape, number: int, tensor: int) -> float:
    """Bytes that one layer keeps of one token.

    Korthikanti et al. 2022 count ``s b h (34 + 5 a s / h)`` for a layer with dropout, 4 h wide and with scores kept.
    For Qwen3 with attention that keeps no scores, in numbers: input of both norms and of both first matrices (4
    hidden); queries and keys before their norms; queries, keys, values and output of the attention; gate, up and
    their product (3 ffn).

    Parameters
    ----------
    number
        Bytes of an activation.
    tensor
        Ranks that share a layer, with sequence parallelism.
    """
    normed = shape.head_dim * (shape.heads + shape.query_groups)
    attention = shape.head_dim * (2 * shape.heads + 2 * shape.query_groups)
    return number * (4 * shape.hidden + normed + attention + 3 * shape.ffn) / tensor


def own_layer_activations(shape: Qwen3Shape, number: int, task: Task) -> float:
    """Bytes that one layer of the own loop keeps of one packed token on a GPU.

    Nothing but norms is fused there, and its attention is handed keys and values for each head, and those of the
    prompt again for each answer (`grpo.qwen3.PackedAttention`). In numbers: 4 hidden, on every rank; queries, keys and
    values together; queries before their norm, and as the attention takes them, its output in parts and in one; keys
    and values for each head; cosines and sines; gate and up, its activation, up again, and the product (5 ffn).
    Counted on a CPU in tests/unit/grpo/test_activations.py.

    Parameters
    ----------
    number
        Bytes of an activation.
    task
        Its ``group``, ``prompt`` and ``answer``, and ``tensor`` ranks that share a layer, without sequence parallelism.
    """
    group = task.prompt + task.group * task.answer
    repeated = (task.prompt + task.group * task.length) / group
    attention = shape.head_dim * (shape.heads * (5 + 2 * repeated) + 2 * shape.query_groups)
    return number * (4 * shape.hidden + 4 * shape.head_dim + (attention + 5 * shape.ffn) / task.tensor)
