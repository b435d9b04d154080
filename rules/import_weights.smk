rule import_weights:
    input:
        base="<results>/model/base",
    output:
        weights=directory("<results>/model/megatron"),
    log:
        "<logs>/import_weights.log",
    benchmark:
        "<benchmarks>/import_weights.tsv"
    container:
        image("import_weights")
    threads: 1
    resources:
        mem_mb=3000,
    params:
        code=code("import_weights"),
    message:
        "Converting the base model from Hugging Face to Megatron"
    shell:
        "OMP_NUM_THREADS={threads} python -u scripts/import_weights.py --threads={threads}"
        " --base {input.base} --output {output.weights} 2>&1 | tee {log}"
