"""The plain script: one user after the other on scim2-client, look up, then create. Runs in an environment of its own
(.venv-bench), since scim2-client brings an HTTP library of its own.

python bench/plain.py BASE_URL BODIES    BODIES: a file of JSON resources, one a line
Prints {"count", "seconds"} as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import EnterpriseUser, ListResponse, ResourceType, ScimProvider, SearchRequest, User


def main(base_url: str, bodies: str) -> None:
    model = User[EnterpriseUser]
    lines = Path(bodies).read_text(encoding="utf-8").splitlines()
    with Client(base_url=base_url, headers={"Authorization": "Bearer bench"}) as http:
        provider = ScimProvider(
            models=[User, EnterpriseUser], resource_types=[ResourceType.from_resource(model)]
        )
        client = SyncSCIMClient(http, provider=provider)
        began = time.perf_counter()
        for line in lines:
            resource = json.loads(line)
            found = client.query(
                model, query_parameters=SearchRequest(filter=f'userName eq "{resource["userName"]}"')
            )
            assert isinstance(found, ListResponse)
            if not found.resources:
                client.create(model.model_validate(resource))
        print(json.dumps({"count": len(lines), "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(*sys.argv[1:])
