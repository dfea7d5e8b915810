"""The store's migrations: one file for each change, in `versions/`; `store.open_store` runs those that a
store lacks.

A released migration is frozen: stores were made by it. It imports no other migration, and of the package only
functions of `triggers` whose names end in a version.
"""
