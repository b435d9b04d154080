"""From market bars to slides: `snakemake --cores all` builds the slides of config/config.yaml."""

from snakemake.utils import min_version

min_version("9.27")


# One configuration at a time: the file asked for with --configfile and nothing else, or the demo.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "rules/common.smk"


config = resolved_or_stop(config)
warn_without_records(config["run"])


report: "rules/captions/workflow.rst"


pathvars:
    results=f"results/{config['run']}",
    logs=f"results/{config['run']}/logs",
    benchmarks=f"results/{config['run']}/benchmarks",


wildcard_constraints:
    model="trained|base",
    leverage="[0-9.]+",
    iteration="[0-9]+",


rule all:
    default_target: True
    input:
        reports(),
    localrule: True


include: "rules/market.smk"
include: "rules/samples.smk"
include: "rules/fetch_model.smk"
include: "rules/base_model.smk"
include: "rules/import_weights.smk"
include: "rules/train.smk"
include: "rules/export_weights.smk"
include: "rules/infer.smk"
include: "rules/probe.smk"
include: "rules/variants.smk"
include: "rules/simulate.smk"
include: "rules/evaluate.smk"
include: "rules/plot.smk"
include: "rules/deck.smk"
include: "rules/tearsheet.smk"
include: "rules/containers.smk"
include: "rules/archive.smk"


onsuccess:
    print(closing_words())
