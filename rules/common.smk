# What the rules share: the checked configuration, flags and code digests, the project's Python.
import json
import os
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from shlex import quote

sys.path.insert(0, str(Path(workflow.basedir) / "rules"))
sys.path.append(str(Path(workflow.basedir) / "scripts"))
from common.hub import taken_files
from configuration import ConfigurationError, chosen, flags, missing_files, read_schema, resolve, text
from containers import ContainerError, given_arguments, provide
from containers import record as record_images
from digest import code_digest, constant
from images import image_of, image_path
from isolation import (
    arguments,
    handed_on,
    hub_cache,
    named_paths,
    of_another_job,
    passed,
    scratch_folder,
    sees_gpus,
    used_cache,
)
from settings_file import SettingsFileError, read_settings, shown_files
from snakemake.logging import logger
from training_plan import engine_settings, node_memory, processes_of_node, task_of
from trading.answered import records_of
from trials import trials_elsewhere

# Programs run with the Python that runs Snakemake, whether its environment is activated or not.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))


def resolved_or_stop(given):
    """The complete configuration; anything wrong with it is one line each, without a traceback, and exit code 1."""
    files = [Path(file) for file in workflow.overwrite_configfiles or ["config/config.yaml"]]
    where = f"{shown_files(files, bool(workflow.config_settings.config))}: "
    try:
        for file in files:
            if file.is_file():
                read_settings(file)
        settings = resolve(given, read_schema(Path(workflow.basedir) / "config" / "schema.yaml"))
        problems = [f"{where}{problem}" for problem in missing_files(settings)]
    except ConfigurationError as error:
        problems = [f"{where}{problem}" for problem in error.problems]
    except SettingsFileError as error:
        problems = error.problems
    if problems:
        sys.exit("\n".join(f"configuration error: {problem}" for problem in problems))
    # For expressions in a cluster's profile: the device decides on partitions and memory there.
    os.environ.update(DEVICE=settings["device"])
    # Where each program writes down its machine and time (scripts/common/host.py).
    os.environ.update(HOST_FACTS=f"results/{settings['run']}/host")
    return settings


def warn_without_records(run):
    """Say that changes cannot be seen where results were copied without Snakemake's records of them."""
    results, records = Path("results") / run, Path(".snakemake") / "metadata"
    if (results / "market").exists() and not (records.is_dir() and any(records.iterdir())):
        logger.warning(
            f"{results} is there, but Snakemake's records of how it was made (.snakemake/metadata) are not: a "
            f"changed setting or program goes unnoticed. Delete {results}, or add --forceall, to be sure of it."
        )


def script(rule_name):
    """Path of a rule's program, or of a module beside it."""
    return Path(workflow.basedir) / "scripts" / f"{rule_name}.py"


def code(rule_name):
    """Digest of a rule's program: Snakemake itself sees only the shell line."""
    return code_digest(script(rule_name))


IMAGES = {}  # name of a definition to the path of its image, of all rules


def finished_images():
    """The folder of finished images, if the configuration names one."""
    return Path(config["containers"]["folder"]) if config["containers"]["folder"] else None


@cache
def base_given():
    """What the images of the CPU rules start from."""
    section = config["containers"]
    try:
        return given_arguments(Path.cwd(), section["bootstrap"], section["base"], finished_images())
    except OSError as error:
        sys.exit(f"containers.base: {error.filename}: {error.strerror}. Name a file that you may read.")


def image(rule_name):
    """Container image of a rule; used only with --software-deployment-method apptainer."""
    name = image_of(rule_name, config["device"], config["train"]["engine"])
    IMAGES[name] = image_path(Path(workflow.basedir), name, base_given())
    return IMAGES[name]


def provide_or_stop(needed):
    """Make the images that are missing and record all; if one cannot be had, one line and exit code 1."""
    names = [name for name, path in IMAGES.items() if path in needed]
    try:
        provide(Path.cwd(), names, base_given(), finished_images(), config["containers"]["scratch"])
        record_images(Path.cwd(), needed, Path(f"results/{config['run']}/containers.json"))
    except (ContainerError, OSError) as error:
        sys.exit(f"containers: error: {error}")


def isolate(settings):
    """Keep the machine out of the containers, whatever the profile says."""
    try:
        scratch = scratch_folder(Path.cwd(), config["containers"]["scratch"])
    except OSError as error:
        sys.exit(f"containers.scratch: {error.filename}: {error.strerror}. Name a folder that you may write to.")
    gpu = sees_gpus(config["device"], os.environ)
    named, cache = named_paths(config), used_cache(config["base_model"])
    settings.apptainer_args = arguments(settings.apptainer_args, Path.cwd(), scratch, named, gpu, cache)
    for name in of_another_job(os.environ):
        del os.environ[name]
    os.environ.update(passed(os.environ))
    if config["train"]["engine"] == "slime" and config["train"]["slime"]["nodes"] > 1:
        try:
            os.environ.update(handed_on(settings.apptainer_args, scratch, os.environ))
        except ValueError as error:
            sys.exit(f"apptainer-args: {settings.apptainer_args}: {error}")


