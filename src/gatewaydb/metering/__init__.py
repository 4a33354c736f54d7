"""What happens to usage beyond storing it."""

from gatewaydb.metering.repricing import RepricingReport, reprice

__all__ = ["RepricingReport", "reprice"]
