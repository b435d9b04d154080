"""Starting and ending programs; the machines, ports and variables of a job; slime's folder of checkpoints."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from common.errors import InputError
from slime_engine import checkpoints, checks, cluster, nodes, processes
from slime_engine.cluster import START, Programs, own_variables, worker_command
from slime_engine.keeper import kept
from slime_engine.nodes import Nodes, free_ports, nodes_of_job

PROGRAMS = Programs(Path("/slime/train.py"), Path("/megatron"), "/bin/ray")
# Leaves its parent and its session, and lasts.
STRAY = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(300)
"""


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("way", ["ends", "TERM", "its parent is killed"])
def test_a_keeper_leaves_nothing_behind(tmp_path: Path, way: str) -> None:
    path = tmp_path / "stray"
    command = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {STRAY!r}, {str(path)!r}])"
    command += "" if way == "ends" else "; time.sleep(300)"
    parent = f"""
import os, subprocess, sys, time
sys.path.insert(0, {str(cluster.SCRIPTS)!r})
from slime_engine.keeper import kept
keeper = subprocess.Popen(kept([sys.executable, "-c", {command!r}]), start_new_session=True)
print(keeper.pid, flush=True)
sys.exit(keeper.wait())
"""
    running = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    keeper = int(running.stdout.readline())
    wait_until(lambda: path.exists() and path.read_text())
    stray = int(path.read_text())
    if way == "TERM":
        os.kill(keeper, signal.SIGTERM)
    elif way != "ends":
        running.kill()
    code = running.wait(60)
    assert code == {"ends": 0, "TERM": 128 + 15}.get(way, -9)
    wait_until(lambda: not alive(stray))
    wait_until(lambda: not alive(keeper))
    running.stdout.close()


