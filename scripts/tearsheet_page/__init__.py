"""The tearsheet: one HTML page of a run at one leverage, whole in itself."""