def make_cache_or_stop():
    """Make the hub's cache, if it is used: what is missing when a container starts cannot be mounted."""
    try:
        for cache in used_cache(config["base_model"]):
            cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"base_model.hub.cache: {error.filename}: {error.strerror}. Name a folder that you may write to.")


def gpus_checked(count):
    """Flags of the check that a job makes before it uses GPUs; how many it gets is what the rule asks for."""
    return f"--device={config['device']} --count={count}"


def training_checked(model):
    """Flags of the check that a training fits its GPUs; none on a CPU."""
    if config["device"] != "cuda":
        return ""
    asked = {"engine": engine_settings(config["train"]), "task": asdict(task_of(config))}
    return f"--model={model} --training={quote(json.dumps(asked))}"


def hub_flags():
    """Flags that say which model of the hub, and where its cache is; empty for other sources."""
    section = config["base_model"]
    return flags({"hub": section["hub"] | {"cache": str(hub_cache(section))}}) if section["source"] == "hub" else ""


def archived_configuration():
    """The configuration with the hub's cache as commands name it, so that the archive can leave it out of them."""
    section = config["base_model"]
    cache = str(hub_cache(section)) if section["source"] == "hub" else None
    return without(config, "archive") | {"base_model": section | {"hub": section["hub"] | {"cache": cache}}}


def leverages():
    """The listed leverages as they stand in paths."""
    return [text(leverage) for leverage in config["simulate"]["leverage"]]


def reports():
    """What a run is for: slides and a page for each leverage."""
    names = ["deck.pptx", "tearsheet.html"]
    return [f"results/{config['run']}/leverage-{leverage}/{name}" for leverage in leverages() for name in names]


def figure(name):
    """A figure of a leverage; in `snakemake --report` it stands with its caption."""
    return report(
        f"<results>/leverage-{{leverage}}/{name}.png",
        caption=f"captions/{name}.rst",
        category="Leverage {leverage}",
        labels={"figure": name.replace("_", " ")},
    )


def closing_words():
    """Where the slides and pages lie; seconds and peak memory of the rules, from Snakemake's benchmarks."""
    folder = Path("results") / config["run"] / "benchmarks"
    rows = {path.stem: path.read_text().splitlines()[1].split("\t") for path in sorted(folder.glob("*.tsv"))}
    parts = [f"{name} {float(row[0]):.0f} s, {row[2]} MB" for name, row in rows.items()]
    # Where only an earlier stage was asked for there are none.
    kinds = {".pptx": "Slides", ".html": "Page"}
    made = [f"{kinds[Path(path).suffix]}: {path}" for path in reports() if Path(path).exists()]
    return "\n".join([*made, f"Seconds and peak memory of each rule's last run: {'; '.join(parts)}"])


def without(section, *keys):
    """A section without some of its keys."""
    return {key: value for key, value in section.items() if key not in keys}


def variant_files(name, only=lambda variant: True):
    """A file of each variant (or of some), beside the trained model's."""
    return [
        f"results/{config['run']}/infer/{variant['name']}/{name}" for variant in config["variants"] if only(variant)
    ]


def rewords(variant):
    """Whether a variant has prompts of its own."""
    section = config["samples"]
    return any(variant[key] not in (None, section[key]) for key in ("prompt", "mask"))


def variant_checkpoints():
    """Folders of the earlier checkpoints that variants ask."""
    iterations = sorted({variant["iteration"] for variant in config["variants"] if variant["iteration"]})
    return [f"results/{config['run']}/model/iteration-{iteration}" for iteration in iterations]


def variant_settings():
    """What each variant differs in, as variants.py takes it."""
    found = []
    for variant in config["variants"]:
        own = {key: value for key, value in variant.items() if value is not None and key != "iteration"}
        if variant["iteration"]:
            own["model"] = f"results/{config['run']}/model/iteration-{variant['iteration']}"
        found.append(own)
    return found


def compared_variants():
    """NAME=FILE of the decisions that are tested beside the trained model's: the run's own variants, then others."""
    own = [variant["name"] for variant in config["variants"]]
    return [
        *(f"{name}={file}" for name, file in zip(own, variant_files("decisions.jsonl"), strict=True)),
        *config["evaluate"]["variants"],
    ]


def records_of_variants():
    """What lies beside decisions of other runs and says which samples they answer."""
    files = [Path(variant.partition("=")[2]) for variant in config["evaluate"]["variants"]]
    return [str(path) for file in files for path in records_of(file) if path.exists()]


def sampling(wildcards):
    """Flags of inference: what both models share, and the sampling of this one."""
    section = config["infer"]
    return flags(without(section, "trained", "base") | section[wildcards.model])
