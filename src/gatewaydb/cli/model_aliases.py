"""`gatewaydb aliases`: other names for models."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from msgspec.structs import replace

from gatewaydb import Database, ModelAlias
from gatewaydb.cli import values
from gatewaydb.cli.errors import CommandError, UsageError
from gatewaydb.cli.lookups import find_alias, find_model, model_names
from gatewaydb.cli.options import DEFAULT_OPTIONS, DEFAULT_PAGE, Options, Page, command, group
from gatewaydb.cli.output import plain, say, show_fields, show_json, show_table
from gatewaydb.cli.prompts import Yes, confirm

app = group("aliases", "Model aliases: other names for models. An alias is named by itself or by id.")

Flag = Annotated[bool, Parameter(show_default=False)]


@command(app, "aliases create fast gpt-4o-mini", "aliases create smart gpt-5 --tag team=research")
async def create(
    alias: str,
    model: str,
    /,
    *,
    tag: tuple[str, ...] | None = None,
    disabled: Flag = False,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Make an alias for a model.

    Parameters
    ----------
    model
        The model's name, alias or id.
    tag
        key=value; may be given several times.
    disabled
        Switched off for now.
    """
    tags = values.pairs("--tag", tag or ())
    async with options.opened() as db:
        found = await find_model(db, model)
        new = ModelAlias(alias=alias, model_id=found.id, enabled=not disabled, tags=tags)
        await _show([await db.model_aliases.create(new)], db, options)


@command(app, "aliases list", "aliases list --enabled --json", name="list")
async def list_aliases(
    *,
    enabled: Flag = False,
    page: Page = DEFAULT_PAGE,
    after: str | None = None,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """List the aliases by name.

    Parameters
    ----------
    enabled
        Only those that are switched on.
    after
        The last alias of the page before; costs the same on every page.
    """
    async with options.opened() as db:
        aliases = db.model_aliases
        last = None if after is None else await find_alias(db, after)
        found = await (aliases.list_enabled if enabled else aliases.list)(page.limit, page.offset, after=last)
        rows = await _with_models(found, db)
    if options.json:
        show_json(rows)
    else:
        columns = ("alias", "model", "state", "tags", "id")
        show_table(columns, [_row(row) for row in rows], "no aliases; make one: gatewaydb aliases create ALIAS MODEL")
        page.note_if_full(len(found))


@command(app, "aliases show fast")
async def show(alias: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Show one alias."""
    async with options.opened() as db:
        await _show([await find_alias(db, alias)], db, options)


@command(app, "aliases update fast --model gpt-5-mini", "aliases update fast --name quick")
async def update(
    alias: str, /, *, model: str | None = None, name: str | None = None, options: Options = DEFAULT_OPTIONS
) -> None:
    """Let an alias stand for another model, or rename it.

    Parameters
    ----------
    model
        The model that it stands for from now on.
    name
        The new alias.
    """
    if model is None and name is None:
        raise UsageError("nothing to change: give --model or --name")
    async with options.opened() as db:
        found = await find_alias(db, alias)
        if model is not None:
            found = replace(found, model_id=(await find_model(db, model)).id)
        if name is not None:
            found = replace(found, alias=name)
        await _show([await db.model_aliases.update(found)], db, options)


@command(app, "aliases enable fast")
async def enable(alias: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Switch an alias on."""
    await _set_enabled(alias, True, options)


@command(app, "aliases disable fast")
async def disable(alias: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Switch an alias off: it finds no model from now on."""
    await _set_enabled(alias, False, options)


@command(app, "aliases delete fast --yes")
async def delete(alias: str, /, *, yes: Yes = False, options: Options = DEFAULT_OPTIONS) -> None:
    """Delete an alias and its tags. The model stays."""
    async with options.opened() as db:
        found = await find_alias(db, alias)
        confirm(f"Delete the alias {found.alias!r}?", yes)
        await db.model_aliases.delete(found.id)
    if options.json:
        show_json({"deleted": found.id})
    else:
        say(f"deleted the alias {found.alias!r}")


@command(app, "aliases set-tag fast team=research tier=1")
async def set_tag(alias: str, /, *tags: str, options: Options = DEFAULT_OPTIONS) -> None:
    """Set tags, all of them or none.

    Parameters
    ----------
    tags
        key=value, one or more.
    """
    given = values.pairs("tag", tags)
    if not given:
        raise UsageError("nothing to set: give key=value")
    async with options.opened() as db:
        found = await find_alias(db, alias)
        async with db.transaction() as tx:
            for key, value in given.items():
                await tx.model_aliases.set_tag(found.id, key, value)
        await _show([await db.model_aliases.get_by_id(found.id)], db, options)


@command(app, "aliases delete-tag fast team")
async def delete_tag(alias: str, /, *keys: str, options: Options = DEFAULT_OPTIONS) -> None:
    """Remove tags, all of them or none.

    Parameters
    ----------
    keys
        Names of tags, one or more.
    """
    if not keys:
        raise UsageError("nothing to delete: give the name of a tag")
    async with options.opened() as db:
        found = await find_alias(db, alias)
        for key in keys:
            if key not in found.tags:
                raise CommandError(f"the alias {found.alias!r} has no tag {key!r}")
        async with db.transaction() as tx:
            for key in keys:
                await tx.model_aliases.delete_tag(found.id, key)
        await _show([await db.model_aliases.get_by_id(found.id)], db, options)


async def _set_enabled(text: str, enabled: bool, options: Options) -> None:
    async with options.opened() as db:
        found = await find_alias(db, text)
        await _show([await db.model_aliases.update(replace(found, enabled=enabled))], db, options)


async def _with_models(found: Sequence[ModelAlias], db: Database) -> list[dict[str, Any]]:
    names = await model_names(db, (alias.model_id for alias in found))
    return [{**plain(alias), "model_name": names.get(alias.model_id)} for alias in found]


async def _show(found: Sequence[ModelAlias], db: Database, options: Options) -> None:
    [row] = await _with_models(found, db)
    if options.json:
        show_json(row)
    else:
        shown = dict(zip(("alias", "model", "state", "tags", "id"), _row(row), strict=True))
        show_fields({**shown, "model id": row["model_id"]})


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    tags = [f"{key}={value}" for key, value in row["tags"].items()]
    return row["alias"], row["model_name"], "enabled" if row["enabled"] else "disabled", tags, row["id"]
