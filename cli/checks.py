"""`scimpipe check`, the "Save and Test Credentials" of scimpipe: tries everything, reports every problem at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.session import (
    DONE,
    USAGE,
    ConfigOption,
    JsonOption,
    Session,
    TargetOption,
    explain,
)

if TYPE_CHECKING:
    from config.settings import Settings, TargetSettings


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried. code: the exit code it asks for when it failed."""

    name: str
    ok: bool
    detail: str
    code: int = DONE


def check(target: TargetOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Test config, Redis, Drupal, each target's credentials and features, and each mapping against both schemas."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        checks = [*_config(session)]
        if all(each.ok for each in checks):
            names = session.targets(target)
            checks += await _everything(session.settings, names)
        ok = all(each.ok for each in checks)
        rows = [{"name": each.name, "ok": each.ok, "detail": each.detail} for each in checks]
        session.output.document({"ok": ok, "checks": rows})
        _show(session, checks)
        return max((each.code for each in checks if not each.ok), default=DONE)

    session.run(body)


def _show(session: Session, checks: Sequence[Check]) -> None:
    for each in checks:
        session.output.say(
            f"{'ok  ' if each.ok else 'FAIL'} {each.name}: {each.detail}", "" if each.ok else "red"
        )
    failed = sum(not each.ok for each in checks)
    if failed:
        session.output.say(f"{failed} of {len(checks)} checks failed", "red")
    elif any("WARNING: " in each.detail for each in checks):
        session.output.say("Nothing failed; look at what says WARNING.", "yellow")
    else:
        session.output.say("All is well.", "green")


def _config(session: Session) -> list[Check]:
    from config.loading import ConfigError

    try:
        settings = session.settings
    except ConfigError as error:
        return [Check("config", False, str(problem), USAGE) for problem in error.problems]
    return [Check("config", True, f"{settings.path}: {len(settings.targets)} target(s)")]


async def _everything(settings: Settings, names: Sequence[str]) -> list[Check]:
    checks = await _redis(settings)
    fields, found = await _drupal(settings)
    checks += found
    if checks[0].ok and fields is not None:
        checks += await _same_site(settings)
    for name in names:
        checks += await _target(settings, name, fields)
        if checks[0].ok:
            checks += await _learned(settings, name)
    return checks


async def _redis(settings: Settings) -> list[Check]:
    from state.addresses import left_behind
    from state.connection import open_redis, shown, warnings

    try:
        client = await open_redis(settings)
    except Exception as error:  # unknown ones are raised again by `explain`
        return [Check("redis", False, *explain(error))]
    try:
        version = (await client.info("server"))["redis_version"]
        told = await warnings(client, settings)
        left = await left_behind(client, settings)
    finally:
        await client.aclose()
    detail = f"{shown(settings.redis.url)} answers, version {version}"
    redis = Check("redis", True, detail + "".join(f"; WARNING: {warning}" for warning in told))
    return [redis, *(Check(name, True, f"WARNING: {warning}") for name, warning in left.items())]


async def _drupal(settings: Settings) -> tuple[Any, list[Check]]:
    """The site's fields, None when it cannot be read."""
    from drupal.opening import open_reader
    from provisioning.mapping import BASE_NAMES

    # Read without the mappings' fields, so that an unknown field is a problem of the mapping, not of the site.
    reader = open_reader(settings.drupal, BASE_NAMES)
    try:
        sentence = await reader.verify()
        fields = await reader.fields()
    except Exception as error:  # unknown ones are raised again by `explain`
        return None, [Check("drupal", False, *explain(error))]
    finally:
        await reader.close()
    own = [each.name for each in fields if each.name not in BASE_NAMES]
    return fields, [Check("drupal", True, f"{sentence}; fields of its own: {', '.join(own) or 'none'}")]


async def _same_site(settings: Settings) -> list[Check]:
    """Whether the users that are linked are this site's."""
    from drupal.opening import open_reader
    from provisioning.mapping import BASE_NAMES
    from state.connection import open_redis
    from state.same_site import SameSite

    reader, client = open_reader(settings.drupal, BASE_NAMES), await open_redis(settings)
    try:
        await SameSite(client, reader).compare()
    except Exception as error:  # unknown ones are raised again by `explain`
        return [Check("site", False, *explain(error))]
    finally:
        await reader.close()
        await client.aclose()
    return []


async def _target(settings: Settings, name: str, fields: Any) -> list[Check]:
    from provisioning.mapping import MappingError, compile_target
    from scim.target import open_target

    try:
        compiled = compile_target(settings.targets[name])
    except MappingError as error:
        found = [f"{each.key}: {each.what}; {each.write}" for each in error.problems]
        checks = [Check(f"{name}: mapping", False, words, USAGE) for words in found]
        compiled = None
    else:
        checks = []
    target = open_target(settings.targets[name])
    try:
        checks += await credentials(name, target)
        schemas = await target.schemas() if checks[-1].ok else None
    finally:
        await target.close()
    if compiled is not None:
        checks += check_of_mapping(name, compiled, fields, schemas)
    return [*checks, _triggers(settings, name)]


async def credentials(name: str, target: Any) -> list[Check]:
    try:
        await target.probe()
        features = await target.features()
    except Exception as error:  # unknown ones are raised again by `explain`
        message, code = explain(error)
        return [Check(f"{name}: credentials", False, message + _next_step(error), code)]
    return [
        Check(f"{name}: credentials", True, "accepted; users can be read"),
        Check(f"{name}: features", True, features.summary),
    ]


def _next_step(error: Exception) -> str:
    status = getattr(error, "status_code", None) or 0
    if wait := getattr(error, "retry_after_seconds", None):
        return f"; it asks for patience: wait {wait:.0f} s, then run `scimpipe check` again"
    if status == 401:
        return "; the token is wrong or has expired: copy it again from the service provider"
    if status == 403:
        return "; the token is accepted but may not read users"
    if status >= 500:
        return "; the fault is on its side: try again in a minute; if that does not help, ask whoever runs the target"
    return ""


def check_of_mapping(name: str, compiled: Any, fields: Any, schemas: Any) -> list[Check]:
    """fields, schemas: None where they could not be read."""
    from provisioning.schema import check_mapping, rfc_schemas

    against = schemas or rfc_schemas()
    problems = check_mapping(name, compiled, fields, against)
    if problems:
        return [
            Check(f"{name}: mapping", False, f"{each.key}: {each.what}; {each.write}", USAGE)
            for each in problems
        ]
    sides = "Drupal's fields and " if fields is not None else ""
    theirs = "the target's schemas" if against.from_target else "RFC 7643"
    why = " (the target shows no schemas)" if not against.from_target and schemas is not None else ""
    unseen = [
        side
        for side, seen in (("Drupal's fields", fields), ("the target's schemas", schemas))
        if seen is None
    ]
    left = f"; {' and '.join(unseen)} could not be read" if unseen else ""
    words = f"{len(compiled.entries)} attributes fit {sides}{theirs}{why}{left}"
    return [Check(f"{name}: mapping", True, words)]


async def _learned(settings: Settings, name: str) -> list[Check]:
    """What the target was seen to drop or rewrite: named, and not fought over."""
    from state.connection import open_redis
    from state.memory import QuirkStore, RewrittenStore

    client = await open_redis(settings)
    try:
        names = await RewrittenStore(QuirkStore(client, name), settings.targets[name]).names()
    finally:
        await client.aclose()
    words = f"the target does not keep as sent: {', '.join(sorted(names))}; take them out of the mapping, or live with it"
    return [Check(f"{name}: attributes", True, words)] if names else []


def _triggers(settings: Settings, name: str) -> Check:
    from config.settings import Trigger

    words, target = [], settings.targets[name]
    for trigger in Trigger:
        operations = sorted(target.operations(trigger))
        words.append(f"{trigger.value} {'+'.join(operations) if operations else 'off'}")
    polled = settings.drupal.poll_seconds > 0
    told = (f"; WARNING: {warning}" for warning in still_active(target, polled=polled))
    return Check(f"{name}: triggers", True, ", ".join(words) + "".join(told))


def still_active(target: TargetSettings, *, polled: bool = True) -> Iterator[str]:
    """Leavers whose accounts nothing but a person removes: no trigger that works by itself has the operation. polled: whether
    changes are looked for.
    """
    from config.settings import LeaverPolicy, Trigger

    by_itself = [each for each in (Trigger.AUTOMATIC, Trigger.SCHEDULED) if target.operations(each)]
    if not by_itself:
        return
    working = [each for each in by_itself if polled or each is not Trigger.AUTOMATIC]
    allowed = frozenset[str]().union(*map(target.operations, working))
    never = {} if polled else {Trigger.AUTOMATIC: "automatic (never, as drupal.poll_seconds is 0)"}
    sections = " and ".join(never.get(each, each) for each in by_itself)
    for leavers, policy in target.leavers:
        if policy is not LeaverPolicy.KEEP and policy not in allowed:
            yield (
                f'leavers.{leavers} is "{policy}", which {sections} may not do: such accounts stay active until a person '
                f'does it; add "{policy}" to the operations there, or choose another policy'
            )
