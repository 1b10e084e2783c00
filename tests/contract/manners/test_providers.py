"""Users from their creation to their end on providers with the manners of real ones; over real HTTP."""

from __future__ import annotations

from provisioning.model import OutcomeName
from tests.support.provider import Provider, World, refusal
from tests.support.reconciling import ANNA


def test_who_says_412_of_all_it_refuses_is_believed():
    """GitLab: of a filter that it does not know, and of an account that it does not accept."""

    def first(request):
        unknown = "externalId" in request.query.get("filter", "")
        taken = request.method == "POST" and request.body["userName"] == "bert"
        return refusal(412) if unknown or taken else None

    world = World(Provider(first))
    world.site.add(ANNA, name="bert")
    refused = world.run(ANNA)
    assert (refused.outcome, refused.status_code, refused.attempt) == (OutcomeName.FAILED, 412, 1)
    world.site.edit(ANNA, name="anna")
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert [account["userName"] for account in world.provider.accounts.values()] == ["anna"]
