"""The market side: bars, features, prompts, answers, reward, samples. Knows no Snakemake and no torch."""
