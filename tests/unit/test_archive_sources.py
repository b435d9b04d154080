"""The sources in an archive, and that no path of this machine is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from archive_inputs import (
    CONFIGURATION,
    NAME,
    git,
    pack,
    read,
)

from archiving.collect import without_paths
from archiving.source import bundle, read_source
from archiving.verification.program import verify
from common.errors import InputError


def test_the_bundle_gives_the_sources_back(project: Path, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(read(pack(project))["data/source.bundle"])
    subprocess.run(["git", "clone", "--quiet", tmp_path / "b", tmp_path / "clone"], check=True)
    assert (tmp_path / "clone/Snakefile").read_text() == "rule all:\n"


def test_a_changed_or_new_file_is_refused_and_packed_only_if_allowed(project: Path, tmp_path: Path) -> None:
    (project / "Snakefile").write_text("rule other:\n")
    (project / "new.py").write_text("NEW = 1\n")
    with pytest.raises(InputError, match=r"Snakefile, new\.py\. Commit them, or set archive\.allow_dirty"):
        pack(project)
    packed = pack(project, "--allow-dirty")
    files = read(packed)
    assert json.loads(files["data/run.json"])["source"]["changed"] == ["Snakefile", "new.py"]
    assert "differ from it" in files["README.md"].decode()
    assert verify(packed)[1] == []
    (tmp_path / "b").write_bytes(files["data/source.bundle"])
    (tmp_path / "p").write_bytes(files["data/source.patch"])
    subprocess.run(["git", "clone", "--quiet", tmp_path / "b", tmp_path / "clone"], check=True)
    git(tmp_path / "clone", "apply", str(tmp_path / "p"))
    assert (tmp_path / "clone/new.py").read_text() == "NEW = 1\n"
    assert (tmp_path / "clone/Snakefile").read_text() == "rule other:\n"
    assert git(project, "diff", "--cached", "--name-only") == ""  # the user's own index is as it was


def test_the_user_s_own_settings_of_git_and_rights_change_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "Snakefile").write_text("rule other:\n\n\nrule more:\n")
    before = pack(project, "--allow-dirty").read_bytes()
    shutil.rmtree(project / f"results/{NAME}/archive")
    (tmp_path / ".gitconfig").write_text(
        "[core]\nabbrev = 5\nquotePath = true\ncompression = 9\nbigFileThreshold = 1\n"
        "[pack]\ncompression = 1\nwindow = 3\ndepth = 2\nthreads = 4\nwindowMemory = 1\n"
        "[diff]\nnoprefix = true\ncontext = 0\nalgorithm = histogram\nexternal = /bin/false\n"
        "suppressBlankEmpty = true\n"
        "[status]\nshowUntrackedFiles = no\n[color]\nui = always\n[log]\nshowSignature = true\ndate = relative\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    monkeypatch.setenv("LC_ALL", "C")
    mask = os.umask(0o077)
    try:
        assert pack(project, "--allow-dirty").read_bytes() == before
    finally:
        os.umask(mask)


def test_a_clean_state_is_not_dirty_and_its_bundle_repeats(project: Path) -> None:
    source = read_source(project)
    assert not source.dirty
    assert source.patch == b""
    assert bundle(project, source.commit) == bundle(project, source.commit)


def test_without_a_repository_it_says_so(project: Path) -> None:
    shutil.rmtree(project / ".git")
    with pytest.raises(InputError, match="git repository"):
        pack(project)


def test_paths_of_this_machine_are_replaced_by_the_archive_s_own(project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "private data" / "btc.csv"
    outside.parent.mkdir()
    outside.write_text("timestamp,close\n")
    market = CONFIGURATION["market"] | {"source": "csv", "csv": {"path": str(outside), "sha256": None}}
    packed = pack(project, configuration=CONFIGURATION | {"market": market})
    files = read(packed)
    assert json.loads(files["data/configuration.json"])["market"]["csv"]["path"] == "sources/btc.csv"
    assert files["data/sources/btc.csv"] == outside.read_bytes()
    assert [name for name, content in files.items() if b"private data" in content] == []


def test_the_hub_s_cache_and_folders_for_containers_are_left_out(project: Path) -> None:
    """The commands of rules name the cache, though the configuration of the run may not."""
    cache = "/home/me/.cache/huggingface/hub"
    for record in (project / ".snakemake/metadata").iterdir():
        command = f"python scripts/fetch_model.py --hub-name=Owner/Model --hub-cache={cache} --output x 2>&1"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"shellcmd": command}))
    section = CONFIGURATION["base_model"] | {"source": "hub", "hub": {"name": "Owner/Model", "cache": cache}}
    files = read(pack(project, configuration=CONFIGURATION | {"base_model": section}))
    settings = json.loads(files["data/configuration.json"])
    assert settings["base_model"]["hub"] == {"name": "Owner/Model", "cache": None}
    assert settings["containers"] == {"folder": None, "scratch": None, "bootstrap": "localimage", "base": None}
    assert "--hub-cache=sources/hub-cache --output" in files["data/run.json"].decode()
    assert [name for name, content in files.items() if b"/home/me" in content] == []


def test_a_path_in_the_middle_of_another_one_is_not_replaced() -> None:
    paths = {"sources/bars.csv": Path("bars.csv"), "sources/hub-cache": Path("/hub")}
    text = b"--hub-cache=/hub '/hub/models' /a/hub /hubs --path=bars.csv market/bars.csv bars.csv.gz"
    assert without_paths(text, paths) == (
        b"--hub-cache=sources/hub-cache 'sources/hub-cache/models' /a/hub /hubs --path=sources/bars.csv "
        b"market/bars.csv bars.csv.gz"
    )
