"""What retrain.py inside an archive is joined from, with the parts of replay.py."""
