"""The store's migrations: one file a change in `versions/`, never edited once released; `store.open_store` runs what is missing."""
