rule tearsheet:
    input:
        metrics="<results>/leverage-{leverage}/metrics.json",
        evidence="<results>/leverage-{leverage}/evidence.json",
        equity="<results>/leverage-{leverage}/equity.csv",
        trades="<results>/leverage-{leverage}/trades.csv",
        decisions="<results>/infer/trained/decisions.jsonl",
        market="<results>/market/summary.json",
        inference="<results>/infer/trained/summary.json",
        manifest="<results>/train/checkpoint.json",
        # In the order of the page; of an SVG and a PNG of the same name it holds one.
        figures=expand(
            "<results>/leverage-{{leverage}}/{figure}.{kind}",
            figure=[
                *("equity_curve", "drawdown", "decisions", "training"),
                *("null_distribution", "bootstrap_fan", "cost_latency", "leverage"),
            ],
            kind=["svg", "png"],
        ),
    output:
        tearsheet="<results>/leverage-{leverage}/tearsheet.html",
    log:
        "<logs>/tearsheet-{leverage}.log",
    benchmark:
        "<benchmarks>/tearsheet-{leverage}.tsv"
    container:
        image("tearsheet")
    threads: 1
    resources:
        mem_mb=1000,
    params:
        code=code("tearsheet"),
    message:
        "Making the tearsheet for leverage {wildcards.leverage}"
    shell:
        "python -u scripts/tearsheet.py --leverage {wildcards.leverage}"
        " --metrics {input.metrics} --evidence {input.evidence} --equity {input.equity} --trades {input.trades}"
        " --decisions {input.decisions} --market {input.market} --inference {input.inference}"
        " --manifest {input.manifest} --figures {input.figures} --output {output.tearsheet} 2>&1 | tee {log}"
