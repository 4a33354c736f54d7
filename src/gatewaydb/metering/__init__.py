"""What happens to usage beyond storing it."""

from gatewaydb.metering.inspection import JournalReport, inspect
from gatewaydb.metering.partitions import PartitionKeeper, add_partitions
from gatewaydb.metering.recorder import RecorderStats, UsageRecorder, WhenFull
from gatewaydb.metering.repricing import RepricingReport, reprice
from gatewaydb.metering.settlement import settle_days

__all__ = [
    "JournalReport",
    "PartitionKeeper",
    "RecorderStats",
    "RepricingReport",
    "UsageRecorder",
    "WhenFull",
    "add_partitions",
    "inspect",
    "reprice",
    "settle_days",
]
