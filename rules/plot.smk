rule plot:
    input:
        equity="<results>/leverage-{leverage}/equity.csv",
        metrics="<results>/leverage-{leverage}/metrics.json",
        evidence="<results>/leverage-{leverage}/evidence.json",
        decisions="<results>/infer/trained/decisions.jsonl",
        training="<results>/train/metrics.jsonl",
    output:
        equity_curve=figure("equity_curve"),
        drawdown=figure("drawdown"),
        decisions=figure("decisions"),
        training=figure("training"),
        null_distribution=figure("null_distribution"),
        bootstrap_fan=figure("bootstrap_fan"),
        cost_latency=figure("cost_latency"),
        leverage=figure("leverage"),
        # Written beside the PNG of the same name.
        svg=expand(
            "<results>/leverage-{{leverage}}/{figure}.svg",
            figure=[
                *("equity_curve", "drawdown", "decisions", "training"),
                *("null_distribution", "bootstrap_fan", "cost_latency", "leverage"),
            ],
        ),
    log:
        "<logs>/plot-{leverage}.log",
    benchmark:
        "<benchmarks>/plot-{leverage}.tsv"
    container:
        image("plot")
    threads: 1
    resources:
        mem_mb=1000,
    params:
        flags=flags(config["plot"]),
        code=code("plot"),
    message:
        "Drawing the figures for leverage {wildcards.leverage}"
    shell:
        "python -u scripts/plot.py {params.flags} --equity {input.equity} --metrics {input.metrics}"
        " --evidence {input.evidence}"
        " --decisions {input.decisions} --training {input.training}"
        " --output-equity-curve {output.equity_curve} --output-drawdown {output.drawdown}"
        " --output-decisions {output.decisions} --output-training {output.training}"
        " --output-null-distribution {output.null_distribution} --output-bootstrap-fan {output.bootstrap_fan}"
        " --output-cost-latency {output.cost_latency} --output-leverage {output.leverage} 2>&1 | tee {log}"
