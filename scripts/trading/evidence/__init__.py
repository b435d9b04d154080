"""Evidence for or against a result: tests of one strategy's decisions, and what they allow to be said."""
