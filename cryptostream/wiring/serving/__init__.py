"""What is served over HTTP: probes and commands for the web, out of the bus and this machine's files."""

from cryptostream.wiring.serving.address import DASHBOARD, Beside, Door, door, has_dashboard
from cryptostream.wiring.serving.site import Site, site

__all__ = ["DASHBOARD", "Beside", "Door", "Site", "door", "has_dashboard", "site"]
