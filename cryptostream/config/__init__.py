"""What a person may decide: YAML, environment and flags in, one checked and frozen Config out."""

from cryptostream.config.loading import Loaded, load
from cryptostream.config.schema import (
    BusConfig,
    Config,
    ConsumerConfig,
    Discover,
    DiscoveryConfig,
    FeedConfig,
    FeedDefaults,
    IngestConfig,
    VenueConfig,
)

__all__ = [
    "BusConfig",
    "Config",
    "ConsumerConfig",
    "Discover",
    "DiscoveryConfig",
    "FeedConfig",
    "FeedDefaults",
    "IngestConfig",
    "Loaded",
    "VenueConfig",
    "load",
]
