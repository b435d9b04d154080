"""archive.py publishes no secret, and no name of a machine or its people."""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
import zipfile
from pathlib import Path

import pytest
from archive_inputs import NAME, commit, made_in_containers, pack, read, refused

from archiving.scan import Scanner, readable

# Written in parts, so that this file holds none itself.
TOKENS = [
    "gh" + "p_" + "a1B2" * 9,
    "hf" + "_" + "aBcDe" * 7,
    "AK" + "IA" + "ABCDEFGHIJKLMNOP",
    "-----BEGIN " + "RSA PRIVATE KEY-----",
    "https://user:" + "geheim99@example.org/x",
    "sk" + "-proj-" + "Ab3" * 14,
    "pass" + "word: " + "hunter2hunter2",
    "Authoriz" + "ation: Bearer " + "q1w2" * 4,
]


def test_planted_secrets_are_refused_with_one_line_each(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decisions = project / f"results/{NAME}/infer/trained/decisions.jsonl"
    (project / f"results/{NAME}/infer/probe.json").write_text(json.dumps({"note": "\n".join(TOKENS)}))
    lines = [line for line in refused(project, capsys) if "infer/probe.json" in line]
    assert len(lines) == len(TOKENS)
    assert all(line.startswith("archive: error: data/results/infer/probe.json, line 1: ") for line in lines)
    assert not any(token in line for token in TOKENS for line in lines)
    assert decisions.exists()


@pytest.mark.parametrize("where", ["home", "host", "environment", "someone else's home"])
def test_names_of_this_machine_and_its_people_are_refused(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("HOME", "/srv/people/jo")
    monkeypatch.setenv("DEPLOY_TOKEN", "Zugang-4711")
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu7")
    planted = {"home": "/srv/people/jo/data", "host": "on gpu7.", "environment": "x Zugang-4711 y"}
    words = planted.get(where, "/home/" + "alice/data")
    benchmarks = project / f"results/{NAME}/benchmarks"
    benchmarks.mkdir()
    (benchmarks / "train.tsv").write_text(f"s\n{words}\n")
    error = refused(project, capsys)
    assert len(error) == 1
    assert error[0].startswith("archive: error: data/host/benchmarks/train.tsv, line 2: ")
    (benchmarks / "train.tsv").write_text("s\n1.0\n")
    assert pack(project).exists()  # the control


def test_however_it_is_written_down_it_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In names of files, in the slashes of some writers of JSON, in UTF-16."""
    monkeypatch.setenv("HOME", "/home/" + "jo")
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu7")
    planted = {
        "home_jo.json": b"{}",
        "x-gpu7_1.json": b"{}",
        "a.json": rb'{"of": "\/home\/alice\/data"}',
        "b.txt": f"\n{TOKENS[0]}".encode("utf-16"),
        "c.txt": ("/home/" + "alice").encode("utf-16-be"),
        "home_joe-gpu8.txt": b"gpu8 /homes/alice home_jo",  # the control
    }
    for name, content in planted.items():
        (project / f"results/{NAME}" / ("infer" if name.endswith("json") else "model/trained") / name).write_bytes(
            content
        )
    lines = refused(project, capsys)
    assert sorted(re.sub("archive: error: data/results/(infer|model/trained)/", "", line) for line in lines) == [
        "a.json, line 1: a home folder (/hom...)",
        "b.txt, line 2: a GitHub token (ghp_...)",
        "c.txt, line 1: a home folder (/hom...)",
        "home_jo.json: the home folder in its name",
        "x-gpu7_1.json: the name of this machine in its name",
    ]


def sif(definition: str) -> bytes:
    """A container image in SIF: a definition, and noise where its compressed files lie."""
    at, head = 4096, b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0".ljust(64, b"\0")
    parts = [(0x4001, definition.encode()), (0x4004, b"\0 /home/" + b"noise \0")]
    table, data, start = b"", b"", at + len(parts) * 585
    for kind, content in parts:
        table += struct.pack("<i?III5q2q128s384s", kind, True, 1, 1, 0, start, len(content), *[0] * 5, b"part", b"")
        data, start = data + content, start + len(content)
    head += struct.pack("<8q", 0, 0, 0, len(parts), at, len(table), at + len(table), len(data))
    return head.ljust(at, b"\0") + table + data


def test_a_path_in_a_container_image_s_definition_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for definition, found in (
        ("From: containers/base.sif", []),  # the control
        (f"From: {project}/containers/base.sif", ["the project's folder"]),
        ("From: /home/" + "alice/base.sif", ["a home folder"]),
        (f"%post\n    git clone {TOKENS[4]}", ["a password in an address"]),
    ):
        image, _ = made_in_containers(project, sif(definition))
        if not found:
            assert read(pack(project, "--images"))[f"data/containers/{image.name}"] == image.read_bytes()
            shutil.rmtree(project / f"results/{NAME}/archive")
        else:
            lines = refused(project, capsys, "--images")
            assert [re.sub(r".*: (.*) \(.*", r"\1", line) for line in lines] == found


def test_a_secret_in_the_history_of_the_sources_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "notes.txt").write_text(f"\n{TOKENS[0]}\n")
    commit(project)
    (project / "notes.txt").write_text("nothing\n")
    commit(project)
    error = refused(project, capsys)
    assert error[0].startswith("archive: error: notes.txt (git ")
    assert ", line 2: a GitHub token (" in error[0]


def test_a_secret_in_the_deck_or_in_a_picture_s_notes_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    place = project / f"results/{NAME}/leverage-2"
    note = PngInfo()
    note.add_text("Author", f"by {TOKENS[1]}", zip=True)
    Image.new("RGB", (2, 2)).save(place / "more.png", pnginfo=note)
    with zipfile.ZipFile(place / "deck.pptx", "a", zipfile.ZIP_DEFLATED) as deck:
        deck.writestr("docProps/custom.xml", f"<x>{TOKENS[2]}</x>")
    error = "\n".join(refused(project, capsys))
    assert "leverage-2/more.png, line 1: a Hugging Face token" in error
    assert "leverage-2/deck.pptx, docProps/custom.xml, line 1: an AWS key" in error


def test_pixels_and_weights_are_not_taken_for_names() -> None:
    scanner = Scanner("/root", ("vm",), {})
    noise = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x04IDAT vm " + b"\0" * 4
    assert scanner.problems(readable("a.png", noise)) == []
    assert scanner.problems(readable("a.safetensors", b" vm ")) == []
    assert scanner.problems([("a.csv", b" vm ")]) == ["a.csv, line 1: the name of this machine (vm...)"]


def test_ordinary_words_are_no_secrets() -> None:
    scanner = Scanner("/root", ("localhost",), {"SHORT_TOKEN": "abc", "PATH": "/usr/bin"})
    words = b'{"output_ids": [1, 2], "finish_reason": "stop", "tokenizer": "x", "max_new_tokens": 24, "abc": 1}'
    assert scanner.problems([("a", words), ("b", b"https://example.org/a:b@c /rooted /usr/bin")]) == []
