"""Whose certificates are believed: those the system believes, or those of one's own."""

import ssl
from pathlib import Path

from cryptostream.errors import ConfigError


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """A context that checks certificates and names, against `ca_file` alone where there is one. Raises ConfigError."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl's own errors are such
        raise ConfigError(f"no certificates in {ca_file}: {error.strerror or error}") from error
