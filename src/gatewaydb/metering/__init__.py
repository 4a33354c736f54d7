"""What happens to usage beyond storing it."""

from gatewaydb.metering.partitions import PartitionKeeper, add_partitions
from gatewaydb.metering.repricing import RepricingReport, reprice

__all__ = ["PartitionKeeper", "RepricingReport", "add_partitions", "reprice"]
