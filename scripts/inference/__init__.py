"""Asking a model: SGLang's offline engine, the prompts it gets, the journal of its answers."""
