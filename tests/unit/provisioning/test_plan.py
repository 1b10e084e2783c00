"""Every row of DESIGN 5.4 and every policy, crossed: presence x link x what is found x leaver policy x adoption."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from config.settings import LeaverPolicy, LeaverSettings
from provisioning import operations as op
from provisioning.diff import digest, digests
from provisioning.model import Desired, Link, Presence, RemoteUser, Source
from provisioning.plan import Candidate, Holder, Policy, plan, situation

KEY = b"k" * 32
UUID = "0f0e0d0c-0000-4000-8000-000000000001"
DESIRED = Desired(attributes={"userName": "zoë", "externalId": UUID, "active": True, "displayName": "Zoë"})
ACTIVE_LINK = Link("id-1", 'W/"1"', "f", digests(DESIRED, KEY))
OUTDATED_LINK = Link("id-1", 'W/"1"', "f", {**digests(DESIRED, KEY), "displayName": digest("Old", KEY)})
INACTIVE_LINK = Link("id-1", None, "f", {**digests(DESIRED, KEY), "active": digest(False, KEY)}, active=False)
ABSENT_LINK = Link("", None, "f", {}, active=False)

LEAVING = [Presence.BLOCKED, Presence.OUT_OF_SCOPE, Presence.GONE]


def policy(
    *, adopt: str = "unclaimed", leaver: LeaverPolicy = LeaverPolicy.DEACTIVATE, uuid: bool = True
) -> Policy:
    return Policy(
        matching=("externalId", "userName"),
        adopt=adopt,
        leavers=LeaverSettings(blocked=leaver, deleted=leaver, out_of_scope=leaver),
        mapped=frozenset(DESIRED.attributes),
        key=KEY,
        external_id_is_uuid=uuid,
    )


def source(presence: Presence = Presence.ACTIVE) -> Source:
    return Source(UUID, presence, None if presence is Presence.GONE else DESIRED, "f")


def account(scim_id: str = "id-1", **differing: object) -> RemoteUser:
    resource = {"id": scim_id, "userName": "zoë", "externalId": UUID, "active": True, "displayName": "Zoë"}
    return RemoteUser(scim_id, 'W/"7"', {**resource, **differing})


def candidate(holder: Holder = Holder.NOBODY, scim_id: str = "id-1", **differing: object) -> Candidate:
    return Candidate(account(scim_id, **differing), holder)


OURS = candidate()
OUTDATED = candidate(displayName="Old")
UNCLAIMED = candidate(externalId=None)
FOREIGN = candidate(externalId="somebody-else")
OTHER_USERS = candidate(Holder.USER, externalId="somebody-else")
LEFT_BEHIND = candidate(Holder.LEFT, externalId="somebody-who-left")
# Of two Drupal users of one person, as an employee number has it.
NAMESAKES = candidate(Holder.USER)


# -- in scope and active -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        pytest.param(ACTIVE_LINK, op.Nothing, id="as it should be"),
        pytest.param(OUTDATED_LINK, op.Update, id="an attribute differs"),
        pytest.param(INACTIVE_LINK, op.Update, id="deactivated before"),
    ],
)
def test_a_linked_user_is_judged_by_digests_without_looking(link, expected):
    assert isinstance(plan(source(), link, None, policy()), expected)


def test_an_update_names_only_what_differs():
    decision = plan(source(), OUTDATED_LINK, None, policy())
    assert decision.changes.names == ("displayName",)
    assert (decision.scim_id, decision.version) == ("id-1", 'W/"1"')


def test_a_reactivation_is_an_update_of_active():
    assert plan(source(), INACTIVE_LINK, None, policy()).changes.set == {"active": True}


def test_an_account_that_was_read_is_judged_by_what_it_holds_and_not_by_digests():
    decision = plan(source(), ACTIVE_LINK, [OUTDATED], policy())
    assert decision.changes.names == ("displayName",)
    assert decision.version == 'W/"7"'
    assert isinstance(plan(source(), OUTDATED_LINK, [OURS], policy()), op.Nothing)


@pytest.mark.parametrize("link", [None, ABSENT_LINK], ids=["no link", "known absent"])
def test_nothing_is_created_before_somebody_looked(link):
    assert plan(source(), link, None, policy()) == op.LookUp(("externalId", "userName"))


@pytest.mark.parametrize("adopt", ["unclaimed", "always", "never"])
def test_nobody_found_is_created_whatever_the_adoption_policy(adopt):
    assert plan(source(), None, [], policy(adopt=adopt)) == op.Create()


@pytest.mark.parametrize("adopt", ["unclaimed", "always", "never"])
def test_several_matches_are_refused_whatever_the_adoption_policy(adopt):
    decision = plan(source(), None, [OURS, candidate(scim_id="id-2")], policy(adopt=adopt))
    assert isinstance(decision, op.Refuse)
    assert not decision.wait


@pytest.mark.parametrize(
    ("found", "adopt", "expected"),
    [
        (OURS, "unclaimed", op.LinkOnly),
        (OURS, "always", op.LinkOnly),
        (OURS, "never", op.LinkOnly),
        (OUTDATED, "never", op.Update),
        (UNCLAIMED, "unclaimed", op.Update),
        (UNCLAIMED, "always", op.Update),
        (UNCLAIMED, "never", op.Refuse),
        (FOREIGN, "unclaimed", op.Refuse),
        (FOREIGN, "always", op.Update),
        (FOREIGN, "never", op.Refuse),
        (OTHER_USERS, "unclaimed", op.Refuse),
        (OTHER_USERS, "always", op.Refuse),
        (OTHER_USERS, "never", op.Refuse),
        (LEFT_BEHIND, "unclaimed", op.Refuse),
        (LEFT_BEHIND, "always", op.Update),
        (LEFT_BEHIND, "never", op.Refuse),
    ],
    ids=lambda value: getattr(value, "__name__", None) or (value if isinstance(value, str) else "account"),
)
def test_adoption(found, adopt, expected):
    decision = plan(source(), None, [found], policy(adopt=adopt))
    assert isinstance(decision, expected)
    if isinstance(decision, op.Update):
        assert decision.adopted == found.account


@pytest.mark.parametrize("adopt", ["unclaimed", "always", "never"])
def test_a_name_that_is_about_to_be_freed_is_waited_for(adopt):
    decision = plan(source(), None, [LEFT_BEHIND], policy(adopt=adopt, leaver=LeaverPolicy.DELETE))
    assert isinstance(decision, op.Refuse)
    assert decision.wait


# -- leaving -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("presence", LEAVING)
@pytest.mark.parametrize(
    ("link", "leaver", "expected"),
    [
        (ACTIVE_LINK, LeaverPolicy.DEACTIVATE, op.Deactivate),
        (ACTIVE_LINK, LeaverPolicy.DELETE, op.Delete),
        (ACTIVE_LINK, LeaverPolicy.KEEP, op.Nothing),
        (INACTIVE_LINK, LeaverPolicy.DEACTIVATE, op.Nothing),
        (INACTIVE_LINK, LeaverPolicy.DELETE, op.Delete),
        (INACTIVE_LINK, LeaverPolicy.KEEP, op.Nothing),
        (ABSENT_LINK, LeaverPolicy.DEACTIVATE, op.Nothing),
        (ABSENT_LINK, LeaverPolicy.DELETE, op.Nothing),
    ],
)
def test_a_linked_leaver_is_treated_by_policy(presence, link, leaver, expected):
    assert isinstance(plan(source(presence), link, None, policy(leaver=leaver)), expected)


@pytest.mark.parametrize("presence", LEAVING)
@pytest.mark.parametrize("leaver", list(LeaverPolicy))
def test_an_unlinked_leaver_is_looked_for_by_external_id_alone(presence, leaver):
    assert plan(source(presence), None, None, policy(leaver=leaver)) == op.LookUp(("externalId",))


@pytest.mark.parametrize("presence", LEAVING)
@pytest.mark.parametrize(
    ("leaver", "expected"),
    [
        (LeaverPolicy.DEACTIVATE, op.Deactivate),
        (LeaverPolicy.DELETE, op.Delete),
        (LeaverPolicy.KEEP, op.LinkOnly),
    ],
)
def test_an_unlinked_leaver_whose_account_carries_the_external_id_is_treated_by_policy(
    presence, leaver, expected
):
    assert isinstance(plan(source(presence), None, [OURS], policy(leaver=leaver)), expected)


@pytest.mark.parametrize("presence", LEAVING)
def test_only_a_deactivation_of_ours_is_believed(presence):
    """An account that its target made inactive, until its invitation is accepted, is active by tomorrow."""
    invited = Link("id-1", None, "f", digests(DESIRED, KEY), active=False)
    inactive = [candidate(active=False)]
    assert isinstance(plan(source(presence), invited, None, policy()), op.Deactivate)
    assert isinstance(plan(source(presence), invited, inactive, policy()), op.Deactivate)
    ours = invited._replace(digests={**invited.digests, "active": digest(False, KEY)})
    assert isinstance(plan(source(presence), ours, inactive, policy()), op.Nothing)
    assert isinstance(plan(source(presence), ours, [candidate(active=True)], policy()), op.Deactivate)
    assert isinstance(plan(source(presence), invited._replace(digests={}), inactive, policy()), op.Nothing), (
        "nothing is known of it"
    )


def test_an_unlinked_leaver_whose_account_is_inactive_already_is_only_linked():
    assert isinstance(
        plan(source(Presence.BLOCKED), None, [candidate(active="False")], policy()), op.LinkOnly
    )


@pytest.mark.parametrize(
    ("presence", "leaver", "adopt", "found"),
    list(
        itertools.product(
            LEAVING,
            LeaverPolicy,
            ["unclaimed", "always", "never"],
            [UNCLAIMED, FOREIGN, OTHER_USERS, LEFT_BEHIND, NAMESAKES, candidate(Holder.RENAMED)],
        )
    ),
)
def test_an_account_of_another_user_or_without_this_ones_external_id_is_never_removed(
    presence, leaver, adopt, found
):
    decision = plan(source(presence), None, [found], policy(leaver=leaver, adopt=adopt))
    assert isinstance(decision, op.Nothing)


@pytest.mark.parametrize(
    ("leaver", "expected"), [(LeaverPolicy.DELETE, op.Refuse), (LeaverPolicy.KEEP, op.Nothing)]
)
def test_which_of_two_accounts_of_a_leaver_is_deleted_a_person_says(leaver, expected):
    decision = plan(source(Presence.GONE), None, [OURS, candidate(scim_id="id-2")], policy(leaver=leaver))
    assert isinstance(decision, expected)


def test_of_two_accounts_of_a_leaver_none_stays_active():
    former = candidate(scim_id="id-3", active=False)
    decision = plan(source(Presence.GONE), None, [former, OURS, candidate(scim_id="id-2")], policy())
    assert isinstance(decision, op.Deactivate)
    assert (decision.scim_id, decision.others) == ("id-1", ("id-2",))
    assert isinstance(plan(source(Presence.GONE), None, [former, former], policy()), op.Nothing)
    assert isinstance(
        plan(source(Presence.BLOCKED), None, [OURS, candidate(scim_id="id-2")], policy(uuid=False)), op.Refuse
    ), "two users may have the same one"


@pytest.mark.parametrize("doubt", [False, True])
def test_a_user_who_is_gone_is_looked_for_by_the_uuid_whatever_accounts_are_matched_by(doubt):
    """There is nothing else left of them, and a person may have approved an orphan."""
    named = replace(policy(), matching=("userName",))
    link = ABSENT_LINK.doubting(["userName"]) if doubt else None
    decision = plan(source(Presence.GONE), link, None, named)
    assert isinstance(decision, op.LookUp)
    assert "externalId" in decision.attributes
    assert isinstance(plan(source(Presence.BLOCKED), None, None, named), op.Nothing)
    none_was_due = ABSENT_LINK._replace(fingerprint="of a blocked user")
    assert isinstance(plan(source(Presence.GONE), none_was_due, None, named), op.Nothing)


def test_of_a_user_who_is_gone_nothing_is_looked_for_unless_the_external_id_is_the_uuid():
    assert isinstance(plan(source(Presence.GONE), None, None, policy(uuid=False)), op.Nothing)


# -- names of situations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("presence", "link", "found", "expected"),
    [
        (Presence.ACTIVE, ACTIVE_LINK, None, "confirmed"),
        (Presence.ACTIVE, None, [OURS], "found"),
        (Presence.ACTIVE, None, [], "absent"),
        (Presence.ACTIVE, None, [OURS, OURS], "ambiguous"),
        (Presence.ACTIVE, None, [FOREIGN], "ambiguous"),
        (Presence.BLOCKED, ACTIVE_LINK, None, "unqualified"),
        (Presence.OUT_OF_SCOPE, None, [], "unqualified"),
        (Presence.GONE, ACTIVE_LINK, None, "source_missing"),
    ],
)
def test_situations_have_the_names_of_the_design(presence, link, found, expected):
    assert situation(source(presence), link, found) == expected


def test_every_combination_is_decided():
    """No presence, link, finding or policy falls through the ladder."""
    links = [None, ABSENT_LINK, ACTIVE_LINK, OUTDATED_LINK, INACTIVE_LINK]
    findings = [
        None,
        [],
        [OURS],
        [OUTDATED],
        [UNCLAIMED],
        [FOREIGN],
        [OTHER_USERS],
        [LEFT_BEHIND],
        [OURS, FOREIGN],
    ]
    for presence, link, found, leaver, adopt in itertools.product(
        Presence, links, findings, LeaverPolicy, ["unclaimed", "always", "never"]
    ):
        decision = plan(source(presence), link, found, policy(leaver=leaver, adopt=adopt))
        assert op.name_of(decision)
        if isinstance(decision, op.LookUp):
            assert found is None, "asked to look again after looking"
        if isinstance(decision, op.Create):
            assert presence is Presence.ACTIVE
            assert found == []


@pytest.mark.parametrize(("known", "removed"), [(True, ()), (False, ("title",))])
def test_what_we_never_set_is_taken_away_only_where_we_have_forgotten_what_we_set(known, removed):
    """The user has no value for it; somebody has typed one at the target, and the account is read for another reason."""
    link = ACTIVE_LINK if known else ACTIVE_LINK._replace(digests={})
    with_title = replace(policy(), mapped=frozenset({*DESIRED.attributes, "title"}))
    found = [candidate(title="typed by hand", displayName="Old")]
    assert plan(source(), link, found, with_title).changes.removed == removed
