"""The base model from the hub: downloaded once, checked by content, explained where it cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tiny_model import write_tiny_model
from tests.unit.hub_server import COMMIT, NAME, Hub, serving

from common.files import sha256
from common.hub import checked_files, missing_files, snapshot

SCRIPTS = Path(__file__).parents[2] / "scripts"
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def hub(model: Path) -> Iterator[Hub]:
    extra = {"README.md": b"words", "pytorch_model.bin": b"weights again"}
    with serving({path.name: path.read_bytes() for path in model.iterdir()} | extra) as hub:
        yield hub


def call(
    program: str, *flags: str, endpoint: str = "http://127.0.0.1:1", **environment: str
) -> subprocess.CompletedProcess:
    """A program with a hub at `endpoint`; at port 1 nobody answers."""
    clean = {
        key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy") and key != "HF_TOKEN"
    }
    return subprocess.run(
        [sys.executable, SCRIPTS / f"{program}.py", *flags],
        capture_output=True,
        text=True,
        env=clean | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"} | environment,
    )


def fetched(folder: Path, endpoint: str = NOBODY, name: str = NAME, commit: str = COMMIT, **environment: str):
    return call(
        "fetch_model",
        f"--hub-name={name}",
        f"--hub-commit={commit}",
        f"--hub-cache={folder / 'cache'}",
        f"--output={folder / 'hub.json'}",
        endpoint=endpoint,
        **environment,
    )


def taken(folder: Path) -> subprocess.CompletedProcess:
    return call(
        "base_model",
        "--source=hub",
        "--name=Tiny",
        f"--hub-name={NAME}",
        f"--hub-commit={COMMIT}",
        f"--hub-cache={folder / 'cache'}",
        f"--hub-record={folder / 'hub.json'}",
        f"--output={folder / 'base'}",
    )


def only_line(done: subprocess.CompletedProcess) -> str:
    """The one error line; nothing else, no traceback."""
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Fetching")]
    lines = [line for line in errors if "error:" in line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def test_a_model_is_downloaded_once_and_taken_without_the_network(hub: Hub, model: Path, tmp_path: Path) -> None:
    done = fetched(tmp_path, hub.endpoint)
    assert done.returncode == 0, done.stderr
    assert "downloading" in done.stdout
    recorded = json.loads((tmp_path / "hub.json").read_text())
    assert recorded["files"] == {path.name: sha256(path) for path in sorted(model.iterdir())}
    assert recorded["parameters"]["hub_commit"] == COMMIT
    assert str(tmp_path) not in (tmp_path / "hub.json").read_text()
    # What loading does not need is not asked for.
    assert not any("README" in path or "pytorch_model" in path for path in hub.asked)

    asked = len(hub.asked)
    again = fetched(tmp_path, hub.endpoint)
    assert again.returncode == 0
    assert "downloading" not in again.stdout
    assert len(hub.asked) == asked

    offline = fetched(tmp_path, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    made = taken(tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "base" / "model.safetensors").is_symlink()
    details = json.loads((tmp_path / "base" / "model.json").read_text())
    assert (details["source"], details["parameters"]["hub_name"]) == ("hub", NAME)


def test_another_commit_and_another_name_are_told_apart(hub: Hub, tmp_path: Path) -> None:
    line = only_line(fetched(tmp_path, hub.endpoint, commit="f" * 40))
    assert f"base_model.hub.commit: {NAME} has no commit {'f' * 40}" in line
    line = only_line(fetched(tmp_path, hub.endpoint, name="Owner/Nothing"))
    assert "base_model.hub.name" in line
    assert "has no model Owner/Nothing" in line
    assert not (tmp_path / "hub.json").exists()


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["no answer", "switched off"])
def test_offline_it_says_what_to_download_and_where_to_put_it(tmp_path: Path, environment: dict[str, str]) -> None:
    line = only_line(fetched(tmp_path, **environment))
    assert f"hf download {NAME} --revision {COMMIT}" in line
    assert f"copy CACHE/models--Owner--Tiny-Qwen3 to {tmp_path / 'cache'}/" in line


def test_what_was_downloaded_elsewhere_and_copied_as_it_says_is_taken(hub: Hub, tmp_path: Path) -> None:
    assert fetched(tmp_path / "elsewhere", hub.endpoint).returncode == 0
    shutil.copytree(tmp_path / "elsewhere" / "cache", tmp_path / "cache", symlinks=True)
    done = fetched(tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_missing_offline_is_named(hub: Hub, tmp_path: Path) -> None:
    assert fetched(tmp_path, hub.endpoint).returncode == 0
    (snapshot(tmp_path / "cache", NAME, COMMIT) / "tokenizer.json").unlink()
    line = only_line(fetched(tmp_path))
    assert "tokenizer.json is missing" in line


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_with_one_changed_byte_is_found_without_the_hub(hub: Hub, tmp_path: Path, name: str) -> None:
    assert fetched(tmp_path, hub.endpoint).returncode == 0
    stored = (snapshot(tmp_path / "cache", NAME, COMMIT) / name).resolve()
    content = bytearray(stored.read_bytes())
    content[-2] ^= 1
    stored.write_bytes(content)
    line = only_line(fetched(tmp_path))
    assert name in line
    assert f"Delete {stored} and run again" in line
    # What base_model is given is compared with the record, too: the cache may change between the two.
    line = only_line(taken(tmp_path))
    assert f"{name}: not the file that" in line
    assert not (tmp_path / "base").exists()
    stored.unlink()
    assert fetched(tmp_path, hub.endpoint).returncode == 0


@pytest.mark.parametrize("record", ["{}", '{"files": []}'])
def test_a_record_without_files_is_refused_by_name(tmp_path: Path, record: str) -> None:
    snapshot(tmp_path / "cache", NAME, COMMIT).mkdir(parents=True)
    (tmp_path / "hub.json").write_text(record)
    assert "hub.json: no record of files. Delete it and run fetch_model again." in only_line(taken(tmp_path))


def test_a_transfer_that_breaks_off_leaves_nothing_that_looks_finished(hub: Hub, tmp_path: Path) -> None:
    hub.cut = {"model.safetensors"}
    done = fetched(tmp_path, hub.endpoint)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Run again" in only_line(done)
    assert not (tmp_path / "hub.json").exists()
    assert missing_files(snapshot(tmp_path / "cache", NAME, COMMIT)) == ["model.safetensors"]
    hub.cut = set()
    assert fetched(tmp_path, hub.endpoint).returncode == 0


def test_a_copy_without_links_is_taken_though_its_files_cannot_be_checked(hub: Hub, tmp_path: Path) -> None:
    assert fetched(tmp_path, hub.endpoint).returncode == 0
    plain = tmp_path / "plain"
    shutil.copytree(snapshot(tmp_path / "cache", NAME, COMMIT), plain)
    assert checked_files(plain) == json.loads((tmp_path / "hub.json").read_text())["files"]
