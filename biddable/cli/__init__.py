"""The command line; `main.py` is its beginning."""
