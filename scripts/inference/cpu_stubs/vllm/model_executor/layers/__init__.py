"""Import-only stand-in; see vllm."""
