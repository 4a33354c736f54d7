"""What happens to usage beyond storing it."""

from gatewaydb.metering.recorder import RecorderStats, UsageRecorder, WhenFull
from gatewaydb.metering.repricing import RepricingReport, reprice

__all__ = ["RecorderStats", "RepricingReport", "UsageRecorder", "WhenFull", "reprice"]
