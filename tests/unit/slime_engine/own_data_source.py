"""slime's own data source under ours: prints the prompts it asks, and where it stands after a save and a load."""

import argparse
import json
import sys
from pathlib import Path

from absent import mocked

mocked("ray", "qwen_vl_utils")
from slime_engine.data_source import OrderedDataSource  # noqa: E402

args = argparse.Namespace(**json.loads(Path(sys.argv[1]).read_text()))
source = OrderedDataSource(args)


def ask():
    groups = source.get_samples(args.hook_prompts_per_iteration)
    return [[(one.metadata["id"], one.index, one.group_index) for one in group] for group in groups]


asked = [ask() for _ in range(4)]
source.save(3)
asked += [ask()]
source = OrderedDataSource(args)
source.load(-1)  # at a start from nothing
source.load(3)
again = ask()
try:
    source.load(7)
    missing = "went on"
except RuntimeError as error:
    missing = str(error)
print("\n" + json.dumps({"asked": asked, "again": again, "missing": missing}))
