rule deck:
    input:
        metrics="<results>/leverage-{leverage}/metrics.json",
        equity_curve="<results>/leverage-{leverage}/equity_curve.png",
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
        runtime=10,
    params:
        flags=flags(config["deck"]),
        code=code("deck"),
    message:
        "Making the slides for leverage {wildcards.leverage}"
    shell:
        "python -u scripts/deck.py {params.flags} --leverage {wildcards.leverage}"
        " --metrics {input.metrics} --equity-curve {input.equity_curve} --market {input.market}"
        " --manifest {input.manifest} --inference {input.inference}"
        " --base-inference {input.base_inference} --parity {input.parity}"
        " --output {output.deck} 2>&1 | tee {log}"
