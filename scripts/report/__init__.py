"""What people look at: figures and slides, drawn from the files of a run."""
