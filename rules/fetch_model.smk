# On the machine where Snakemake runs, which has the network, and in no container: the cache is shared with the
# hub's own tools. Nodes and containers read it.
rule fetch_model:
    output:
        record="<results>/model/hub.json",
    log:
        "<logs>/fetch_model.log",
    benchmark:
        "<benchmarks>/fetch_model.tsv"
    localrule: True
    # No container, and no environment: what runs Snakemake has the hub's client.
    handover: True
    # Without any, Snakemake hands over all that it has: no number of cores, on a cluster.
    resources:
        nodes=1,
    params:
        flags=hub_flags(),
        code=code("fetch_model"),
    message:
        "Looking for the base model in the hub's cache"
    shell:
        "python -u scripts/fetch_model.py {params.flags} --output {output.record} 2>&1 | tee {log}"
