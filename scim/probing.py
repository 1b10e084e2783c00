"""Whether a target works for us at all."""

from __future__ import annotations

from provisioning.errors import Missing, Outage, Permanent
from scim.client import ScimClient
from scim.consequences import Consequences
from scim.errors import UnusableAnswer


async def probe(client: ScimClient) -> None:
    """Raises Outage (or Unauthorized, Throttled, Transient) while it does not."""
    try:
        with Consequences():
            try:
                await client.probe()
            except UnusableAnswer as error:
                raise Outage(str(error)) from None
    except Missing as error:
        raise Outage(
            f"{error.detail}; is base_url the SCIM base URL?", status_code=error.status_code
        ) from None
    except Permanent as error:
        raise Outage(error.detail, status_code=error.status_code) from None
