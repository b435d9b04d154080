INFER_PROCESSES = config["infer"]["tensor"] * config["infer"]["data"]
INFER_GPUS = INFER_PROCESSES if config["device"] == "cuda" else 0
os.environ.update(INFER_PROCESSES=str(INFER_PROCESSES))  # as TRAIN_PROCESSES in train.smk


# The journal is no declared output: a killed inference goes on from it. The shell and tee outlive the signal
# that ends infer.py, so that it can say goodbye.
rule infer:
    input:
        model="<results>/model/{model}",
        samples="<results>/samples/test.jsonl",
    output:
        decisions="<results>/infer/{model}/decisions.jsonl",
        summary="<results>/infer/{model}/summary.json",
        timing="<results>/infer/{model}/timing.json",
    log:
        "<logs>/infer-{model}.log",
    benchmark:
        "<benchmarks>/infer-{model}.tsv"
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
        flags=sampling,
        device=config["device"],
        journal=subpath(output.decisions, parent=True),
        code=code("infer"),
    message:
        "Asking the {wildcards.model} model about every test hour"
    shell:
        "python scripts/gpus.py {params.gpus} --memory-mb={resources.gpu_memory_mb}"
        " --driver={resources.gpu_driver} 2>&1 | tee {log}; trap : INT TERM;"
        " OMP_NUM_THREADS=1 python -u scripts/infer.py {params.flags} --device={params.device} --threads=1"
        " --variant {wildcards.model} --model {input.model} --samples {input.samples}"
        " --journal {params.journal}/journal --output-decisions {output.decisions}"
        " --output-summary {output.summary} --output-timing {output.timing} 2>&1 | (trap '' INT TERM; tee {log})"
