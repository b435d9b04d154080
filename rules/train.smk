TRAIN = config["train"]
SLIME = TRAIN["engine"] == "slime"
TRAIN_PROCESSES = processes_of_node(TRAIN)  # slime starts them itself, on all nodes
TRAIN_GPUS = TRAIN_PROCESSES if config["device"] == "cuda" else 0
TRAIN_MEMORY_MB = node_memory(config, Path(f"results/{config['run']}"))
# For a cluster's profile: `threads` is cut down to the cores given, which a dry run takes for 1.
os.environ.update(TRAIN_PROCESSES=str(TRAIN_PROCESSES), TRAIN_MEMORY_MB=str(TRAIN_MEMORY_MB))
LAUNCHER = f"scripts/grpo/launch.py --standalone --nproc-per-node {TRAIN_PROCESSES}"


# No digest of the code here: train.py says itself, by its version, when a training means something else, so
# that an edited comment never trains again. Checkpoints are no declared output: Snakemake deletes those of
# a failed job, and they are what a killed training goes on from.
rule train:
    input:
        weights="<results>/model/megatron",
        base="<results>/model/base",
        train="<results>/samples/train.jsonl",
        validation="<results>/samples/validation.jsonl",
    output:
        manifest="<results>/train/checkpoint.json",
        metrics="<results>/train/metrics.jsonl",
    log:
        "<logs>/train.log",
    benchmark:
        "<benchmarks>/train.tsv"
    container:
        image("train")
    # slime's Ray has a CPU for each GPU and two more.
    threads: TRAIN_PROCESSES + 2 if SLIME else TRAIN_PROCESSES
    resources:
        # Here and in other rules it counts under --resources mem_mb=N; a cluster's profile has memory of its own.
        mem_mb=TRAIN_MEMORY_MB,
        # The profile of a cluster says how much memory and which driver GPUs must have.
        gpu=TRAIN_GPUS,
        gpu_memory_mb=0,
        gpu_driver=0,
    params:
        gpus=lambda wildcards, input: f"{gpus_checked(TRAIN_GPUS)} {training_checked(input.base)}".strip(),
        launcher=LAUNCHER if TRAIN_PROCESSES > 1 and not SLIME else "",
        flags=flags((TRAIN if SLIME else without(TRAIN, "slime")) | {"device": config["device"]}),
        # As training.key.training_version has it.
        version=constant(script("training/key"), "TRAINING_VERSION") + (TRAIN["weight_decay"] > 0 and not SLIME),
        checkpoints=subpath(output.manifest, parent=True),
    message:
        "Training with GRPO"
    # The log goes on where that of a killed training ended.
    # One thread a process: a second one gains little on a small model and loses on a busy machine.
    # At Ctrl-C, or when a cluster ends the job, the shell and tee stay until train.py has saved its checkpoint.
    shell:
        "python scripts/gpus.py {params.gpus} --memory-mb={resources.gpu_memory_mb}"
        " --driver={resources.gpu_driver} 2>&1 | tee -a {log}; trap : INT TERM;"
        " OMP_NUM_THREADS=1 python -u {params.launcher} scripts/train.py {params.flags} --threads=1"
        " --weights {input.weights} --base {input.base}"
        " --train {input.train} --validation {input.validation}"
        " --checkpoints {params.checkpoints}/checkpoints"
        " --output-manifest {output.manifest} --output-metrics {output.metrics} 2>&1 | (trap '' INT TERM; tee -a {log})"
