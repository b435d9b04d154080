"""Training with slime: its arguments, launch, hooks, logs and checkpoints. slime itself is used as it is published."""
