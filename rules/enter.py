"""Start a container on another node of a job as the job's own was started.

    srun --export=CONTAINER_START PYTHON rules/enter.py IMAGE PROGRAM ...

srun is called from inside the job's container, but its tasks begin on the nodes themselves, outside of any: this
Python, the one that runs Snakemake, and Apptainer are the node's.
"""

from __future__ import annotations

import os
import shutil
import sys

from isolation import started_elsewhere


def main() -> None:
    """Become Apptainer: signals to the task are for the container."""
    node = os.environ.get("SLURMD_NODENAME")
    if node is None:
        sys.exit("containers: error: SLURMD_NODENAME is not set. The workflow starts this program, through srun.")
    try:
        call, environment = started_elsewhere(sys.argv[1:], os.environ)
    except OSError as error:
        sys.exit(f"containers: error: {node}: {error.filename}: {error.strerror}.")
    program = shutil.which(call[0], path=environment.get("PATH"))
    if program is None:
        sys.exit(f"containers: error: {node}: {call[0]}: not on the PATH on which the job's first node has it.")
    os.execve(program, call, environment)


if __name__ == "__main__":
    main()
