"""What replay.py inside an archive is joined from: the standard library only, for it makes the environment itself."""
