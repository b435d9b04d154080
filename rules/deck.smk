rule deck:
    input:
        metrics="<results>/leverage-{leverage}/metrics.json",
        evidence="<results>/leverage-{leverage}/evidence.json",
        equity_curve="<results>/leverage-{leverage}/equity_curve.png",
        null_distribution="<results>/leverage-{leverage}/null_distribution.png",
        bootstrap_fan="<results>/leverage-{leverage}/bootstrap_fan.png",
        cost_latency="<results>/leverage-{leverage}/cost_latency.png",
        leverage="<results>/leverage-{leverage}/leverage.png",
        market="<results>/market/summary.json",
        manifest="<results>/train/checkpoint.json",
        inference="<results>/infer/trained/summary.json",
        base_inference="<results>/infer/base/summary.json",
        parity="<results>/model/parity.json",
    output:
        deck="<results>/leverage-{leverage}/deck.pptx",
    log:
        "<logs>/deck-{leverage}.log",
    benchmark:
        "<benchmarks>/deck-{leverage}.tsv"
    container:
        image("deck")
    threads: 1
    resources:
        mem_mb=1000,
    params:
        flags=flags(config["deck"]),
        code=code("deck"),
    message:
        "Making the slides for leverage {wildcards.leverage}"
    shell:
        "python -u scripts/deck.py {params.flags} --leverage {wildcards.leverage}"
        " --metrics {input.metrics} --evidence {input.evidence} --equity-curve {input.equity_curve}"
        " --null-distribution {input.null_distribution} --bootstrap-fan {input.bootstrap_fan}"
        " --cost-latency {input.cost_latency} --leverage-curves {input.leverage} --market {input.market}"
        " --manifest {input.manifest} --inference {input.inference}"
        " --base-inference {input.base_inference} --parity {input.parity}"
        " --output {output.deck} 2>&1 | tee {log}"
