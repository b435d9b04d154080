rule base_model:
    input:
        folder=config["base_model"]["folder"] if config["base_model"]["source"] == "folder" else [],
        # A folder's own time says nothing of a file that was written anew in its place.
        files=taken_files(Path(config["base_model"]["folder"])) if config["base_model"]["source"] == "folder" else [],
        hub=rules.fetch_model.output.record if config["base_model"]["source"] == "hub" else [],
    output:
        model=directory("<results>/model/base"),
    log:
        "<logs>/base_model.log",
    benchmark:
        "<benchmarks>/base_model.tsv"
    container:
        image("base_model")
    threads: 1
    resources:
        mem_mb=2000,
    params:
        flags=flags(without(chosen(config["base_model"], ("tiny", "folder", "hub")), "hub")),
        hub=lambda wildcards, input: f"{hub_flags()} --hub-record={input.hub}" if input.hub else "",
        code=code("base_model"),
    message:
        "Making the base model"
    shell:
        "OMP_NUM_THREADS={threads} python -u scripts/base_model.py {params.flags} {params.hub} --threads={threads}"
        " --output {output.model} 2>&1 | tee {log}"
