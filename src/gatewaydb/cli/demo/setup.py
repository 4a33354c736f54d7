"""What the demo needs before its day begins: models with prices, aliases, a provider, API keys."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from gatewaydb import (
    APIKey,
    Database,
    Model,
    ModelAlias,
    ModelAliasNotFoundError,
    Provider,
    ProviderNotFoundError,
)
from gatewaydb.cli.demo.traffic import ALIASES, CALLERS, CATALOG_MODELS, HOUSE_MODEL, STRANGER, Caller
from gatewaydb.cli.output import progress_bar
from gatewaydb.credentials import new_secret

_PROVIDER = "in-house"


class Issued(NamedTuple):
    """The demo's keys by id, and every caller's secret, the stranger's too."""

    keys: dict[str, APIKey]
    secrets: dict[str, str]


async def load_models(db: Database) -> str:
    """Loads the bundled catalog, unless all models of the demo are there: prices of one's own are left alone."""
    if len(await db.models.get_by_names(CATALOG_MODELS)) == len(CATALOG_MODELS):
        return "the models of this database"
    from gatewaydb.catalog import import_catalog, read_catalog  # noqa: PLC0415

    catalog = await read_catalog()
    with progress_bar("Loading the catalog") as progress:
        async with db.transaction() as tx:
            report = await import_catalog(tx.models, catalog, progress)
    return f"{len(report.added) + len(report.changed):,} models and their prices from {catalog.source}"


async def make_house(db: Database) -> None:
    """A provider with a model that has no price, and the aliases; what is there already stays."""
    try:
        provider = await db.providers.get_by_name(_PROVIDER)
    except ProviderNotFoundError:
        provider = await db.providers.create(Provider(name=_PROVIDER, api_base="http://llama.internal/v1"))
    if not await db.models.get_by_names([HOUSE_MODEL]):
        await db.models.create(Model(name=HOUSE_MODEL, provider_id=provider.id, mode="chat"))
    for alias, name in ALIASES.items():
        try:
            await db.model_aliases.get_by_alias(alias)
        except ModelAliasNotFoundError:
            model = await db.models.get_by_name(name)
            await db.model_aliases.create(ModelAlias(alias=alias, model_id=model.id))


async def issue_keys(db: Database) -> Issued:
    """New keys, one for each caller; the stranger's secret belongs to none."""
    issued = Issued({}, {STRANGER: new_secret()})
    for caller in CALLERS:
        if caller.name != STRANGER:
            issued.keys[caller.name], issued.secrets[caller.name] = await _issue(db, caller)
    return issued


async def _issue(db: Database, caller: Caller) -> tuple[APIKey, str]:
    key, secret = await db.api_keys.issue(
        caller.name,
        allowed_models=caller.allowed_models,
        monthly_budget_usd=None if caller.budget_usd is None else Decimal(caller.budget_usd),
        expires_at=datetime.now(UTC) - timedelta(days=1) if caller.expired else None,
        metadata={"tag": {"origin": "demo"}},
    )
    if not caller.enabled:
        key = await db.api_keys.update(replace(key, enabled=False))
    return key, secret
