"""What happens to usage beyond storing it."""

from gatewaydb.metering.partitions import PartitionKeeper, add_partitions
from gatewaydb.metering.repricing import RepricingReport, reprice
from gatewaydb.metering.settlement import settle_days

__all__ = ["PartitionKeeper", "RepricingReport", "add_partitions", "reprice", "settle_days"]
