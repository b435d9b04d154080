"""Decisions of other runs in an archive: what comes along with them, and that a replay can check them again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from archive_inputs import (
    CONFIGURATION,
    NAME,
    finish,
    in_text,
    make_finished,
    make_project,
    pack,
    problems,
    read,
    tampered,
)
from report_inputs import Run, run_program

import compare
import evaluate
import simulate
from archiving.replaying.difference import SAME
from archiving.replaying.program import replay
from archiving.replaying.promise import arguments, samples_given
from archiving.replaying.workplace import Workplace
from archiving.verification.container import ArchiveError, opened
from archiving.verification.program import verify
from common.errors import InputError
from common.files import read_json, read_jsonl, sha256, write_json, write_jsonl

MASKED, SHOWN = "Prices are relative: the latest close is 100.", "Prices are in the asset's currency."
FOLDER = "data/sources/variant-other"
FILES = {f"{FOLDER}/{name}" for name in ("decisions.jsonl", "summary.json", "samples.jsonl")}
ANSWERS = FILES - {f"{FOLDER}/samples.jsonl"}


def make_other(project: Path, asks: str) -> Path:
    """Decisions of another run on other prompts for the same hours, where that run left them."""
    own, other = project / "results" / NAME, project / "results/another"
    rows = read_jsonl(own / "samples/test.jsonl")
    asked = [row | {"prompt": [{"role": "user", "content": f"A market.\n{asks}"}]} for row in rows]
    write_jsonl(other / "samples/test.jsonl", asked)
    answers = [row | {"prompt_sha256": "another"} for row in read_jsonl(own / "infer/base/decisions.jsonl")]
    path = other / "infer/trained/decisions.jsonl"
    write_jsonl(path, answers)
    summary = read_json(own / "infer/base/summary.json")
    write_json(path.parent / "summary.json", summary | {"inputs": {"samples": sha256(other / "samples/test.jsonl")}})
    return path


def named(path: Path) -> dict[str, Any]:
    """The configuration that compares it."""
    return CONFIGURATION | {"evaluate": {"variants": [f"other={path}"]}}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose finished run was compared with decisions of another run."""
    project = make_project(tmp_path_factory.mktemp("variants") / "project")
    run = make_finished(project)
    shutil.rmtree(project / "results/ledger")
    finish(run, variants=[f"other={make_other(project, MASKED)}"])
    return project


