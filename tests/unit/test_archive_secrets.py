"""archive.py publishes no secret, and no name of a machine or its people."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import shutil
import socket
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from archive_inputs import CONFIGURATION, NAME, commit, made_in_containers, pack, read, refused

from archiving.reading import readable
from archiving.scan import Scanner

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
MORE = [
    "AWS_SECRET_ACC" + "ESS_KEY=" + "wJalr/XUtn" * 4,
    "mach" + "ine api.wandb.ai login user password " + "0a1b" * 10,
    "-----BEGIN " + "PGP PRIVATE KEY BLOCK-----",
    "dckr" + "_pat_" + "aB3" * 9,
    "wandb" + "_v1_" + "aB3" * 20,
    "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "hooks." + "slack.com/services/T0000/B0000/" + "aB3" * 8,
]


def test_planted_secrets_are_refused_with_one_line_each(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decisions = project / f"results/{NAME}/infer/trained/decisions.jsonl"
    (project / f"results/{NAME}/infer/probe.json").write_text(json.dumps({"note": "\n".join(TOKENS)}))
    lines = [line for line in refused(project, capsys) if "infer/probe.json" in line]
    assert len(lines) == len(TOKENS)
    assert all(line.startswith("archive: error: data/results/infer/probe.json, line 1: ") for line in lines)
    assert not any(token in line for token in TOKENS for line in lines)
    assert decisions.exists()


@pytest.mark.parametrize("token", MORE)
def test_tokens_of_other_services_are_found(token: str) -> None:
    scanner = Scanner("/root", ("vm",), {})
    (found,) = scanner.problems([("a.json", json.dumps({"note": f"a {token}\n"}).encode())])
    assert token not in found


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


def packed_zip(name: str, content: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, content)
    return buffer.getvalue()


def weights(**metadata: str) -> bytes:
    head = json.dumps({"__metadata__": metadata}).encode()
    return struct.pack("<Q", len(head)) + head + b"\0 vm \0"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", gzip.compress(TOKENS[1].encode())),
        ("a.txt", bz2.compress(gzip.compress(TOKENS[1].encode()))),
        ("a.xz", lzma.compress(TOKENS[1].encode())),
        ("a.npz", packed_zip("a.txt", TOKENS[1])),
        ("a.safetensors", weights(token=TOKENS[1])),
        ("a.bin", packed_zip("archive/data.pkl", TOKENS[1])),
        ("a.png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 0, b"IEND") + b"\0" * 4 + TOKENS[1].encode()),
        ("b.png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 37, b"prVt") + TOKENS[1].encode() + b"\0" * 4),
    ],
)
def test_what_is_packed_or_beside_the_pixels_is_read(name: str, content: bytes) -> None:
    scanner = Scanner("/root", ("vm",), {})
    (found,) = scanner.problems(readable(name, content))
    assert found.startswith(name)
    assert ": a Hugging Face token (hf_a...)" in found
    assert scanner.problems(readable("a.safetensors", weights(format="pt"))) == []  # a control


def test_the_user_s_name_is_found_in_paths_and_where_a_file_says_who_made_it() -> None:
    scanner = Scanner("/root", ("vm",), {}, user="jo")
    svg = b"<svg><metadata><creator>%s</creator></metadata><text>jo</text></svg>"
    found = [
        ("a.json", b'"/scratch/jo/run"'),
        ("deck.pptx", packed_zip("docProps/core.xml", "<cp:lastModifiedBy>jo</cp:lastModifiedBy>")),
        ("a.svg", svg % b"jo"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 9, b"tEXt") + b"Author\0jo" + b"\0" * 4),
    ]
    for name, content in found:
        (line,) = scanner.problems(readable(name, content))
        assert ": the user's name (" in line
    fine = [
        ("a.json", b'"results/jo/a", "https://example.org/jo/b", "jo", "/scratch/joe"'),
        ("a.svg", svg % b"the maintainers"),
        ("deck.pptx", packed_zip("ppt/slides/slide1.xml", "<a:t>jo</a:t>")),
    ]
    for name, content in fine:
        assert scanner.problems(readable(name, content)) == []


def test_who_wants_to_be_named_as_the_author_is(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("USER", "jo")
    place = project / f"results/{NAME}/leverage-2/drawdown.svg"
    place.write_bytes(place.read_bytes().replace(b"<metadata>", b"<metadata><!-- jo -->", 1))
    (line,) = refused(project, capsys)
    assert line.endswith("leverage-2/drawdown.svg, metadata, line 1: the user's name (jo...)")
    named = pack(project, configuration=CONFIGURATION | {"deck": {"author": "jo doe"}})
    assert named.exists()


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
