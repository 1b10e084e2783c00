"""The link of one user while that user is worked on: written before each request and after each answer (DESIGN 1.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from provisioning.diff import digest, digests, told_apart
from provisioning.errors import Permanent, ProvisioningError, Transient
from provisioning.model import DOUBT, JsonValue, Link, Presence, RemoteUser, Source
from provisioning.ports import Links

_NO_ACCOUNT = Link(scim_id="", version=None, fingerprint="", digests={}, active=False)


class Linking:
    """What is known of one user's account, and writing it down. key: the digest key. holder: of the lease on the user.

    Nothing here overwrites a link to an account that this worker does not know of, or not any more: a Redis that was emptied, or
    a lease that ran out, may have given the same user to another worker. Everything raises Transient then, and Permanent when
    the account is another user's.
    """

    def __init__(self, links: Links, source: Source, key: bytes, link: Link | None, holder: str) -> None:
        self.link = link
        self._holder = holder
        self._links = links
        self._source = source
        self._key = key

    @property
    def user(self) -> str:
        return self._source.uuid

    async def doubt(self, paths: Sequence[str]) -> None:
        """Before an update or a delete: what it is about to change is in doubt until its answer is there. Where nothing is known of
        an account that says it is ours a doubt about a part would pass for knowing the rest: it is read before its next update anyway.
        """
        if self.link is not None:
            doubted = self.link.doubting(() if self._all_in_doubt(self.link, paths) else paths)
            await self._put(doubted)
            self.link = doubted

    def _all_in_doubt(self, link: Link, paths: Sequence[str]) -> bool:
        """Not of an account that is only now told whose it is: of what others have set there nothing is ours."""
        desired = self._source.desired
        ours = "externalId" not in paths and (desired is None or desired.external_id is not None)
        return ours and link.has_account and not link.digests

    async def doubt_other(self, user: str) -> None:
        """Another user's account is read before anything is sent to it."""
        for other, link in (await self._links.get_many([user])).items():
            await self._links.put(other, link.doubting(link.digests))

    async def doubt_create(self, paths: Iterable[str]) -> None:
        """Before a create: an account may be there that nobody has been told of."""
        await self._put(_NO_ACCOUNT.doubting(paths))

    async def claim(self, account: RemoteUser) -> None:
        """Takes an account found by matching for this user before anything is sent to it, so that two users can
        never take the same one.
        """
        # What an unanswered create may have set stays known as ours.
        doubts = self.link.digests if self.link else {}
        claim = Link(account.scim_id, account.version, fingerprint="", digests=doubts, active=account.active)
        await self._put(claim)
        self.link = claim

    async def remember(self, scim_id: str, version: str | None, *, active: bool) -> None:
        """The account is as it should be."""
        await self._put(Link(scim_id, version, self._source.fingerprint, self._digests(), active))

    async def remember_part(self, scim_id: str, version: str | None, kept: Sequence[str]) -> None:
        """As it should be but for `kept`: attributes that stay on the account though the user has no value any more.
        Where links were lost nothing is known of those: in doubt they are looked at again, forgotten they would stay for good.
        """
        before = self.link.digests if self.link else {}
        left = {path: before.get(path, DOUBT) for path in kept}
        await self._put(Link(scim_id, version, "", {**self._digests(), **left}, active=True))

    async def remember_left(
        self, scim_id: str, version: str | None, sent: Mapping[str, JsonValue], *, unfinished: bool = False
    ) -> None:
        """Of a leaver's account, deactivated. unfinished: more differs than was sent, so the next full sync has to look."""
        left = self._digests()
        # Where nothing is known of the account, knowing a part would pass for knowing it all.
        now = {**left, **{path: digest(value, self._key) for path, value in sent.items()}} if left else {}
        fingerprint = "" if unfinished else self._source.fingerprint
        await self._put(Link(scim_id, version, fingerprint, now, active=False))

    async def remember_made(self, account: RemoteUser) -> bool:
        """Of an account just made. False, and nothing written, when it cannot be this user's."""
        link = Link(
            account.scim_id, account.version, self._source.fingerprint, self._digests(), account.active
        )
        return await self._links.put(self.user, told_apart(link, self._key), holder=self._holder, made=True)

    async def remember_absence(self) -> None:
        """Of a user who is there but rightly without an account, so that a full sync need not look again."""
        if self._source.presence is Presence.GONE:
            await self.forget()
            return
        await self._put(_NO_ACCOUNT._replace(fingerprint=self._source.fingerprint))

    async def forget(self) -> None:
        """The account is not there any more, or nobody's business."""
        if not await self._links.drop(self.user, self._known_id, holder=self._holder):
            raise _moved()
        self.link = None

    @property
    def _known_id(self) -> str:
        return self.link.scim_id if self.link else ""

    async def _put(self, link: Link) -> None:
        told = told_apart(link, self._key)
        if not await self._links.put(self.user, told, instead_of=self._known_id, holder=self._holder):
            raise await self._refused(link)

    async def _refused(self, link: Link) -> ProvisioningError:
        owner = await self._links.owner(link.scim_id) if link.has_account else None
        return _moved() if owner in {None, self.user} else taken(link.scim_id)

    def _digests(self) -> Mapping[str, str]:
        """Digests of what was sent: all that is mapped for a user in scope; for one who left, what was sent before. Empty when that
        is not known: the account is read before its next update.
        """
        if self._source.presence is Presence.ACTIVE and self._source.desired is not None:
            return digests(self._source.desired, self._key)
        return self.link.digests if self.link else {}


def _moved() -> Transient:
    return Transient("another worker has taken over this user meanwhile")


def taken(scim_id: str) -> Permanent:
    return Permanent(
        f"the target gave this user the id {scim_id}, which is another Drupal user's account; look at both there"
    )
