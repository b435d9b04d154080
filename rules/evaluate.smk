# The ledger is no declared output: it remembers every variant of every run that was evaluated on the same hours.
rule evaluate:
    input:
        bars="<results>/market/bars.csv",
        market="<results>/market/summary.json",
        equity="<results>/leverage-{leverage}/equity.csv",
        metrics="<results>/leverage-{leverage}/metrics.json",
        trained="<results>/infer/trained/decisions.jsonl",
        base="<results>/infer/base/decisions.jsonl",
        train_samples="<results>/samples/train.jsonl",
        validation_samples="<results>/samples/validation.jsonl",
        test_samples="<results>/samples/test.jsonl",
        probe=["<results>/infer/probe.json"] if config["probe"]["enabled"] else [],
        variants=[variant.partition("=")[2] for variant in compared_variants()],
        # What says of which market the decisions of other runs are.
        records=records_of_variants(),
    output:
        evidence="<results>/leverage-{leverage}/evidence.json",
    log:
        "<logs>/evaluate-{leverage}.log",
    benchmark:
        "<benchmarks>/evaluate-{leverage}.tsv"
    container:
        image("evaluate")
    threads: 1
    resources:
        mem_mb=1500,
    params:
        flags=flags(without(config["evaluate"], "variants")),
        variants=" ".join(map(quote, compared_variants())),
        prompt=config["samples"]["prompt"],
        probe=lambda wildcards, input: f"--probe {input.probe}" if input.probe else "",
        run=config["run"],
        # Only to be run again after later trials; asked when the test hours are there.
        elsewhere=lambda wildcards: trials_elsewhere(Path("results", config["run"]), Path("results/ledger")),
        code=code("evaluate"),
    message:
        "Testing what was earned at leverage {wildcards.leverage}"
    shell:
        "OMP_NUM_THREADS={threads} python -u scripts/evaluate.py {params.flags} --variants {params.variants}"
        " --leverage {wildcards.leverage} --bars {input.bars} --market {input.market}"
        " --equity {input.equity} --metrics {input.metrics} --trained {input.trained} --base {input.base}"
        " --train-samples {input.train_samples} --validation-samples {input.validation_samples}"
        " --test-samples {input.test_samples} --prompt {params.prompt} {params.probe} --ledger results/ledger"
        " --run {params.run} --output {output.evidence} 2>&1 | tee {log}"
