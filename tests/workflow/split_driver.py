"""Run under torchrun by test_convert_splits.py: Megatron saves an imported model, negated, from several ranks.

As a trainer on GPUs leaves it: bfloat16, tensor and pipeline ranks, the vocabulary rounded up to 128 times the tensor
ranks, the optimiser's state in the same folder.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="iter_0000000 of the import")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tensor", type=int, default=1)
    parser.add_argument("--pipeline", type=int, default=1)
    args = parser.parse_args()

    from megatron.core import parallel_state
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

    from grpo import checkpoint, qwen3
    from grpo.cpu import megatron_on_cpu

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    shape = qwen3.read_shape(args.base)
    padded = -(-shape.vocabulary // (128 * args.tensor)) * 128 * args.tensor
    with megatron_on_cpu():
        parallel_state.initialize_model_parallel(args.tensor, args.pipeline)
        model_parallel_cuda_manual_seed(0)
        qwen3.TransformerConfig = partial(qwen3.TransformerConfig, pipeline_model_parallel_size=args.pipeline)
        qwen3.GPTModel = partial(
            qwen3.GPTModel,
            pre_process=parallel_state.is_pipeline_first_stage(),
            post_process=parallel_state.is_pipeline_last_stage(),
        )
        model = qwen3.build_model(replace(shape, vocabulary=padded), args.tensor, torch.bfloat16).bfloat16()
        checkpoint.load_weights(model, args.weights)
        for parameter in model.parameters():
            parameter.data.neg_()
        ddp = DistributedDataParallel(
            model.config,
            DistributedDataParallelConfig(grad_reduce_in_fp32=True, use_distributed_optimizer=True),
            model,
        )
        optimizer = get_megatron_optimizer(
            OptimizerConfig(
                optimizer="adam", lr=0.0, bf16=True, params_dtype=torch.bfloat16, use_distributed_optimizer=True
            ),
            [ddp],
        )
        for parameter in model.parameters():
            parameter.main_grad.fill_(0.1)
        optimizer.step()
    checkpoint.save(args.output, 1, model, optimizer)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
