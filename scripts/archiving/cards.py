"""Texts for the people who open an archive: README, model card, data card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def title(settings: Json) -> str:
    """What a run is called."""
    return f"{settings['base_model']['name']} on {settings['market']['name']}: the run {settings['run']}"


def percent(fraction: float) -> str:
    """A gain or loss with its sign."""
    return f"{100 * fraction:+,.2f}%"


def results_table(metrics: Sequence[Json]) -> str:
    """Each leverage's strategies, as the slides show them."""
    head = "| leverage | strategy | total return | final capital | max drawdown | invalid answers |\n"
    head += "| ---: | --- | ---: | ---: | ---: | ---: |\n"
    return head + "".join(
        f"| {m['leverage']:g}x | {row['label']} | {percent(row['total_return'])} | ${row['final_capital']:,.0f} "
        f"| {100 * row['max_drawdown']:.1f}% | {invalid(row, m)} |\n"
        for m in metrics
        for row in m["strategies"]
    )


def invalid(row: Json, metrics: Json) -> str:
    """How many of a model's answers gave no decision."""
    if row["key"] not in ("trained", "base"):
        return ""
    finished = f", {row['finished']:,} finished in a second pass" if row["finished"] else ""
    return f"{row['truncated'] + row['unparsable']:,} of {metrics['market']['hours']:,}{finished}"


def verdicts(evidence: Sequence[Json]) -> str:
    """What the tests say, in the sentences that the slides may use."""
    parts = []
    for record in evidence:
        said = [sentence for sentence in record["verdict"]["sentences"].values() if sentence]
        parts.append(f"At {record['leverage']:g}x: " + " ".join(said))
    return "\n\n".join(parts)


def nature(market: Json) -> str:
    """What kind of market the numbers are from."""
    if market["synthetic"]:
        return "The market is **synthetic**: a result on it shows that the pipeline works, nothing about real markets."
    return f"The market is {market['name']}: one period of it."


def readme(
    run: Json,
    metrics: Sequence[Json],
    evidence: Sequence[Json],
    market: Json,
    spent: str,
    left_out: Mapping[str, str],
) -> str:
    """README.md of an archive.

    Parameters
    ----------
    spent
        Time, machines and energy, in sentences.
    left_out
        What is not in it, and where its SHA-256 stands.
    """
    hours, first, last = (metrics[0]["market"][key] for key in ("hours", "first", "last"))
    changed = ""
    if run["source"]["dirty"]:
        changed = (
            f" **The sources differ from it** in {len(run['source']['changed'])} files; `data/source.patch` holds "
            "what differs."
        )
    parts = [
        f"# {run['title']}",
        f"Everything behind the slides of one run: {market['name']}, {hours:,} hours from {first[:10]} to {last[:10]}. "
        f"{nature(market)}",
        results_table(metrics).rstrip(),
        verdicts(evidence),
        f"The sources are those of commit `{run['source']['commit']}`.{changed}",
        THREE_COMMANDS.format(run=run["run"], tolerance=f"{run['tolerances']['replay']:g}"),
        f"**What it took.** {spent} More in `data/host/jobs.json`.",
        WHAT_IS_WHERE,
    ]
    if left_out:
        names = "\n".join(f"- {name}; SHA-256 in `{place}`" for name, place in left_out.items())
        parts.append(f"## What is not here\n\n{names}")
    return "\n\n".join(parts) + "\n"


THREE_COMMANDS = """\
## Three commands

| command, in this folder | what it does | needs |
| --- | --- | --- |
| `python verify.py` | checks every file's hash, every number on the slides and in README and cards against the \
results, every setting and model file against what they recorded, and computes equity, trades and all metrics again \
from the model's raw answers and the prices. It takes as they are: p-values and intervals of the tests, what figures \
and tearsheet show (it checks which files they were made of), the training's own records, the sources \
| Python 3.10 or later and nothing else; seconds |
| `python replay.py` | makes everything from the decisions to the slides again, the tests included, and compares it \
| Linux, Python 3.11, git, and the pinned packages, which it installs; a minute |
| `python retrain.py` | the same from the market on: trains the model again | the same, and as long as the run took |

`verify.py` also takes the ZIP file as it is: `python verify.py {run}.zip`. The other two work in a new folder beside
this one. With `--python` they use an environment that is already there.

**Tolerances.** On the same kind of processor (`data/host/machine.json`) replay and retrain must give the same bytes. On
another one sums round differently: replay then allows numbers to differ by {tolerance} of their size, and figures and
slides to differ in what follows from that. A model that is trained there answers differently: retrain reports how many
decisions are the same, and what they earned."""

