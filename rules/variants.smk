# An earlier checkpoint of the same training, for variants that ask it; train.keep says which ones there are.
use rule export_weights as export_checkpoint with:
    output:
        model=directory("<results>/model/iteration-{iteration}"),
        parity="<results>/model/parity-iteration-{iteration}.json",
    log:
        "<logs>/export_checkpoint-{iteration}.log",
    benchmark:
        "<benchmarks>/export_checkpoint-{iteration}.tsv"
    params:
        iteration="--iteration {iteration}",
        code=code("export_weights"),
    message:
        "Converting the checkpoint of iteration {wildcards.iteration} to Hugging Face"


# All in one job: models and prompts are small beside the start of another job, and what is in the journal is not asked
# again when a variant is added.
rule variants:
    input:
        bars="<results>/market/bars.csv",
        model="<results>/model/trained",
        checkpoints=variant_checkpoints(),
        samples="<results>/samples/test.jsonl",
    output:
        decisions=variant_files("decisions.jsonl"),
        summaries=variant_files("summary.json"),
        timing=variant_files("timing.json"),
        samples=variant_files("samples.jsonl", only=rewords),
    log:
        "<logs>/variants.log",
    benchmark:
        "<benchmarks>/variants.tsv"
    container:
        image("infer")
    threads: INFER_PROCESSES
    resources:
        mem_mb=2500 + 1000 * INFER_PROCESSES,
        gpu=INFER_GPUS,
        gpu_memory_mb=0,
        gpu_driver=0,
    params:
        gpus=gpus_checked(INFER_GPUS),
        # What they share is what the trained model is asked with.
        flags=flags(
            without(config["infer"], "trained", "base")
            | config["infer"]["trained"]
            | {"prompt": config["samples"]["prompt"], "mask": config["samples"]["mask"]}
            | {"gaps": config["market"]["gaps"]}
        ),
        variants=quote(json.dumps(variant_settings())),
        device=config["device"],
        folder=lambda wildcards, output: Path(output.decisions[0]).parents[1],
        code=code("variants"),
    message:
        "Asking the variants about every test hour"
    shell:
        "python scripts/gpus.py {params.gpus} --memory-mb={resources.gpu_memory_mb}"
        " --driver={resources.gpu_driver} 2>&1 | tee {log}; trap : INT TERM;"
        " OMP_NUM_THREADS=1 python -u scripts/variants.py {params.flags} --device={params.device} --threads=1"
        " --variants {params.variants}"
        " --model {input.model} --bars {input.bars} --samples {input.samples}"
        " --journal {params.folder}/variants-journal --output {params.folder} 2>&1 | (trap '' INT TERM; tee {log})"
