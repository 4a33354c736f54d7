"""`gatewaydb aliases`."""

from pathlib import Path

import pytest

from tests.acceptance.conftest import Run


@pytest.fixture
def loaded(gatewaydb: Run, prices: Path) -> Run:
    """With the models of the small price file and one alias."""
    gatewaydb("models", "import", str(prices))
    assert gatewaydb("aliases", "create", "fast", "gpt-4o-mini", "--tag", "team=a").code == 0
    return gatewaydb


def test_an_alias_finds_its_model(loaded: Run) -> None:
    shown = loaded("aliases", "show", "fast", "--json").json
    assert (shown["alias"], shown["model_name"], shown["tags"]) == ("fast", "gpt-4o-mini", {"team": "a"})
    assert loaded("models", "show", "fast", "--json").json["name"] == "gpt-4o-mini"
    assert loaded("aliases", "show", shown["id"], "--json").json == shown


def test_update_moves_and_renames_it(loaded: Run) -> None:
    changed = loaded("aliases", "update", "fast", "--model", "gpt-4o", "--name", "quick", "--json").json
    assert (changed["alias"], changed["model_name"], changed["tags"]) == ("quick", "gpt-4o", {"team": "a"})
    assert loaded("models", "show", "quick", "--json").json["name"] == "gpt-4o"
    assert loaded("aliases", "update", "quick").code == 2


def test_a_disabled_alias_finds_nothing(loaded: Run) -> None:
    assert loaded("aliases", "disable", "fast", "--json").json["enabled"] is False
    assert loaded("models", "show", "fast").code == 1
    assert loaded("aliases", "list", "--enabled", "--json").json == []
    assert loaded("aliases", "enable", "fast", "--json").json["enabled"] is True
    assert loaded("models", "show", "fast").code == 0


def test_list_shows_models_and_tags(loaded: Run) -> None:
    listed = loaded("aliases", "list").out
    assert all(text in listed for text in ("fast", "gpt-4o-mini", "team=a", "enabled"))
    loaded("aliases", "create", "smart", "gpt-4o", "--disabled")
    after = loaded("aliases", "list", "--after", "fast", "--json").json
    assert [(alias["alias"], alias["enabled"]) for alias in after] == [("smart", False)]


def test_tags_are_set_and_deleted(loaded: Run) -> None:
    assert loaded("aliases", "set-tag", "fast", "team=b", "tier=1", "--json").json["tags"] == {"team": "b", "tier": "1"}
    assert loaded("aliases", "delete-tag", "fast", "team", "missing").code == 1
    assert loaded("aliases", "delete-tag", "fast", "team", "--json").json["tags"] == {"tier": "1"}
    assert loaded("aliases", "set-tag", "fast", "nonsense").code == 2


def test_delete_leaves_the_model(loaded: Run) -> None:
    assert loaded("aliases", "delete", "fast").code == 2
    assert loaded("aliases", "delete", "fast", "--yes").code == 0
    assert loaded("models", "show", "gpt-4o-mini").code == 0
    assert loaded("aliases", "show", "fast").code == 1


def test_what_is_wrong_is_said(loaded: Run) -> None:
    taken = loaded("aliases", "create", "fast", "gpt-4o")
    assert (taken.code, taken.err.startswith("error: ")) == (1, True)
    assert "did you mean 'fast'?" in loaded("aliases", "show", "fats").err
    assert "did you mean 'gpt-4o'" in loaded("aliases", "create", "x", "gtp-4o").err