WHAT_IS_WHERE = """\
## What is where

| below `data/` | holds |
| --- | --- |
| `results/` | market, samples, the models' configuration and tokenizer, training log, every answer, equity, trades, \
metrics, tests, figures, slides |
| `claims.json` | each number on the slides, with the file, the field and the value it comes from |
| `configuration.json`, `schema.yaml`, `run.json` | every setting, what each means, and the commands |
| `source.bundle`, `workflow/` | the sources with their history (`git clone source.bundle`); the workflow to read |
| `requirements/`, `containers/` | pinned packages; definitions of the containers |
| `models.json` | SHA-256 of all weights |
| `model-card.md`, `data-card.md` | what the model and the data are, and are not |
| `trials/` | every variant that was ever tested on these hours |
| `host/` | times, memory, machines, GPUs, energy, Slurm's numbers of jobs, as far as known: nothing that a second run \
must have in common |"""


def model_card(
    manifest: Json, inference: Json, parity: Json, evidence: Sequence[Json], earlier: Mapping[str, Json]
) -> str:
    """model-card.md.

    Parameters
    ----------
    earlier
        Name to content of the files about the conversion of earlier checkpoints, which variants asked.
    """
    shape, settings = manifest["shape"], manifest["parameters"]
    versions = ", ".join(f"{name} {version or 'not known'}" for name, version in manifest["versions"].items())
    rows = {
        "What it is": f"a Qwen3 with {shape['layers']} layers, hidden size {shape['hidden']:,} and a vocabulary of "
        f"{shape['vocabulary']:,}, trained with GRPO to answer Buy or Sell to a description of past hours.",
        "Training": f"{manifest['iteration']:,} iterations of {settings['prompts_per_iteration']} prompts x "
        f"{settings['group_size']} answers, learning rate {settings['learning_rate']:g}, KL weight "
        f"{settings['kl_beta']:g}, seed {settings['seed']}; on {manifest['device_name']}; {versions}.",
        "Weights": f"checkpoint `{manifest['name']}`, SHA-256 of the list of weight files that it makes "
        f"`{manifest['weights_sha256']}`; of the "
        "files in `models.json`.",
        "Conversion": "the logits of transformers and Megatron differ by "
        f"{parity['logits']['relative_difference']:g} of the largest at most, on "
        f"{parity['logits']['tokens']:,} tokens{compared(parity['logits'].get('layers', ()))} "
        f"(`results/model/parity.json`).{''.join(converted(name, one) for name, one in earlier.items())}",
        "Answers": f"{inference['engine']} on {inference['device']}, temperature "
        f"{inference['parameters']['temperature']:g}; {inference['samples']:,} answers, {inference['truncated']:,} "
        f"truncated, {inference['unparsable']:,} unparsable, {inference['finished']:,} finished in a second pass.",
        "Meant for": "reproducing this run. Not for trading: the tests call the result "
        f"{evidence[0]['verdict']['summary']}.",
    }
    return f"# Model card: {inference['model']}\n\n{listed(rows)}"


def converted(name: str, parity: Json) -> str:
    """How an earlier checkpoint was converted, in a sentence."""
    return f" `results/model/{name}`: by {parity['logits']['relative_difference']:g} at most."


def compared(layers: Sequence[int]) -> str:
    """Which layers were compared, one by one, where a model is too large to be compared whole."""
    return f", of layers {', '.join(map(str, layers))}, each run alone" if layers else ""


def data_card(market: Json, samples: Mapping[str, int], settings: Json, how: str, licence: str | None) -> str:
    """data-card.md."""
    splits = ", ".join(f"{count:,} {name}" for name, count in samples.items())
    kind = "synthetic, seeded" if market["synthetic"] else f"source: {market['source']}"
    rows = {"What it is": f"{market['bars']:,} hourly bars from {market['first']} to {market['last']}; {kind}."}
    if market["synthetic"]:
        strengths = [f"{key.removeprefix('synthetic_')} {market['parameters'].get(key, 0):g}" for key in SIGNALS]
        rows["Planted signal"] = f"{', '.join(strengths)} (hourly volatilities); 0 is none."
    rows["Samples"] = (
        f"{splits}; one question for each hour, style `{settings['prompt']}`, split in time with an embargo between "
        "the parts."
    )
    rows["Where from"] = how
    rows["Licence"] = licence or NOT_STATED
    rows["Not in it"] = "spreads, order books and orders; what an order costs is set in `configuration.json`."
    return f"# Data card: {market['name']}\n\n{listed(rows)}"


def how_to_get(configuration: Mapping[str, Any]) -> str:
    """Where the market's bars come from, in a sentence."""
    market = configuration["market"]
    if market["source"] == "download":
        return (
            f"download {market['download']['url']} (SHA-256 {market['download']['sha256']}) and run scripts/market.py."
        )
    if market["source"] == "csv":
        return f"ask whom {market['name']} belongs to for a file with the SHA-256 that stands here."
    return "the bars are synthetic: scripts/market.py makes them of data/configuration.json."


def data_licence(market: Json, stated: str | None, project: str) -> str | None:
    """Licence of the market's data: the sources' own where these make them, else what the configuration says."""
    return project if market["source"] == "synthetic" else stated


def listed(rows: Mapping[str, str]) -> str:
    """A list with bold names."""
    return "".join(f"- **{name}**: {text}\n" for name, text in rows.items())


NOT_STATED = "not stated"
SIGNALS = ("synthetic_momentum", "synthetic_trend", "synthetic_slow_drift")
