rule simulate:
    input:
        bars="<results>/market/bars.csv",
        market="<results>/market/summary.json",
        trained="<results>/infer/trained/decisions.jsonl",
        base="<results>/infer/base/decisions.jsonl",
        summary="<results>/infer/trained/summary.json",
    output:
        equity="<results>/leverage-{leverage}/equity.csv",
        trades="<results>/leverage-{leverage}/trades.csv",
        metrics="<results>/leverage-{leverage}/metrics.json",
    log:
        "<logs>/simulate-{leverage}.log",
    benchmark:
        "<benchmarks>/simulate-{leverage}.tsv"
    container:
        image("simulate")
    threads: 1
    resources:
        mem_mb=1000,
    params:
        # The leverage comes from the path, so that another one leaves this one as it is.
        flags=flags(without(config["simulate"], "leverage")),
        code=code("simulate"),
    message:
        "Trading on the answers at leverage {wildcards.leverage}"
    shell:
        "python -u scripts/simulate.py {params.flags} --leverage {wildcards.leverage}"
        " --bars {input.bars} --market {input.market} --trained {input.trained} --base {input.base}"
        " --trained-summary {input.summary} --output-equity {output.equity}"
        " --output-trades {output.trades} --output-metrics {output.metrics} 2>&1 | tee {log}"
