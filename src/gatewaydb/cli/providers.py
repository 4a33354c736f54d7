"""`gatewaydb providers`: where models are called, and the credentials for it, which are never shown."""

from typing import Annotated, Any

from cyclopts import Parameter
from msgspec.structs import replace

from gatewaydb import Provider
from gatewaydb.cli import values
from gatewaydb.cli.errors import UsageError
from gatewaydb.cli.lookups import find_provider
from gatewaydb.cli.options import DEFAULT_OPTIONS, DEFAULT_PAGE, Options, Page, command, group
from gatewaydb.cli.output import note, plain, say, show_fields, show_json, show_table
from gatewaydb.cli.prompts import CredentialsFrom, Yes, confirm, credentials_source, read_credentials
from gatewaydb.credentials import new_encryption_key

app = group("providers", "Providers: where models are called, and with what credentials. Named by name or id.")

Flag = Annotated[bool, Parameter(show_default=False)]
ApiBase = Annotated[str | None, Parameter(name="--api-base", help="The URL under which it is called.")]
Metadata = Annotated[
    tuple[str, ...] | None, Parameter(name="--metadata", help="key=value; may be given several times.")
]


@command(
    app,
    "providers create openai",
    "providers create openai-eu --api-base https://eu.api.openai.com/v1",
    "providers create openai --credentials-from env:OPENAI_API_KEY",
    "providers create azure --credentials-from stdin < azure.json",
)
async def create(
    name: str,
    /,
    *,
    api_base: ApiBase = None,
    metadata: Metadata = None,
    credentials_from: CredentialsFrom = None,
    disabled: Flag = False,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Add a provider.

    Parameters
    ----------
    disabled
        Switched off for now.
    """
    new = Provider(
        name=name,
        api_base=api_base,
        enabled=not disabled,
        metadata=values.pairs("--metadata", metadata or ()),
        credentials=None if credentials_from is None else read_credentials(credentials_from),
    )
    async with options.opened() as db:
        _show(await db.providers.create(new), options)


@command(app, "providers list", "providers list --enabled --json", name="list")
async def list_providers(
    *,
    enabled: Flag = False,
    page: Page = DEFAULT_PAGE,
    after: str | None = None,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """List the providers by name.

    Parameters
    ----------
    enabled
        Only those that are switched on.
    after
        The last provider of the page before; costs the same on every page.
    """
    async with options.opened() as db:
        providers = db.providers
        last = None if after is None else await find_provider(db, after)
        found = await (providers.list_enabled if enabled else providers.list)(page.limit, page.offset, after=last)
    if options.json:
        show_json([_as_json(provider) for provider in found])
    else:
        columns = ("name", "state", "credentials", "api base", "id")
        show_table(
            columns, [_row(provider) for provider in found], "no providers; add one: gatewaydb providers create NAME"
        )
        page.note_if_full(len(found))


@command(app, "providers show openai")
async def show(provider: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Show one provider, and whether it has credentials."""
    async with options.opened() as db:
        _show(await find_provider(db, provider), options)


@command(app, "providers update openai --api-base https://proxy.example.com/v1 --metadata region=eu")
async def update(
    provider: str,
    /,
    *,
    name: str | None = None,
    api_base: ApiBase = None,
    no_api_base: Flag = False,
    metadata: Metadata = None,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Change what is given, and leave the rest.

    Parameters
    ----------
    name
        The new name.
    no_api_base
        Remove the URL.
    """
    if api_base is not None and no_api_base:
        raise UsageError("--api-base: is set and removed at once")
    changes: dict[str, Any] = {} if name is None else {"name": name}
    if api_base is not None or no_api_base:
        changes["api_base"] = api_base
    if not changes and not metadata:
        raise UsageError("nothing to change; see: gatewaydb providers update --help")
    async with options.opened() as db:
        found = await find_provider(db, provider)
        changes["metadata"] = {**found.metadata, **values.pairs("--metadata", metadata or ())}
        _show(await db.providers.update(replace(found, **changes)), options)


@command(app, "providers enable openai")
async def enable(provider: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Switch a provider on."""
    await _set_enabled(provider, True, options)


@command(app, "providers disable openai")
async def disable(provider: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Switch a provider off."""
    await _set_enabled(provider, False, options)


@command(app, "providers delete openai --yes")
async def delete(provider: str, /, *, yes: Yes = False, options: Options = DEFAULT_OPTIONS) -> None:
    """Delete a provider and its credentials. Refused while a model names it."""
    async with options.opened() as db:
        found = await find_provider(db, provider)
        confirm(f"Delete the provider {found.name!r}?", yes)
        await db.providers.delete(found.id)
    if options.json:
        show_json({"deleted": found.id})
    else:
        say(f"deleted the provider {found.name!r}")


@command(
    app,
    "providers set-credentials openai",
    "providers set-credentials openai --credentials-from env:OPENAI_API_KEY",
    "providers set-credentials azure < azure.json",
    "providers set-credentials openai --remove",
)
async def set_credentials(
    provider: str,
    /,
    *,
    credentials_from: CredentialsFrom = None,
    remove: Flag = False,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Store credentials, encrypted. Without --credentials-from they are asked for, or read from a pipe.

    Parameters
    ----------
    remove
        Forget the credentials.
    """
    if remove and credentials_from is not None:
        raise UsageError("--credentials-from: does not go with --remove")
    async with options.opened() as db:
        found = await find_provider(db, provider)
        given = None if remove else read_credentials(credentials_from or credentials_source())
        await db.providers.set_credentials(found.id, given)
        _show(await db.providers.get_by_id(found.id), options)


@command(app, "providers rotate-credentials")
async def rotate_credentials(*, options: Options = DEFAULT_OPTIONS) -> None:
    """Encrypt all credentials anew, with the first key of GATEWAYDB_ENCRYPTION_KEYS; all or none."""
    async with options.opened() as db:
        count = await db.providers.rotate_credentials()
    if options.json:
        show_json({"rotated": count})
    else:
        say(f"encrypted the credentials of {count} provider{'' if count == 1 else 's'} with the first key")


@command(app, "providers new-key", "providers new-key > key.txt && chmod 600 key.txt")
async def new_key(*, options: Options = DEFAULT_OPTIONS) -> None:
    """Make an encryption key for GATEWAYDB_ENCRYPTION_KEYS. It is stored nowhere."""
    key = new_encryption_key()
    if options.json:
        show_json({"encryption_key": key})
    else:
        say(key)
        note("Set it as GATEWAYDB_ENCRYPTION_KEYS. To rotate, put a new key in front: new,old")


async def _set_enabled(text: str, enabled: bool, options: Options) -> None:
    async with options.opened() as db:
        found = await find_provider(db, text)
        _show(await db.providers.update(replace(found, enabled=enabled)), options)


def _as_json(provider: Provider) -> dict[str, Any]:
    shown: dict[str, Any] = plain(provider)
    del shown["credentials"]
    return shown


def _row(provider: Provider) -> tuple[Any, ...]:
    state = "enabled" if provider.enabled else "disabled"
    return provider.name, state, "stored" if provider.has_credentials else None, provider.api_base, provider.id


def _show(provider: Provider, options: Options) -> None:
    if options.json:
        show_json(_as_json(provider))
    else:
        shown = dict(zip(("name", "state", "credentials", "api base", "id"), _row(provider), strict=True))
        show_fields({**shown, **provider.metadata, "changed": provider.updated_at})
