"""GRPO on Megatron-core. Knows of torch and Megatron, not of markets: it gets prompts and a judge."""
