"""What happens to usage beyond storing it."""

from gatewaydb.metering.drifts import UsageDrift, UsageSums
from gatewaydb.metering.partitions import PartitionKeeper, add_partitions
from gatewaydb.metering.repricing import RepricingReport, reprice
from gatewaydb.metering.retention import PrunedMonth, PruneReport, prune
from gatewaydb.metering.verification import VerificationReport, verify

__all__ = [
    "PartitionKeeper",
    "PruneReport",
    "PrunedMonth",
    "RepricingReport",
    "UsageDrift",
    "UsageSums",
    "VerificationReport",
    "add_partitions",
    "prune",
    "reprice",
    "verify",
]
