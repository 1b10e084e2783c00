"""What shows that a target works, of service providers that do not show all of RFC 7644; over real HTTP."""

from __future__ import annotations

import pytest

from config.settings import LeaverSettings
from provisioning.errors import Outage
from provisioning.model import OutcomeName
from tests.support.provider import Provider, World, refusal
from tests.support.reconciling import ANNA


def unfiltered(request):
    return request.method == "GET" and request.path == "/Users" and "filter" not in request.query


@pytest.mark.parametrize("config", [404, 401, 403])
def test_who_shows_no_page_of_users_and_no_config_is_told_by_a_search(config):
    """Else a probe could never succeed, and a quarantine never end."""

    def first(request):
        if request.path == "/ServiceProviderConfig":
            return refusal(config)
        refused = refusal(403) if request.method == "PATCH" else None
        return refusal(400, scimType="invalidFilter") if unfiltered(request) else refused

    world = World(Provider(first))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.edit(ANNA, name="anna2")
    # It is probed, and the target works.
    refused = world.run(ANNA)
    assert (refused.outcome, refused.status_code, refused.attempt) == (OutcomeName.FAILED, 403, 1)


def test_who_refuses_everything_in_scims_words_is_not_taken_to_work():
    """A base_url of .../Users: 400 to ids that are none, 404 to the rest. A leaver's account was taken to be gone."""

    def first(request):
        return None if not broken else refusal(400 if request.path == "/Users" else 404)

    broken = []
    world = World(Provider(first), leavers=LeaverSettings(deleted="delete"))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.delete(ANNA)
    broken.append(True)
    with pytest.raises(Outage):
        world.run(ANNA)
    assert world.links.links[ANNA].has_account
