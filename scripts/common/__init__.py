"""What every program of the workflow shares: errors, files, provenance, progress."""
