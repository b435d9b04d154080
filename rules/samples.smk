rule samples:
    input:
        bars="<results>/market/bars.csv",
    output:
        train="<results>/samples/train.jsonl",
        validation="<results>/samples/validation.jsonl",
        test="<results>/samples/test.jsonl",
    log:
        "<logs>/samples.log",
    benchmark:
        "<benchmarks>/samples.tsv"
    container:
        image("samples")
    threads: 1
    resources:
        mem_mb=1000,
    params:
        # Whether gaps are allowed is said once, where the market is made.
        flags=flags(config["samples"] | {"gaps": config["market"]["gaps"]}),
        code=code("samples"),
    message:
        "Making training, validation and test samples"
    shell:
        "python -u scripts/samples.py {params.flags} --bars {input.bars}"
        " --output-train {output.train} --output-validation {output.validation}"
        " --output-test {output.test} 2>&1 | tee {log}"
