"""Reads a dashboard with Grafana's own types and writes it again. What they do not know is lost on the way."""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def differences(before, after, path="dashboard"):
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if name in after:
                yield from differences(value, after[name], f"{path}.{name}")
            else:
                yield f"{path}.{name} is unknown"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for n, (one, other) in enumerate(zip(before, after)):
            yield from differences(one, other, f"{path}[{n}]")
    elif before != after:
        yield f"{path}: {before!r} is read as {after!r}"


register_default_plugins()
with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
dashboard = Dashboard.from_json(json.loads(text))
found = list(differences(json.loads(text), json.loads(JSONEncoder().encode(dashboard))))
queries = sum(len(panel.targets or []) for panel in dashboard.panels)
print(f"{len(dashboard.panels)} panels with {queries} queries", *found, sep="\n")
sys.exit(bool(found) or queries == 0)
