"""Print what Snakemake, called with these arguments, would ask a cluster for: each rule's resources, by attempt.

The workflow is read as for a run and stops where its jobs would begin.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from snakemake.api import DAGApi
from snakemake.cli import args_to_api, parse_args
from snakemake.iocontainers import InputFiles, Wildcards

ATTEMPTS = (1, 2, 4)


def told(self: DAGApi, *_: Any, **__: Any) -> None:
    """In place of an execution: rules that are submitted, each with its resources at each of the attempts."""
    workflow = self.workflow_api._workflow
    asked = {
        rule.name: [dict(rule.expand_resources(Wildcards(), InputFiles(), attempt).items()) for attempt in ATTEMPTS]
        for rule in workflow.rules
        if rule.name not in workflow._localrules and not rule.norun
    }
    print(json.dumps(asked))


if __name__ == "__main__":
    DAGApi.execute_workflow = told  # type: ignore[method-assign]
    args_to_api(*reversed(parse_args(sys.argv[1:])))
