rule market:
    input:
        csv=config["market"]["csv"]["path"] if config["market"]["source"] == "csv" else [],
    output:
        bars="<results>/market/bars.csv",
        summary="<results>/market/summary.json",
    log:
        "<logs>/market.log",
    benchmark:
        "<benchmarks>/market.tsv"
    container:
        image("market")
    threads: 1
    resources:
        mem_mb=1000,
    params:
        flags=flags(chosen(config["market"], ("synthetic", "csv", "download"))),
        code=code("market"),
    message:
        "Making the market's hourly bars"
    shell:
        "python -u scripts/market.py {params.flags}"
        " --output-bars {output.bars} --output-summary {output.summary} 2>&1 | tee {log}"
