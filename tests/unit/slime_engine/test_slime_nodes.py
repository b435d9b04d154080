"""The machines of a job, and where they are reached."""

from __future__ import annotations

import ipaddress
import stat
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from common.errors import InputError
from slime_engine import nodes
from slime_engine.nodes import Nodes, free_ports, nodes_of_job


def test_ports_are_free_and_different() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20


SCONTROL = """#!/bin/sh
case "$*" in
  "--oneliner show job 7") echo "JobId=7 JobName=a b NodeList=node[1-2] BatchHost=node1 NumNodes=2" ;;
  "--oneliner show job 8") echo "JobId=8 NodeList=node1" ;;
  "show hostnames node[1-2]") echo node1; echo node2 ;;
  "show hostnames node1") echo node1 ;;
  *) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1 ;;
esac
"""


def test_the_machines_of_a_job_are_those_that_slurm_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nodes_of_job(1, 8, {}) == Nodes(1, 8, ())
    with pytest.raises(InputError, match="1 machines, but the job has 2"):
        nodes_of_job(1, 8, {"SLURM_JOB_NUM_NODES": "2"})
    with pytest.raises(InputError, match=r"2 machines, but this is no job of Slurm\."):
        nodes_of_job(2, 8, {})
    # A step on one node, as Snakemake starts it.
    given = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODELIST": "node1", "SLURMD_NODENAME": "node1"}
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="srun is not found"):
        nodes_of_job(2, 8, given)
    for name, text in (("srun", "#!/bin/sh\n"), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    assert nodes_of_job(2, 8, given) == Nodes(2, 8, ("node2",))
    with pytest.raises(InputError, match=r"2 machines, but the job has 1\. Set `nodes: 2`"):
        nodes_of_job(2, 8, given | {"SLURM_JOB_ID": "8"})
    with pytest.raises(InputError, match=r"scontrol fails .*Invalid job id"):
        nodes_of_job(2, 8, given | {"SLURM_JOB_ID": "9"})


def test_the_address_is_the_one_on_the_way_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    way = MagicMock()
    way.__enter__.return_value = way
    way.getsockname.return_value = ("10.0.0.1", 4000)
    monkeypatch.setattr(nodes.socket, "socket", lambda *_: way)
    monkeypatch.setattr(nodes.socket, "gethostbyname", lambda _: "127.0.1.1")  # as Debian has it
    assert nodes.address_of(Nodes(3, 8, ("node2", "node3"))) == "10.0.0.1"
    assert way.connect.call_args.args[0][0] == "node2"
    assert ipaddress.ip_address(nodes.address_of(Nodes(1, 8, ()))).is_loopback


def test_an_address_that_no_other_machine_reaches_is_refused() -> None:
    with pytest.raises(InputError, match=r"the name 127\.0\.0\.1 stands for this machine itself"):
        nodes.address_of(Nodes(2, 8, ("127.0.0.1",)))
    with pytest.raises(InputError, match=r"no way to the machine no-such-machine\.invalid"):
        nodes.address_of(Nodes(2, 8, ("no-such-machine.invalid",)))
