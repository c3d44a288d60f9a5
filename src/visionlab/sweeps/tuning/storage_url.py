"""Storage URLs of studies, in SQLAlchemy's format."""

from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


def database_file(url: str) -> Path | None:
    """Return the file of an SQLite database, None for a database server.

    Raises:
        ValueError: the URL is malformed, or the database is in memory.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(f"study must be a storage URL like sqlite:///FILE, got {url}") from error
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise ValueError(f"study must be a storage that jobs can open too, got {url}")
    if "uri" in parsed.query:  # https://sqlite.org/uri.html
        return Path(unquote(parsed.database.removeprefix("file:").partition("?")[0]))
    return Path(parsed.database)


def mask_password(url: str) -> str:
    """Return a URL without its password."""
    return str(make_url(url).render_as_string(hide_password=True))
