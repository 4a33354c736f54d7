"""`gatewaydb keys`: issuing API keys, and changing them."""

from typing import Any

from msgspec.structs import replace

from gatewaydb import APIKey
from gatewaydb.cli import values
from gatewaydb.cli.api_key_limits import NO_LIMITS, NO_REMOVALS, Limits, Removals, changes
from gatewaydb.cli.errors import CommandError, UsageError
from gatewaydb.cli.lookups import find_api_key
from gatewaydb.cli.options import DEFAULT_OPTIONS, DEFAULT_PAGE, Options, Page, command, group
from gatewaydb.cli.output import exact_usd, note, plain, say, show_fields, show_json, show_table
from gatewaydb.cli.prompts import Yes, confirm

app = group("keys", "API keys: who may call, what, and for how much. A key is named by id, name or hash prefix.")


@command(
    app,
    "keys create production",
    "keys create mobile --budget 100 --rate-limit 60 --expires 90d",
    "keys create staging --models 'gpt-4o,openai/*' --expires 2027-01-01",
    "keys create ci --metadata owner.email=ci@example.com --json",
)
async def create(
    name: str,
    /,
    *,
    limits: Limits = NO_LIMITS,
    metadata: tuple[str, ...] | None = None,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Issue an API key. Its secret is shown once, here: only its hash is stored.

    Parameters
    ----------
    name
        What people call the key.
    metadata
        type.key=value; may be given several times.
    """
    settings = limits.settings() | {"metadata": values.metadata(metadata or ())}
    async with options.opened() as db:
        key, secret = await db.api_keys.issue(name, **settings)
    if options.json:
        show_json({"secret": secret, **plain(key)})
    else:
        show_fields({"name": key.name, "id": key.id})
        say(f"\n  {secret}\n", "bold")
        note("This is the key's secret. It is not stored and cannot be shown again: keep it now.")


@command(app, "keys list", "keys list --limit 1000 --json", name="list")
async def list_keys(*, page: Page = DEFAULT_PAGE, after: str | None = None, options: Options = DEFAULT_OPTIONS) -> None:
    """List the API keys in the order of their making.

    Parameters
    ----------
    after
        The id of the last key of the page before; costs the same on every page.
    """
    async with options.opened() as db:
        last = None if after is None else (await find_api_key(db, after)).id
        keys = await db.api_keys.list(page.limit, page.offset, after=last)
    if options.json:
        show_json(list(keys))
    else:
        columns = ("name", "id", "state", ">budget", "expires", ">rate/min", "models")
        show_table(columns, [_row(key) for key in keys], "no API keys; make one: gatewaydb keys create NAME")
        page.note_if_full(len(keys))


@command(app, "keys show production", "keys show 3f9a0c --json")
async def show(key: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Show one API key.

    Parameters
    ----------
    key
        Its id, its name or the first six or more characters of its hash.
    """
    async with options.opened() as db:
        _show(await find_api_key(db, key), options)


@command(app, "keys update mobile --budget 250 --no-expiry", "keys update mobile --name mobile-app --all-models")
async def update(
    key: str,
    /,
    *,
    name: str | None = None,
    limits: Limits = NO_LIMITS,
    removals: Removals = NO_REMOVALS,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Change what is given, and leave the rest.

    Parameters
    ----------
    key
        Its id, name or hash prefix.
    name
        The new name.
    """
    changed = changes(limits, removals) | ({} if name is None else {"name": name})
    if not changed:
        raise UsageError("nothing to change; see: gatewaydb keys update --help")
    async with options.opened() as db:
        found = await find_api_key(db, key)
        _show(await db.api_keys.update(replace(found, **changed)), options)


@command(app, "keys disable mobile")
async def disable(key: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Switch a key off: it is refused from now on."""
    await _set_enabled(key, False, options)


@command(app, "keys enable mobile")
async def enable(key: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Switch a key on again."""
    await _set_enabled(key, True, options)


@command(app, "keys delete mobile", "keys delete mobile --yes")
async def delete(key: str, /, *, yes: Yes = False, options: Options = DEFAULT_OPTIONS) -> None:
    """Delete a key and its metadata for good. What it used stays recorded."""
    async with options.opened() as db:
        found = await find_api_key(db, key)
        confirm(f"Delete the API key {found.name!r} ({found.id})?", yes)
        await db.api_keys.delete(found.id)
    if options.json:
        show_json({"deleted": found.id})
    else:
        say(f"deleted the API key {found.name!r} ({found.id})")


@command(app, "keys set-metadata production tag.environment=production owner.email=user@example.com")
async def set_metadata(key: str, /, *pairs: str, options: Options = DEFAULT_OPTIONS) -> None:
    """Set metadata, all of it or none.

    Parameters
    ----------
    pairs
        type.key=value, one or more.
    """
    given = values.metadata(pairs)
    if not given:
        raise UsageError("nothing to set: give type.key=value")
    async with options.opened() as db:
        found = await find_api_key(db, key)
        async with db.transaction() as tx:
            for kind, items in given.items():
                for name, value in items.items():
                    await tx.api_keys.set_metadata(found.id, kind, name, value)
        _show(await db.api_keys.get_by_id(found.id), options)


@command(app, "keys delete-metadata production tag.environment")
async def delete_metadata(key: str, /, *metadata: str, options: Options = DEFAULT_OPTIONS) -> None:
    """Remove metadata.

    Parameters
    ----------
    metadata
        type.key, one or more.
    """
    given = [values.metadata_name(text) for text in metadata]
    if not given:
        raise UsageError("nothing to delete: give type.key")
    async with options.opened() as db:
        found = await find_api_key(db, key)
        for kind, name in given:
            if name not in found.metadata.get(kind, {}):
                raise CommandError(f"the API key {found.name!r} has no metadata {kind}.{name}")
        async with db.transaction() as tx:
            for kind, name in given:
                await tx.api_keys.delete_metadata(found.id, kind, name)
        _show(await db.api_keys.get_by_id(found.id), options)


async def _set_enabled(text: str, enabled: bool, options: Options) -> None:
    async with options.opened() as db:
        found = await find_api_key(db, text)
        await db.api_keys.set_enabled(found.id, enabled)
        _show(await db.api_keys.get_by_id(found.id), options)


def _state(key: APIKey) -> str:
    return "disabled" if not key.enabled else "expired" if key.is_expired() else "valid"


def _row(key: APIKey) -> tuple[Any, ...]:
    budget = None if key.monthly_budget_usd is None else exact_usd(key.monthly_budget_usd)
    expires = key.expires_at and f"{key.expires_at:%Y-%m-%d}"
    return key.name, key.id, _state(key), budget, expires, key.rate_limit_per_minute, key.allowed_models or "all"


def _show(key: APIKey, options: Options) -> None:
    if options.json:
        show_json(key)
    else:
        budget = None if key.monthly_budget_usd is None else f"{exact_usd(key.monthly_budget_usd)} a month"
        show_fields(
            {
                "name": key.name,
                "id": key.id,
                "hash": f"{key.key_hash[:12]}...",
                "state": _state(key),
                "models": key.allowed_models or "all",
                "budget": budget,
                "rate limit": key.rate_limit_per_minute and f"{key.rate_limit_per_minute:,} a minute",
                "expires": key.expires_at,
                "created": key.created_at,
                "changed": key.updated_at,
            }
            | {f"{kind}.{name}": value for kind, pairs in key.metadata.items() for name, value in pairs.items()}
        )
