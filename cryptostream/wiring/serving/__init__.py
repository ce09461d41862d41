"""What is served over HTTP: probes and commands for the web, out of the bus and this machine's files."""

from cryptostream.wiring.serving.site import Site, site

__all__ = ["Site", "site"]
