"""What Alembic runs to migrate: it uses the connection that `store.open_store` hands over, inside its
transaction."""

from __future__ import annotations

from alembic import context


def migrate() -> None:
    """Run the missing migrations: all or none, on SQLite too, where tables are made inside the
    transaction."""
    context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
    context.run_migrations()


if __name__ == "env_py":  # the name under which Alembic loads this file; plain imports do nothing
    migrate()
