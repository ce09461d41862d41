"""Door for other programs: consume streams from your own code."""

from cryptostream.client.blocking import consume
from cryptostream.client.consumer import Consumer
from cryptostream.client.looking import GroupInfo, StreamInfo

__all__ = ["Consumer", "GroupInfo", "StreamInfo", "consume"]