@pytest.mark.parametrize(("block", "lives"), [("descendants_ended", True), ("control", False)])
def test_what_ran_before_goes_on_and_orphans_are_ended(tmp_path: Path, block: str, lives: bool) -> None:
    path = tmp_path / "stray"
    program = f"""
import contextlib, os, subprocess, sys, time
sys.path.insert(0, {str(cluster.SCRIPTS)!r})
from slime_engine import keeper
@contextlib.contextmanager
def control():
    keeper.adopt_orphans()
    yield
    keeper.end_descendants(os.getpid())
meter = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
with {"keeper.descendants_ended" if lives else block}():
    subprocess.run([sys.executable, "-c", {STRAY!r}, {str(path)!r}])
    own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    while not (os.path.exists({str(path)!r}) and os.path.getsize({str(path)!r})): time.sleep(0.05)
print(meter.poll() is None, own.poll() is None, flush=True)
meter.kill()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(lives), "False"], done.stderr
    assert not alive(int(path.read_text()))


def test_without_a_keeper_it_would_stay(tmp_path: Path) -> None:
    path = tmp_path / "stray"
    subprocess.run([sys.executable, "-c", STRAY, path], check=True)
    wait_until(lambda: path.exists() and path.read_text())
    stray = int(path.read_text())
    assert alive(stray)
    os.kill(stray, signal.SIGKILL)


def test_a_keeper_passes_the_exit_code_on() -> None:
    assert subprocess.run(kept([sys.executable, "-c", "raise SystemExit(7)"])).returncode == 7
    assert subprocess.run(kept(["/no/such/program"]), stderr=subprocess.DEVNULL).returncode == 127


def test_lines_come_as_they_are_said_and_silence_shows() -> None:
    said = "import time; print('one', flush=True); time.sleep(0.6); print('two\\nthree', end='', flush=True)"
    with subprocess.Popen([sys.executable, "-c", said], stdout=subprocess.PIPE) as running:
        lines = list(processes.lines(running.stdout, 0.2))
    assert [line for line in lines if line is not None] == [b"one", b"two", b"three"]
    assert None in lines


def test_a_program_that_always_talks_is_looked_at_all_the_same() -> None:
    said = "import time\nwhile True: print('retry', flush=True); time.sleep(0.02)"
    with subprocess.Popen([sys.executable, "-c", said], stdout=subprocess.PIPE) as running:
        heard = [line for line, _ in zip(processes.lines(running.stdout, 0.2), range(100), strict=False)]
        running.kill()
    assert 0 < heard.count(None) < 50
    assert heard.count(b"retry") == 100 - heard.count(None)


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
    assert nodes.address_of(Nodes(1, 8, ())) == "127.0.0.1"


def test_an_address_that_no_other_machine_reaches_is_refused() -> None:
    with pytest.raises(InputError, match=r"the name 127\.0\.0\.1 stands for this machine itself"):
        nodes.address_of(Nodes(2, 8, ("127.0.0.1",)))
    with pytest.raises(InputError, match=r"no way to the machine no-such-machine\.invalid"):
        nodes.address_of(Nodes(2, 8, ("no-such-machine.invalid",)))


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
    assert keeper[1:6] == [kept([])[1], "0", "/bin/ray", "start", "--address=10.0.0.1:5000"]
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
    assert "LANG" not in made


def test_on_one_machine_the_router_listens_there_alone() -> None:
    alone, several = (own_variables({}, PROGRAMS, Path("/imports"), head) for head in ("127.0.0.1:1", "10.0.0.1:1"))
    assert alone["SLIME_HOST_IP"] == "127.0.0.1"
    assert "SLIME_HOST_IP" not in several  # each machine has its own


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


def test_a_program_has_them_and_the_rest_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("RAY_ADDRESS", "another:1")
    with processes.process(["env"], VARIABLES, subprocess.PIPE) as running:
        said = running.stdout.read().decode().splitlines()
    assert {"LANG=C", "RAY_ADDRESS=10.0.0.1:5000"} <= set(said)


def test_the_reward_can_be_imported_where_slime_runs(tmp_path: Path) -> None:
    imports = cluster.link_imports(tmp_path / "imports")
    variables = own_variables(os.environ, PROGRAMS, imports, "127.0.0.1:1")
    checks.check_reward("slime_engine.hooks.reward", variables)
    with pytest.raises(InputError, match=r"cannot be imported .*no attribute 'missing'"):
        checks.check_reward("slime_engine.hooks.missing", variables)
    with pytest.raises(InputError, match="is no coroutine function"):
        checks.check_reward("slime_engine.hooks.answer_text", variables)
    with pytest.raises(InputError, match="No module named 'slime_engine'"):
        checks.check_reward("slime_engine.hooks.reward", variables | {"PYTHONPATH": ""})


def test_a_data_file_that_slime_would_not_read_is_refused(tmp_path: Path) -> None:
    checks.check_samples(tmp_path / "train.jsonl", 8, 8)
    with pytest.raises(InputError, match=r"names end in \.jsonl"):
        checks.check_samples(tmp_path / "train.json", 8, 8)
    with pytest.raises(InputError, match="7 samples, but an iteration asks 8"):
        checks.check_samples(tmp_path / "train.jsonl", 7, 8)


class Words:
    """A tokenizer of words."""

    chat_template = "{{ words }}"
    eos_token_id = 2

    def apply_chat_template(self, prompts: list[list[dict[str, str]]], add_generation_prompt: bool) -> list[list[str]]:
        return [prompt[0]["content"].split() for prompt in prompts]

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return {1: "<|endoftext|>", 2: "<|im_end|>"}[ids[0]]


def test_lengths_leave_no_prompt_out() -> None:
    rows = [{"prompt": [{"content": "a b"}]}, {"prompt": [{"content": "a b c d"}]}]
    lengths = checks.prompt_lengths(Words(), {Path("t.jsonl"): rows}, 6, 100)
    assert (lengths.prompt, lengths.answer, lengths.context) == (4, 6, 18)
    assert checks.prompt_lengths(Words(), {Path("t.jsonl"): rows}, 6, 10).context == 10
    with pytest.raises(InputError, match=r"t.jsonl, line 2: prompt of 4 tokens and 7 new ones exceed the model's 10"):
        checks.prompt_lengths(Words(), {Path("t.jsonl"): rows}, 7, 10)
    with pytest.raises(InputError, match="no chat template"):
        checks.prompt_lengths(SimpleNamespace(chat_template=None), {Path("t.jsonl"): rows}, 6, 100)


def test_every_token_that_ends_an_answer_is_known(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 1]}')
    assert checks.stop_texts(tmp_path, Words()) == ["<|endoftext|>", "<|im_end|>"]


# --- checkpoints ---


def saved(root: Path, *rollouts: int, lacking: str = "") -> None:
    for number in rollouts:
        folder = root / f"iter_{number:07d}"
        folder.mkdir(parents=True)
        for name in (".metadata", "metadata.json", "common.pt"):
            (folder / name).touch()
        state = root / checkpoints.STATE.format(number)
        state.parent.mkdir(exist_ok=True)
        state.touch()
        (root / checkpoints.TRACKER).write_text(str(number))
        if lacking:
            (state if lacking == "state" else folder / lacking).unlink()


def test_nothing_saved_begins_anew(tmp_path: Path) -> None:
    (tmp_path / checkpoints.TRACKER).write_text("0")
    assert checkpoints.prepare(tmp_path, 500) == 0
    assert not (tmp_path / checkpoints.TRACKER).exists()


@pytest.mark.parametrize("lacking", [".metadata", "metadata.json", "common.pt", "state"])
def test_a_save_that_was_killed_is_not_gone_on_from(tmp_path: Path, lacking: str) -> None:
    saved(tmp_path, 99)
    saved(tmp_path, 199, lacking=lacking)
    assert checkpoints.prepare(tmp_path, 500) == 100
    assert (tmp_path / checkpoints.TRACKER).read_text() == "99"
    assert not (tmp_path / "iter_0000199").exists()


def test_a_shorter_training_goes_on_from_what_is_not_beyond_its_goal(tmp_path: Path) -> None:
    saved(tmp_path, 99, 199, 299)
    assert checkpoints.prepare(tmp_path, 250) == 200
    assert (tmp_path / checkpoints.TRACKER).read_text() == "199"
    assert checkpoints.whole_iterations(tmp_path) == [100, 200, 300]
    assert checkpoints.prepare(tmp_path, 300) == 300


def test_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    saved(tmp_path, 99, 199, 299, 399)
    checkpoints.prune(tmp_path, 2, 300)
    assert checkpoints.whole_iterations(tmp_path) == [200, 300, 400]
    assert not (tmp_path / checkpoints.STATE.format(99)).exists()
    checkpoints.prune(tmp_path, 1, 400, good=200)
    assert checkpoints.whole_iterations(tmp_path) == [200, 400]
