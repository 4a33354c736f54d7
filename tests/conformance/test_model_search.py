"""Search over the names of the real catalog, which the price oracle's rows hold."""

import gzip
import json
from pathlib import Path

import pytest

from gatewaydb import Database, DatabaseConfig, Model, ModelAlias, ModelNotFoundError
from tests.conftest import MakeDatabase

ORACLE = Path(__file__).parents[1] / "data/litellm_oracle.jsonl.gz"


@pytest.fixture(scope="module")
def names() -> list[str]:
    with gzip.open(ORACLE, "rt") as lines:
        return sorted({json.loads(line)["model"] for line in lines})


@pytest.fixture
async def catalog(db: Database, names: list[str]) -> Database:
    await db.models.create_many([Model(name=name) for name in names])
    return db


async def _found(db: Database, query: str, limit: int = 10) -> list[str]:
    return [model.name for model in await db.models.search(query, limit)]


async def test_search_bears_typing_errors_and_ranks(catalog: Database, names: list[str]) -> None:
    assert "claude" in (first := (await _found(catalog, "cluade sonet"))[0])
    assert "sonnet" in first
    assert all("gpt-4o" in name for name in (await _found(catalog, "gtp-4o"))[:5])
    for name in (await _found(catalog, "gemni pro"))[:5]:
        assert "gemini" in name
        assert "pro" in name
    assert (await _found(catalog, "CLAUDE Opus"))[0].count("opus") == 1
    assert await _found(catalog, "xyzzyqqq") == []


async def test_an_exact_name_comes_first(catalog: Database, names: list[str]) -> None:
    for name in names[:: len(names) // 40]:
        assert (await _found(catalog, name, 3))[0] == name


async def test_the_beginning_of_a_name_finds_it(catalog: Database) -> None:
    assert all("gpt" in name for name in await _found(catalog, "gpt"))
    assert len(await _found(catalog, "gpt", 1)) == 1
    assert len(await _found(catalog, "gpt", 100)) == 100


async def test_an_unknown_name_says_what_was_probably_meant(catalog: Database) -> None:
    with pytest.raises(ModelNotFoundError, match="did you mean 'gpt-4o'") as caught:
        await catalog.models.get_by_name("gtp-4o")
    assert "gpt-4o" in caught.value.suggestions
    assert 1 <= len(caught.value.suggestions) <= 3


async def test_nothing_is_suggested_where_nothing_is_near(catalog: Database) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        await catalog.models.get_by_name("xyzzyqqq")
    assert caught.value.suggestions == ()


@pytest.mark.parametrize("query", ["%", "_", "'; DROP TABLE models; --", "日本", '"', "*", "\\", "🔑", "-", "x" * 255])
async def test_no_text_breaks_the_search(db: Database, model: Model, query: str) -> None:
    await db.models.search(query)
    with pytest.raises(ModelNotFoundError):
        await db.models.get_by_name(query)


async def test_found_models_are_whole(db: Database, model: Model) -> None:
    await db.model_aliases.create(ModelAlias(alias="fast", model_id=model.id))
    assert await db.models.search("gpt4") == [await db.models.get_by_id(model.id)]


async def test_a_search_asks_twice_however_much_it_finds(db: Database, model: Model, statements: list[str]) -> None:
    await db.models.create_many([Model(name=f"gpt-{number}") for number in range(10, 40)])
    statements.clear()
    assert len(await db.models.search("gpt", 30)) == 30
    assert len(statements) == 2


async def test_a_fresh_database_finds_nothing(make_database: MakeDatabase, config: DatabaseConfig) -> None:
    assert await (await make_database()).models.search("gpt") == []
