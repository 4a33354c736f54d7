"""`gatewaydb models`: the catalog, finding a model in it, and models of one's own."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from gatewaydb import Database, Model, PriceComponent, ProviderNotFoundError
from gatewaydb.cli import model_costs, model_import, model_prices
from gatewaydb.cli.lookups import as_id, find_model
from gatewaydb.cli.options import DEFAULT_OPTIONS, DEFAULT_PAGE, Options, Page, command, group
from gatewaydb.cli.output import console, plain, say, show_fields, show_json, show_table, table
from gatewaydb.cli.prices import amount, origin_text, price_components, prices_in_force, what_for, when
from gatewaydb.cli.prompts import Yes, confirm
from gatewaydb.cli.values import Whole
from gatewaydb.entities.models import CAPABILITIES, LIMITS

app = group("models", "Models: what may be called, what it can do and what it costs. Named by name, alias or id.")
command(app, *model_import.EXAMPLES, name="import")(model_import.import_models)
command(app, *model_costs.EXAMPLES)(model_costs.cost)
command(app, *model_prices.SET_EXAMPLES)(model_prices.set_price)
command(app, "models reset-price gpt-4o")(model_prices.reset_price)
command(app, "models history gpt-4o", "models history gpt-4o --json")(model_prices.history)


@command(app, "models search 'cluade sonet'", "models search gpt --limit 5 --json")
async def search(query: str, /, *, limit: Whole = 10, options: Options = DEFAULT_OPTIONS) -> None:
    """Find models by name, best first; typing errors are borne.

    Parameters
    ----------
    limit
        Models at most.
    """
    async with options.opened() as db:
        found = await db.models.search(query, limit)
    _show_many(found, options, f"no model is like {query!r}; is the catalog loaded? gatewaydb models import")


@command(app, "models list", "models list --provider openai --limit 1000", name="list")
async def list_models(
    *,
    provider: str | None = None,
    page: Page = DEFAULT_PAGE,
    after: str | None = None,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """List the models by name.

    Parameters
    ----------
    provider
        Only those of this LiteLLM provider (openai), or of the provider with this id.
    after
        The name of the last model of the page before; costs the same on every page.
    """
    async with options.opened() as db:
        last = None if after is None else await find_model(db, after)
        if provider is None:
            found = await db.models.list(page.limit, page.offset, after=last)
        else:
            found = await db.models.get_by_provider(as_id(provider) or provider, page.limit, page.offset, after=last)
    _show_many(found, options, "no models; load them: gatewaydb models import")
    page.note_if_full(len(found))


@command(app, "models show gpt-4o", "models show fast --json")
async def show(model: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Show one model, what it can do, and all its prices.

    Parameters
    ----------
    model
        Its name, alias or id.
    """
    async with options.opened() as db:
        found = await find_model(db, model)
    _show(found, options)


@command(
    app,
    "models create house-llama --provider in-house --mode chat --price input=0.20/M --price output=0.60/M",
    "models create ocr-1 --price ocr_cost_per_page=0.001 --json",
)
async def create(
    name: str,
    /,
    *,
    provider: str | None = None,
    mode: str | None = None,
    max_input_tokens: Whole | None = None,
    max_output_tokens: Whole | None = None,
    price: Annotated[tuple[str, ...] | None, Parameter(consume_multiple=True)] = None,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Make a model of one's own, which imports leave alone.

    Parameters
    ----------
    name
        What callers name.
    provider
        The LiteLLM provider (openai), or the name or id of a provider of the database.
    mode
        chat, embedding, image_generation, ...
    price
        FIELD=PRICE in LiteLLM's words and US dollars, as for models set-price; may be given several times. Without
        any, what the model serves is unpriced.
    """
    async with options.opened() as db:
        fields: dict[str, Any] = {} if provider is None else await _provider_fields(db, provider)
        prices = price_components(price or (), fields.get("litellm_provider"))
        fields |= {"max_input_tokens": max_input_tokens, "max_output_tokens": max_output_tokens}
        made = await db.models.create(Model(name=name, mode=mode, prices=prices, **fields))
        _show(await db.models.get_by_id(made.id), options)


@command(app, "models delete house-llama", "models delete house-llama --yes")
async def delete(model: str, /, *, yes: Yes = False, options: Options = DEFAULT_OPTIONS) -> None:
    """Delete a model with its prices, their past, and its aliases. What it served stays recorded.

    A model of the catalog comes back with the next import.

    Parameters
    ----------
    model
        Its name, alias or id.
    """
    async with options.opened() as db:
        found = await find_model(db, model)
        aliases = f" with its aliases {', '.join(found.aliases)}" if found.aliases else ""
        confirm(f"Delete the model {found.name!r}{aliases}?", yes)
        await db.models.delete(found.id)
    if options.json:
        show_json({"deleted": found.id, "name": found.name})
    else:
        say(f"deleted the model {found.name!r}{aliases}")


async def _provider_fields(db: Database, text: str) -> dict[str, Any]:
    provider_id = as_id(text)
    if provider_id is not None:
        return {"provider_id": (await db.providers.get_by_id(provider_id)).id}
    try:
        return {"litellm_provider": text, "provider_id": (await db.providers.get_by_name(text)).id}
    except ProviderNotFoundError:
        return {"litellm_provider": text}


def _show(model: Model, options: Options) -> None:
    prices = prices_in_force(model.price_sheet)
    if options.json:
        show_json({**plain(model), "price_version": model.price_version, "prices": prices})
        return
    show_fields(
        {"name": model.name, "id": model.id, "aliases": model.aliases}
        | {name: getattr(model, name) for name in ("litellm_provider", "provider_id", "mode")}
        | {name: value for name in LIMITS if (value := getattr(model, name)) is not None}
        | {"supports": [name.removeprefix("supports_") for name in CAPABILITIES if getattr(model, name)]}
        | {"deprecation date": model.deprecation_date, "source": model.source, "origin": model.origin}
        | ({"vanished": model.vanished_at} if model.vanished_at else {})
        | {"price version": model.price_version, "changed": model.updated_at}
    )
    if prices:
        rows = [_price_row(price, model) for price in prices]
        console().print(table((">price", "for", "when", "origin", "field"), rows))
    else:
        say("It has no price: what it serves is unpriced.", "yellow")


def _show_many(found: Sequence[Model], options: Options, empty: str) -> None:
    if options.json:
        show_json(list(found))
    else:
        columns = ("name", "provider", "mode", ">$/1M in", ">$/1M out", ">input tokens", ">output tokens")
        show_table(columns, [_row(model) for model in found], empty)


def _row(model: Model) -> tuple[Any, ...]:
    prices = [_per_million(model, field) for field in ("input_cost_per_token", "output_cost_per_token")]
    return model.name, model.litellm_provider, model.mode, *prices, model.max_input_tokens, model.max_output_tokens


def _per_million(model: Model, field: str) -> str | None:
    for price in prices_in_force(model.price_sheet):
        if price.source_field == field and price.unit == "token" and price.currency == "USD":
            return f"{(price.rate * 1_000_000).normalize():f}"
    return None


def _price_row(price: PriceComponent, model: Model) -> tuple[Any, ...]:
    return amount(price), what_for(price), when(price), origin_text(price, model), price.source_field
