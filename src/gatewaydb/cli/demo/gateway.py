"""What a gateway does with each request, on the public face of gatewaydb only."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from uuid import UUID

from gatewaydb import (
    APIKey,
    APIKeyDisabledError,
    APIKeyExpiredError,
    APIKeyNotFoundError,
    BillableUsage,
    Database,
    GatewayDBError,
    Model,
    ModelNotFoundError,
    UsageRecord,
)
from gatewaydb.cli.demo.traffic import Request

_WORKERS = 8
_FLUSH_ROWS = 500
_PROGRESS_EVERY = 200
_HOT_ROUNDS = 20_000

REASONS: dict[type[GatewayDBError], str] = {
    APIKeyNotFoundError: "unknown secret",
    APIKeyDisabledError: "key disabled",
    APIKeyExpiredError: "key expired",
    ModelNotFoundError: "unknown model",
}


class RefusedError(Exception):
    """The gateway refuses a request that gatewaydb had nothing against."""


class Gateway:
    """Serves requests; usage is recorded in batches, by several workers at a time."""

    def __init__(self, db: Database, secrets: Mapping[str, str]) -> None:
        self._db = db
        self._secrets = secrets
        self._waiting: list[UsageRecord] = []
        self._spent: defaultdict[UUID, Decimal] = defaultdict(Decimal)
        self.refusals: Counter[str] = Counter()
        self.recorded = 0

    async def serve(self, requests: list[Request], progress: Callable[[int, int], None]) -> float:
        """Serves all of them and records what they used; gives the seconds that it took."""
        began = time.perf_counter()
        arriving = iter(enumerate(requests, 1))

        async def work() -> None:
            for number, request in arriving:
                await self._handle(request)
                if len(self._waiting) >= _FLUSH_ROWS:
                    await self._flush()
                if number % _PROGRESS_EVERY == 0:
                    progress(number, len(requests))

        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(work())
        await self._flush()
        return time.perf_counter() - began

    async def measure_hot_path(self, caller: str, model: str) -> float:
        """Look-ups a second of what is cached, one after another: a key by its secret, a model by its alias."""
        authenticate, get_by_name, secret = (
            self._db.api_keys.authenticate,
            self._db.models.get_by_name,
            self._secrets[caller],
        )
        began = time.perf_counter()
        for _ in range(_HOT_ROUNDS):
            await authenticate(secret)
            await get_by_name(model)
        return 2 * _HOT_ROUNDS / (time.perf_counter() - began)

    async def _handle(self, request: Request) -> None:
        try:
            key = await self._db.api_keys.authenticate(self._secrets[request.caller])
            model = await self._db.models.get_by_name(request.model)
            self._admit(key, model)
            record = self._record(key, model, request)
        except RefusedError as refusal:
            self.refusals[str(refusal)] += 1
        except tuple(REASONS) as error:
            self.refusals[REASONS[type(error)]] += 1
        else:
            self._spent[key.id] += record.cost_usd or 0
            self._waiting.append(record)

    def _admit(self, key: APIKey, model: Model) -> None:
        if not key.allows_model(model):
            raise RefusedError("model not allowed")
        if key.monthly_budget_usd is not None and self._spent[key.id] >= key.monthly_budget_usd:
            raise RefusedError("budget spent")

    def _record(self, key: APIKey, model: Model, request: Request) -> UsageRecord:
        usage = BillableUsage(
            request.prompt_tokens,
            request.completion_tokens,
            cache_read_tokens=request.cached_tokens,
            reasoning_tokens=request.reasoning_tokens,
        )
        return model.usage_record(
            key.id, usage, request_timestamp=request.at, endpoint="/v1/chat/completions", status_code=200
        )

    async def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        if batch:
            # Another worker may have added its own in the meantime.
            added = await self._db.usage.create_many(batch)
            self.recorded += added
