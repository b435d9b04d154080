rule export_weights:
    input:
        manifest="<results>/train/checkpoint.json",
        base="<results>/model/base",
    output:
        model=directory("<results>/model/trained"),
        parity="<results>/model/parity.json",
    log:
        "<logs>/export_weights.log",
    benchmark:
        "<benchmarks>/export_weights.tsv"
    container:
        image("export_weights")
    threads: 1
    resources:
        mem_mb=3000,
    params:
        iteration="",  # the last
        code=code("export_weights"),
    message:
        "Converting the trained model from Megatron to Hugging Face"
    shell:
        "OMP_NUM_THREADS={threads} python -u scripts/export_weights.py --threads={threads}"
        " {params.iteration} --manifest {input.manifest} --base {input.base}"
        " --output {output.model} --output-parity {output.parity} 2>&1 | tee {log}"
