# Container images (containers/<name>-<hash>.sif) and what they see of the machine. With
# --software-deployment-method apptainer the missing ones are made before the first job, on this machine.
from snakemake.settings.types import DeploymentMethod

CONTAINERS = config["containers"]

if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:
    isolate(workflow.deployment_settings)


localrules:
    containers,


rule containers:
    log:
        "<logs>/containers.log",
    # No container, and no environment: it hands the work over to Apptainer.
    handover: True
    # Without any, Snakemake hands over all that it has: no number of cores, on a cluster.
    resources:
        nodes=1,
    params:
        flags=flags(CONTAINERS),
        names=" ".join(sorted(IMAGES)),
    message:
        "Making the container images that are missing"
    shell:
        "python -u rules/containers.py {params.flags} {params.names} 2>&1 | tee {log}"


onstart:
    if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:
        make_cache_or_stop()
        provide_or_stop(sorted(workflow.dag.container_imgs))
