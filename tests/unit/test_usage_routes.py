"""The ids of usage routes."""

from uuid import UUID

from msgspec.structs import replace

from gatewaydb import UsageRecord
from gatewaydb.entities.base import new_id
from gatewaydb.repositories.usage_routes import route_of

RECORD = UsageRecord(api_key_id=UUID(int=1), model_id=UUID(int=2), model_name="gpt-4", endpoint="/v1")


def test_the_id_of_a_route_is_the_same_in_every_process_and_release() -> None:
    assert route_of(RECORD) == 8804782095229831847


def test_the_id_is_of_what_was_called_and_of_nothing_else() -> None:
    assert route_of(RECORD) == route_of(replace(RECORD, api_key_id=UUID(int=3), id=new_id(), prompt_tokens=5))


def test_each_part_makes_another_route() -> None:
    parts = ({"model_id": None}, {"provider_id": UUID(int=2)}, {"model_name": None}, {"endpoint": "/v2"})
    swapped = {"model_name": "/v1", "endpoint": "gpt-4"}
    assert len({route_of(replace(RECORD, **part)) for part in ({}, swapped, *parts)}) == 6
