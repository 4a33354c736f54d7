"""`gatewaydb demo`: a gateway's day in one command."""

from gatewaydb.cli.demo.command import EXAMPLES, demo

__all__ = ["EXAMPLES", "demo"]
