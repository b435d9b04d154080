"""What training is given: the one place where the market meets the loop."""
