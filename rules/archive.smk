# Runs where Snakemake runs, without a container: it reads the git repository and Snakemake's own records.
rule archive:
    input:
        reports(),
    output:
        zip=f"<results>/archive/{config['run']}.zip",
        sha256=f"<results>/archive/{config['run']}.zip.sha256",
    log:
        "<logs>/archive.log",
    localrule: True
    # No container, and no environment, either.
    handover: True
    # Without any, Snakemake hands over all that it has: no number of cores, on a cluster.
    resources:
        nodes=1,
    params:
        results=subpath(output.zip, ancestor=2),
        flags=flags(config["archive"]),
        configuration=quote(json.dumps(archived_configuration())),
        leverages=leverages(),
        code=code("archive"),
    message:
        "Packing the run"
    shell:
        "python -u scripts/archive.py {params.flags} --results {params.results} --configuration {params.configuration}"
        " --leverages {params.leverages} --ledger results/ledger --snakemake .snakemake"
        " --output {output.zip} 2>&1 | tee {log}"