@pytest.fixture
def project(compared: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(compared, tmp_path / "project")


def decisions(project: Path) -> Path:
    return project / "results/another/infer/trained/decisions.jsonl"


@dataclass(frozen=True)
class StandIn(Workplace):
    """A workplace that calls the programs themselves, as the rules do."""

    made: Path  # the run, for samples: the rule makes the same of the same bars

    def snakemake(self, targets: list[str], rules: list[str]) -> None:
        run, settings = Run(self.results), read_json(self.project / "configuration.json")
        if "samples" in rules:
            shutil.copytree(self.made / "samples", self.results / "samples")
        run_program(simulate.main, run.simulate)
        ledger = self.project / "results/ledger"
        run_program(evaluate.main, [*run.evaluate, "--ledger", ledger, "--variants", *settings["evaluate"]["variants"]])


def replayed(packed: Path, project: Path, into: Path, bars: Path | None = None, **samples: Path) -> Mapping[str, str]:
    """Whether results that were made again from the archive are the same, by their names."""
    place = StandIn(opened(packed), json.loads(read(packed)["data/run.json"]), into, Path(), project / "results" / NAME)
    into.mkdir()
    place.lay()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(into)
        found = {row.name: row.kind for row in replay(place, bars, samples)}
    return {name: kind for name, kind in found.items() if name.endswith(("metrics.json", "evidence.json"))}


ALIKE = {"leverage-2/metrics.json": SAME, "leverage-2/evidence.json": SAME}


def test_a_variant_of_other_prompts_is_packed_with_its_samples_and_replayed(project: Path, tmp_path: Path) -> None:
    path = decisions(project)
    packed = pack(project, configuration=named(path))
    files = read(packed)
    assert {name for name in files if name.startswith("data/sources/")} == FILES
    assert files[f"{FOLDER}/decisions.jsonl"] == path.read_bytes()
    assert files[f"{FOLDER}/summary.json"] == path.with_name("summary.json").read_bytes()
    assert files[f"{FOLDER}/samples.jsonl"] == (project / "results/another/samples/test.jsonl").read_bytes()
    settings = json.loads(files["data/configuration.json"])
    assert settings["evaluate"]["variants"] == ["other=sources/variant-other/decisions.jsonl"]
    assert verify(packed)[1] == []
    assert replayed(packed, project, tmp_path / "replay") == ALIKE


def test_of_prompts_that_are_the_run_s_own_the_decisions_are_enough(project: Path, tmp_path: Path) -> None:
    path = decisions(project)
    write_jsonl(path, read_jsonl(project / f"results/{NAME}/infer/base/decisions.jsonl"))
    finish(Run(project / f"results/{NAME}"), variants=[f"other={path}"])
    packed = pack(project, "--no-market-data", configuration=named(path))
    assert {name for name in read(packed) if name.startswith("data/sources/")} == {f"{FOLDER}/decisions.jsonl"}
    bars = project / f"results/{NAME}/market/bars.csv"
    assert replayed(packed, project, tmp_path / "replay", bars) == ALIKE


def test_of_samples_that_are_the_run_s_own_their_record_is_enough(project: Path, tmp_path: Path) -> None:
    path = decisions(project)  # asked with another chat template
    own = sha256(project / f"results/{NAME}/samples/test.jsonl")
    write_json(path.with_name("summary.json"), {"inputs": {"samples": own}})
    packed = pack(project, "--no-market-data", configuration=named(path))
    assert {name for name in read(packed) if name.startswith("data/sources/")} == ANSWERS
    assert verify(packed)[1] == []
    bars = project / f"results/{NAME}/market/bars.csv"
    assert replayed(packed, project, tmp_path / "replay", bars) == ALIKE


def test_where_prices_may_not_be_published_the_samples_can_be_given(project: Path, tmp_path: Path) -> None:
    packed = pack(project, "--no-market-data", configuration=named(decisions(project)))
    files = read(packed)
    assert {name for name in files if name.startswith("data/sources/")} == ANSWERS
    samples = project / "results/another/samples/test.jsonl"
    listed = {row["file"]: row for row in json.loads(files["data/withheld.json"])["files"]}[f"{FOLDER}/samples.jsonl"]
    assert listed["sha256"] == sha256(samples)
    assert f"- `{FOLDER}/samples.jsonl`; SHA-256 in `data/withheld.json`" in files["README.md"].decode()
    assert verify(packed)[1] == []
    bars = project / f"results/{NAME}/market/bars.csv"
    assert replayed(packed, project, tmp_path / "replay", bars, other=samples) == ALIKE
    said = (
        f"{FOLDER}/samples.jsonl: is not in the archive; ask who made the variant's run for the file with the SHA-256 "
        "that stands here. Then add --variant-samples other FILE."
    )
    with pytest.raises(ArchiveError, match=f"^{re.escape(said)}$"):
        replayed(packed, project, tmp_path / "without", bars)
    with pytest.raises(ArchiveError, match="is not the file that the run used, its SHA-256 is another one"):
        replayed(packed, project, tmp_path / "others", bars, other=bars)


def test_the_samples_of_several_variants_can_be_given() -> None:
    parser = arguments("What it does.", "replay.py")
    given = ["--variant-samples", "a", "a.jsonl", "--variant-samples", "b", "b.jsonl"]
    assert samples_given(parser.parse_args(given)) == {"a": Path("a.jsonl"), "b": Path("b.jsonl")}
    assert samples_given(parser.parse_args([])) == {}


def test_answers_of_another_run_that_may_quote_prices_are_packed_only_if_allowed(project: Path) -> None:
    settings = named(make_other(project, SHOWN))
    finish(Run(project / f"results/{NAME}"), variants=settings["evaluate"]["variants"])
    with pytest.raises(
        InputError, match=r"^evaluate\.variants, other: mask is false, .* archive\.unmasked_answers: true"
    ):
        pack(project, "--no-market-data", configuration=settings)
    assert pack(project, "--no-market-data", "--unmasked-answers", configuration=settings).exists()
    assert pack(project, configuration=settings).exists()


def test_samples_hold_prices_and_have_their_licence(project: Path) -> None:
    market = named(decisions(project))["market"] | {"source": "csv", "csv": {"path": "variant-bars.csv"}}
    settings = named(decisions(project)) | {"market": market}
    packed = pack(project, "--data-licence", "CC-BY-4.0", configuration=settings)
    graph = {row["@id"]: row for row in json.loads(read(packed)["ro-crate-metadata.json"])["@graph"]}
    licensed = {name for name in FILES if "CC-BY-4.0" in str(graph[name].get("license"))}
    assert licensed == {f"{FOLDER}/samples.jsonl"}


def test_a_market_s_file_that_is_named_like_a_variant_is_kept_back(project: Path, tmp_path: Path) -> None:
    bars = tmp_path / "variant-bars.csv"
    shutil.copy2(project / f"results/{NAME}/market/bars.csv", bars)
    market = CONFIGURATION["market"] | {"source": "csv", "csv": {"path": str(bars)}}
    settings = named(decisions(project)) | {"market": market}
    assert "data/sources/variant-bars.csv" in read(pack(project, configuration=settings))
    assert "data/sources/variant-bars.csv" not in read(pack(project, "--no-market-data", configuration=settings))


@pytest.mark.parametrize("file", ["decisions.jsonl", "summary.json", "samples.jsonl"])
def test_another_file_of_a_variant_is_named(project: Path, tmp_path: Path, file: str) -> None:
    packed = pack(project, configuration=named(decisions(project)))
    sha = sha256(project / "results/another/samples/test.jsonl")
    old, new = (sha, "0" * 64) if file == "summary.json" else ("test-000001", "test-100001")
    found = problems(tampered(packed, tmp_path / "other.zip", in_text(f"{FOLDER}/{file}", old, new)))
    by, role = (
        ("data/results/leverage-2/evidence.json", "variant other")
        if file == "decisions.jsonl"
        else (f"{FOLDER}/summary.json", "samples")
    )
    of = f"{FOLDER}/{'decisions' if file == 'decisions.jsonl' else 'samples'}.jsonl"
    assert found == [f"{by}: was computed from another {role} than {of}"]


def test_archives_with_and_without_a_variant_are_compared(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = shutil.move(pack(project, configuration=named(decisions(project))), tmp_path / "one.zip")
    run_program(compare.main, [packed, pack(project)])
    assert '["other=sources/variant-other/d' in capsys.readouterr().out


def test_what_no_replay_could_check_is_not_packed(project: Path) -> None:
    path = project / f"results/{NAME}/infer/reworded/decisions.jsonl"  # of the run itself, in a folder of its own
    shutil.copytree(decisions(project).parent, path.parent)
    with pytest.raises(InputError, match=r"reworded/decisions\.jsonl: the samples that it answers are gone, no replay"):
        pack(project, configuration=named(path))
    (project / "results/another/samples/test.jsonl").unlink()
    with pytest.raises(InputError, match="of which market they are cannot be said"):
        pack(project, configuration=named(decisions(project)))
