rule plot:
    input:
        equity="<results>/leverage-{leverage}/equity.csv",
        metrics="<results>/leverage-{leverage}/metrics.json",
        evidence="<results>/leverage-{leverage}/evidence.json",
        decisions="<results>/infer/trained/decisions.jsonl",
        training="<results>/train/metrics.jsonl",
    output:
        equity_curve="<results>/leverage-{leverage}/equity_curve.png",
        drawdown="<results>/leverage-{leverage}/drawdown.png",
        decisions="<results>/leverage-{leverage}/decisions.png",
        training="<results>/leverage-{leverage}/training.png",
        null_distribution="<results>/leverage-{leverage}/null_distribution.png",
        bootstrap_fan="<results>/leverage-{leverage}/bootstrap_fan.png",
        cost_latency="<results>/leverage-{leverage}/cost_latency.png",
        leverage="<results>/leverage-{leverage}/leverage.png",
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
        runtime=10,
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
