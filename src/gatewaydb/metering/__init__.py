"""What happens to usage beyond storing it."""

from gatewaydb.metering.drifts import UsageDrift, UsageSums
from gatewaydb.metering.inspection import JournalReport, inspect
from gatewaydb.metering.partitions import PartitionKeeper, add_partitions
from gatewaydb.metering.recorder import RecorderStats, UsageRecorder, WhenFull
from gatewaydb.metering.repricing import RepricingReport, reprice
from gatewaydb.metering.retention import PrunedMonth, PruneReport, prune
from gatewaydb.metering.settlement import settle_days
from gatewaydb.metering.verification import VerificationReport, verify

__all__ = [
    "JournalReport",
    "PartitionKeeper",
    "PruneReport",
    "PrunedMonth",
    "RecorderStats",
    "RepricingReport",
    "UsageDrift",
    "UsageRecorder",
    "UsageSums",
    "VerificationReport",
    "WhenFull",
    "add_partitions",
    "inspect",
    "prune",
    "reprice",
    "settle_days",
    "verify",
]
