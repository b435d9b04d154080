"""slime's own lines of metrics: what its rollout manager, its evaluation and its trainer log of one rollout."""

import argparse
import math

from absent import mocked

mocked("ray", "sglang_router", "wandb", "six", "aiohttp", "pylatexenc", "qwen_vl_utils")
from slime.ray.rollout import _log_eval_rollout_data, _log_rollout_data  # noqa: E402
from slime.utils.logging_utils import configure_logger  # noqa: E402
from slime.utils.timer import Timer  # noqa: E402
from slime.utils.train_metric_utils import log_perf_data_raw  # noqa: E402
from slime.utils.types import Sample  # noqa: E402

configure_logger()
args = argparse.Namespace(
    load_debug_rollout_data=None, rollout_num_gpus=2, advantage_estimator="grpo", reward_key=None, log_passrate=False,
    sglang_speculative_algorithm=None, log_reward_category=None, wandb_always_use_train_step=False, use_wandb=False,
    use_tensorboard=False,
)  # fmt: skip
samples = [Sample(group_index=0, index=i, response="a", response_length=3 + i, reward=math.nan) for i in (0, 1)]
_log_rollout_data(6, args, samples, None, 4.0)
_log_eval_rollout_data(6, args, {"validation": {"rewards": [1.0, math.nan], "samples": samples}})
times = {"actor_train": 5.0, "train": 6.0, "train_wait": 4.5, "ref_log_probs": 1.0, "update_weights": 2.0}
for name, seconds in times.items():
    Timer().add(name, seconds)
log_perf_data_raw(6, args, True, None)
