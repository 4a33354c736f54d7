"""What happens to usage beyond storing it."""

from gatewaydb.metering.inspection import JournalReport, inspect
from gatewaydb.metering.recorder import RecorderStats, UsageRecorder, WhenFull
from gatewaydb.metering.repricing import RepricingReport, reprice

__all__ = ["JournalReport", "RecorderStats", "RepricingReport", "UsageRecorder", "WhenFull", "inspect", "reprice"]
