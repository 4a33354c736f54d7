"""The command `gatewaydb`: one group for each noun, and one for the database itself."""

from gatewaydb.cli.app import main

__all__ = ["main"]
