"""Our data source on slime's, or on what stands for it: prints the prompts that it asks, and what it refuses."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from absent import mocked

mocked("ray", "qwen_vl_utils")
from slime_engine.data_source import OrderedDataSource  # noqa: E402

args = argparse.Namespace(**json.loads(Path(sys.argv[1]).read_text()))
source = OrderedDataSource(args)


def ask(times):
    batches = [source.get_samples(args.hook_prompts_per_iteration) for _ in range(times)]
    return [[[(one.metadata["id"], one.index, one.group_index) for one in group] for group in b] for b in batches]


def refused(function, *given):
    try:
        function(*given)
    except RuntimeError as error:
        return str(error)
    return "went on"


source.load(-1)  # at a start from nothing
asked = ask(4)
source.save(3)
asked += ask(3)
source = OrderedDataSource(args)
source.load(3)
again = ask(3)
state = f"{args.save}/rollout/global_dataset_state_dict_{{}}.pt"
shutil.copy(state.format(3), state.format(5))
source.add_samples([])  # after each rollout
too_many = argparse.Namespace(**vars(args) | {"hook_samples": args.hook_samples + 1})
said = {
    "missing": refused(source.load, 7),
    "another": refused(source.load, 5),
    "handed back": refused(source.add_samples, source.get_samples(args.hook_prompts_per_iteration)),
    "size": refused(source.get_samples, args.hook_prompts_per_iteration - 1),
    "dropped": refused(OrderedDataSource, too_many),
}
source.sample_group_index += 1
said["place"] = refused(source.get_samples, args.hook_prompts_per_iteration)
print("\n" + json.dumps({"asked": asked, "again": again, "said": said}))
