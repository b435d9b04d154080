"""The archive of a run: collected, described, packed, and the programs inside it."""
