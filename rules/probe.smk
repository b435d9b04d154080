# Optional (probe.enabled): does the model decide otherwise when dates, name and price level are others?
rule probe:
    input:
        bars="<results>/market/bars.csv",
        model="<results>/model/trained",
        samples="<results>/samples/test.jsonl",
        decisions="<results>/infer/trained/decisions.jsonl",
        summary="<results>/infer/trained/summary.json",
    output:
        probe="<results>/infer/probe.json",
    log:
        "<logs>/probe.log",
    benchmark:
        "<benchmarks>/probe.tsv"
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
        # Asked as in infer: the same sampling, or the answers could not be compared.
        flags=flags(
            without(config["infer"], "trained", "base")
            | config["infer"]["trained"]
            | {"prompt": config["samples"]["prompt"], "mask": config["samples"]["mask"]}
            | {"gaps": config["market"]["gaps"]}
            | without(config["probe"], "enabled", "names")
        ),
        names=" ".join(map(quote, [config["market"]["name"], *config["probe"]["names"]])),
        device=config["device"],
        folder=subpath(output.probe, parent=True),
        code=code("probe"),
    message:
        "Asking the trained model again with dates, name and price level changed"
    shell:
        "python scripts/gpus.py {params.gpus} --memory-mb={resources.gpu_memory_mb}"
        " --driver={resources.gpu_driver} 2>&1 | tee {log}; trap : INT TERM;"
        " OMP_NUM_THREADS=1 python -u scripts/probe.py {params.flags} --device={params.device} --threads=1"
        " --names {params.names}"
        " --model {input.model} --bars {input.bars} --samples {input.samples}"
        " --decisions {input.decisions} --summary {input.summary}"
        " --journal {params.folder}/probe-journal --output {output.probe} 2>&1 | (trap '' INT TERM; tee {log})"
