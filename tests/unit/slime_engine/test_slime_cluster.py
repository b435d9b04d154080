"""Ray on the machines of a job: its commands and its variables."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from common.errors import InputError
from slime_engine import cluster, processes
from slime_engine.cluster import START, Programs, own_variables, worker_command
from slime_engine.keeper import kept
from slime_engine.nodes import Nodes, free_ports

PROGRAMS = Programs(Path("/slime/train.py"), Path("/megatron"), "/bin/ray")

VARIABLES = {"RAY_ADDRESS": "10.0.0.1:5000", "no_proxy": "a,b c"}

CONTAINER = {"APPTAINER_CONTAINER": "/images/train-slime.sif", START: "eyJweXRob24iOiAiL3Byb2plY3QvcHl0aG9uIn0="}


def test_on_other_machines_ray_is_one_task_each_with_a_keeper() -> None:
    command = worker_command(PROGRAMS, Nodes(3, 8, ("node2", "node3")), VARIABLES, {})
    assert command[0] == "srun"
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--nodelist=node2,node3"} <= set(command)
    assert "--export=CONTAINER_START" not in command  # all of the environment
    program = command[command.index("env") :]
    assert program[:3] == ["env", "RAY_ADDRESS=10.0.0.1:5000", "no_proxy=a,b c"]
    keeper = program[program.index(sys.executable) :]
    assert keeper[1:3] == [kept([])[1], "0"]
    assert keeper[3:6] == [sys.executable, str(cluster.SCRIPTS / "slime_engine" / "address.py"), "10.0.0.1"]
    assert keeper[6:9] == ["/bin/ray", "start", "--address=10.0.0.1:5000"]
    assert {"--block", "--num-gpus=8", "--num-cpus=10"} <= set(keeper)


def test_out_of_a_container_they_are_in_the_same_image_and_only_how_to_start_it_goes_out() -> None:
    nodes = Nodes(2, 8, ("node2",))
    command, without = (worker_command(PROGRAMS, nodes, VARIABLES, given) for given in (CONTAINER, {}))
    place = without.index("env")
    entered = command[place : command.index("env")]
    assert entered == [
        "--export=CONTAINER_START",
        "/project/python",
        str(cluster.SCRIPTS.parent / "rules" / "enter.py"),
        "/images/train-slime.sif",
    ]
    assert command == [*without[:place], *entered, *without[place:]]


def test_a_container_of_which_nobody_says_how_it_was_started_starts_no_others() -> None:
    given = {"APPTAINER_CONTAINER": "/images/train-slime.sif"}
    with pytest.raises(InputError, match=r"CONTAINER_START is not set.*Start the training with Snakemake"):
        worker_command(PROGRAMS, Nodes(2, 8, ("node2",)), VARIABLES, given)


def test_the_jobs_own_variables_come_before_the_users() -> None:
    base = {"PYTHONPATH": "/mine", "RAY_ADDRESS": "another:1", "LANG": "C", "OMP_NUM_THREADS": "1"}
    made = own_variables(base, PROGRAMS, Path("/imports"), "10.0.0.1:5000")
    assert made["PYTHONPATH"] == "/imports:/megatron:/mine"
    assert made["RAY_ADDRESS"] == "10.0.0.1:5000"
    assert made["RAY_memory_monitor_refresh_ms"] == "0"  # it sees the machine's memory, not the job's
    assert (made["CUDA_DEVICE_MAX_CONNECTIONS"], made["OMP_NUM_THREADS"]) == ("1", "1")
    assert not {"LANG", "SLIME_HOST_IP"} & made.keys()  # each machine has its own


class Answers(BaseHTTPRequestHandler):
    """A server to ask."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("library", ["requests", "httpx", "urllib.request"])
@pytest.mark.parametrize("proxy", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_an_address_of_this_machine_is_asked_without_the_clusters_proxy(
    monkeypatch: pytest.MonkeyPatch, library: str, proxy: str
) -> None:
    ask = {"urllib.request": "urlopen({!r}).status"}.get(library, "get({!r}).status_code")
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(proxy, f"http://127.0.0.1:{free_ports(1)[0]}")  # where nobody listens
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    # An address that no list of exceptions holds, as the machine's own in a network.
    server = HTTPServer(("127.0.0.2", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        program = f"import {library}; print({library}.{ask.format(f'http://127.0.0.2:{server.server_port}')})"
        own = own_variables(os.environ, PROGRAMS, Path("/imports"), "10.0.0.1:5000") | {"PYTHONPATH": ""}
        said = []
        for variables in (own, {}):
            with processes.process([sys.executable, "-c", program], variables, subprocess.PIPE) as running:
                said.append(running.stdout.read().decode().splitlines()[-1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert said[0] == "200"
    if (proxy, library) not in {("ALL_PROXY", "urllib.request")}:  # the control: only urllib does not know it
        assert said[1] != "200"
