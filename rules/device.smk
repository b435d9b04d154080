# The device of this run, for expressions in a cluster's profile: it decides on partitions and memory there.
os.environ["DEVICE"] = config["device"]


def gpus_checked(count):
    """Flags of the check that a job makes before it uses GPUs; how many it gets is what the rule asks for."""
    return f"--device={config['device']} --count={count}"
