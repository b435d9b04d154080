"""Engines and their tasks as a plan sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Engine:
    """How an engine keeps a training in memory.

    Attributes
    ----------
    weights, gradients, optimiser, reference
        Bytes a weight. bfloat16 with the distributed optimiser as Megatron counts it: 2 + 4, and 12 divided by the
        data ranks (theoretical_memory_usage.py, core_v0.14.0).
    sharded
        Whether data ranks share the optimiser's state.
    number
        Bytes of an activation.
    recompute
        Whether only each layer's input is kept for the backward pass.
    whole_vocabulary
        Whether each tensor rank holds logits of the whole vocabulary.
    loss
        Bytes that the loss holds at its peak for each token and each entry of the vocabulary.
    groups_whole
        Whether a micro-batch holds whole groups of answers; else one sequence at least.
    server
        Whether a server (SGLang) samples, from a pool of its own; else the training itself, all answers at once.
    released
        Whether server and training leave the GPU to each other in turn.
    own_layers
        Whether its layers keep what this project's do (`planning.memory.own_layer_activations`).
    pinned
        Bytes a weight of each copy of the weights, or of a state, in main memory from which a GPU copies directly.
    host
        Bytes a weight in other main memory.
    """

    name: str
    weights: float
    gradients: float
    optimiser: float
    reference: float
    sharded: bool
    number: int
    recompute: bool
    whole_vocabulary: bool
    loss: float
    groups_whole: bool
    server: bool
    released: bool
    own_layers: bool
    pinned: tuple[float, ...]
    host: float


# slime's loss holds the logits in bfloat16, and copies in float32 for log-probabilities and entropy. In main memory it
# keeps a copy of the weights and, with a kl_beta above 0, the reference (v0.2.1, utils/tensor_backper.py).
SLIME = Engine(
    name="slime",
    weights=2,
    gradients=4,
    optimiser=12,
    reference=0,
    sharded=True,
    number=2,
    recompute=True,
    whole_vocabulary=False,
    loss=18,
    groups_whole=False,
    server=True,
    released=True,
    own_layers=False,
    pinned=(2, 2),
    host=0,
)


def own_loop(precision: str = "fp32", optimizer: str = "replicated", recompute: bool = False) -> Engine:
    """The engine megatron: this project's loop.

    Its loss holds, in float32, scaled logits, their log-softmax, probabilities, the product for the entropy and a
    gradient.

    Parameters
    ----------
    precision
        `fp32`, or `bf16` with gradients, master weights and Adam's state in float32.
    optimizer
        Where Adam's state lies: `replicated`, `distributed` over the data ranks, or `offloaded` from the GPU.
    recompute
        As in `Engine`.
    """
    number, optimiser = (4, 8) if precision == "fp32" else (2, 12)
    offloaded = optimizer == "offloaded"
    return Engine(
        name="megatron",
        weights=number,
        gradients=4,
        optimiser=0 if offloaded else optimiser,
        reference=number,
        sharded=optimizer != "replicated",
        number=number,
        recompute=recompute,
        whole_vocabulary=True,
        loss=20,
        groups_whole=True,
        server=False,
        released=False,
        own_layers=True,
        pinned=(4, 4) if offloaded else (),  # weights and gradients (`grpo.offload`)
        host=8 if offloaded else 0,  # two moments
    )


def engine_of(name: str, recompute: bool, released: bool, precision: str, optimizer: str) -> Engine:
    """An engine by its name and settings; each takes those that it has."""
    if name == "slime":
        return replace(SLIME, recompute=recompute, released=released)
    return own_loop(precision, optimizer, recompute)


@dataclass(frozen=True)
class Task:
    """What a training is asked to do, and on how many GPUs.

    Attributes
    ----------
    tensor, pipeline, context, data
        GPUs that share a layer, the layers, a sequence; copies of the model.
    samples, group
        Answers an iteration, and answers to each prompt.
    prompt, answer
        Tokens; of the answer the most.
    micro_batch
        Most tokens in one forward pass on a GPU.
    pool
        Share of the GPU's memory for the server's weights and cache.
    server_gpus
        GPUs of one server.
    """

    tensor: int
    pipeline: int
    context: int
    data: int
    samples: int
    group: int
    prompt: int
    answer: int
    micro_batch: int
    pool: float
    server_gpus: int

    @property
    def gpus(self) -> int:
        """All of them."""
        return self.tensor * self.pipeline * self.context * self.data

    @property
    def length(self) -> int:
        """Longest sequence."""
        return self.prompt + self.answer
