"""Response bodies as providers send them, in the shapes of their documentation and SDKs; the contents are neutral."""

import json
from pathlib import Path
from typing import Any

RESPONSES = Path(__file__).parents[2] / "data" / "responses"


def recorded(name: str) -> Any:
    """One body, or the events of one stream."""
    return json.loads((RESPONSES / f"{name}.json").read_text(encoding="utf-8"))
