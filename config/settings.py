"""The settings of scimpipe.toml as frozen models, grouped by concern (DESIGN 5.1).

Each field is followed by its meaning, its unit and the reason for its default; docs/configuration.md is
generated from these descriptions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

from config.text import is_usual_name

# "8" is no number and 1 is not true: a value of the wrong type is told, not guessed at.
WholeNumber = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Switch = Annotated[bool, Strict()]

_NOT_SHOWN = (
    "the variable that env names is not set or empty (its name is not shown: it could be the secret itself); env takes "
    "the name of a variable, such as SCIM_TOKEN, and not the secret"
)


class SecretUnavailableError(Exception):
    """A secret's environment variable is not set, or its file cannot be read. The text never holds a secret."""


class Frozen(BaseModel):
    """Base of all settings: immutable, no unknown keys, and no input echoed in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class Secret(Frozen):
    """A reference to a secret: `{ env = "NAME" }` or `{ file = "PATH" }`. Never the secret itself."""

    env: str | None = Field(None, description="Name of the environment variable that holds the secret.")
    file: Path | None = Field(
        None, description="Path of a file that holds the secret; re-read when it is needed."
    )

    def reveal(self) -> str:
        """The secret, read now: a file that was put right is picked up without a restart.

        Raises:
            SecretUnavailableError: the variable is unset or the file unreadable or either is empty.
        """
        if self.env is not None:
            value = os.environ.get(self.env, "").strip()
            if not value:
                what = f"environment variable {self.env} is not set or empty"
                raise SecretUnavailableError(what if is_usual_name(self.env) else _NOT_SHOWN)
            return value
        assert self.file is not None, "validated by config.loading"
        try:
            value = self.file.expanduser().read_text(encoding="utf-8-sig").strip()
        except OSError as error:
            raise SecretUnavailableError(f"file {self.file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SecretUnavailableError(f"file {self.file} is not UTF-8 text") from None
        if not value:
            raise SecretUnavailableError(f"file {self.file} is empty")
        return value


class Trigger(StrEnum):
    """What started a piece of work (DESIGN, first table)."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"
    SCHEDULED = "scheduled"


class OperationName(StrEnum):
    """What was or will be done to an account on the target (DESIGN 5.2)."""

    CREATE = "create"
    UPDATE = "update"
    DEACTIVATE = "deactivate"
    DELETE = "delete"
    LINK = "link"
    NONE = "none"


class LeaverPolicy(StrEnum):
    """What happens to the account of a user who no longer qualifies."""

    DEACTIVATE = "deactivate"
    DELETE = "delete"
    KEEP = "keep"


SWITCHABLE = frozenset(
    {OperationName.CREATE, OperationName.UPDATE, OperationName.DEACTIVATE, OperationName.DELETE}
)
SwitchableOperation = Literal["create", "update", "deactivate", "delete"]


class ServiceSettings(Frozen):
    data_dir: Path = Field(
        Path(".scimpipe"),
        description="Folder for what scimpipe keeps on this machine (the embedded server's socket and append-only "
        "file). Relative to the config file's folder. Made with mode 0700.",
    )


class RedisSettings(Frozen):
    url: str = Field(
        "embedded",
        description="`embedded` starts a Valkey of scimpipe's own; or a redis://, rediss:// or unix:// URL "
        "(Redis 6.2 or later, or Valkey). No password in the URL.",
    )
    username: str | None = Field(None, description="ACL user name, where the server wants one.")
    password: Secret | None = Field(None, description="Password of the Redis user.")
    ca_file: Path | None = Field(
        None, description="PEM file of the only authorities to trust for TLS; none: the system's."
    )


class DrupalDatabaseSettings(Frozen):
    kind: Literal["database"] = Field("database", description="Read Drupal's own database.")
    url: str = Field(
        description="SQLAlchemy URL of the site's database: mysql+pymysql://, postgresql+psycopg:// or sqlite:///. "
        "A read-only account is enough. No password in the URL."
    )
    password: Secret | None = Field(None, description="Password of the database account.")
    table_prefix: str = Field("", description="The site's table prefix, if it uses one.")
    poll_seconds: Number = Field(
        5,
        ge=0,
        description="Seconds between two looks for changed users; 0 switches change detection off. 5 is soon enough "
        "for people and next to nothing for the database.",
    )


class DrupalJsonApiSettings(Frozen):
    kind: Literal["jsonapi"] = Field(description="Read over Drupal core's JSON:API.")
    base_url: str = Field(description="The site's address, https://www.example.org; /jsonapi is appended.")
    username: str | None = Field(
        None, description="Name of the Drupal account to read with (not its e-mail address)."
    )
    password: Secret | None = Field(None, description="That account's password.")
    client_id: str | None = Field(
        None, description="OAuth2 client (simple_oauth), instead of username and password."
    )
    client_secret: Secret | None = Field(None, description="Secret of the OAuth2 client.")
    ca_file: Path | None = Field(
        None,
        description="PEM file of the only authorities to trust for TLS; none: the public ones (certifi's), or `SSL_CERT_FILE`.",
    )
    allow_insecure: Switch = Field(False, description="Permits http:// to anything but loopback.")
    poll_seconds: Number = Field(5, ge=0, description="Seconds between two looks for changed users; 0: off.")


DrupalSettings = Annotated[DrupalDatabaseSettings | DrupalJsonApiSettings, Field(discriminator="kind")]


class OAuth2Settings(Frozen):
    token_url: str = Field(description="Where an access token is asked for (RFC 6749, section 4.4).")
    client_id: str = Field(description="The client's id.")
    client_secret: Secret = Field(description="The client's secret.")
    scope: str | None = Field(None, description="Scopes to ask for, separated by spaces.")


class MappedValue(Frozen):
    """One mapping entry. In the file a plain string is short for `{ value = "..." }`."""

    value: str = Field(description="Expression over Drupal fields.")
    on: Literal["always", "create"] = Field(
        "always", description="`create`: sent when the account is made, never after."
    )


class LeaverSettings(Frozen):
    blocked: LeaverPolicy = Field(LeaverPolicy.DEACTIVATE, description="The user is blocked in Drupal.")
    deleted: LeaverPolicy = Field(
        LeaverPolicy.DEACTIVATE,
        description="The user is gone from Drupal. Deleting cannot be undone: say so yourself.",
    )
    out_of_scope: LeaverPolicy = Field(
        LeaverPolicy.DEACTIVATE, description="The scope expression is no longer true."
    )


class TriggerSettings(Frozen):
    enabled: Switch = Field(True, description="false: the trigger does nothing.")
    operations: frozenset[SwitchableOperation] = Field(
        frozenset(), description="What this trigger may do: create, update, deactivate, delete."
    )


class ScheduledSettings(TriggerSettings):
    cron: str = Field(
        "*/30 * * * *",
        description="When a full sync starts: minute hour day month weekday, local time. Weekdays by name or by "
        "number, 0 and 7 being Sunday. Where both day and weekday are given, both must be right.",
    )


class LimitSettings(Frozen):
    concurrency: WholeNumber = Field(
        32,
        ge=1,
        le=1024,
        description="The most requests under way in each worker process, of which there are two at least; the real number "
        "adapts below it.",
    )
    requests_per_second: Number = Field(
        0,
        ge=0,
        description="The most requests a second, all workers together (commands that ask the target themselves, such as `sync --dry-run`, come on top); 0: find out.",
    )
    max_attempts: WholeNumber = Field(
        8, ge=1, le=100, description="Attempts before a user becomes a dead letter."
    )
    timeout_seconds: Number = Field(30, gt=0, le=600, description="The longest wait for an answer.")


class GuardSettings(Frozen):
    max_removals: WholeNumber = Field(
        50,
        ge=0,
        description="Deactivations plus deletions: a full sync over this removes nobody; within a rolling hour the rest is held.",
    )
    max_removal_percent: Number = Field(
        10,
        ge=0,
        le=100,
        description="The same as a share of the active accounts: linked ones that are not deactivated, among them those that the "
        "last hour's removals took. The smaller of the two holds. Rounded up, so that a small site can lose one user; 100: no share is too large.",
    )


class TargetSettings(Frozen):
    name: str = Field(exclude=True, description="The section's name; not a key.")
    base_url: str = Field(
        description="SCIM base URL as the service provider shows it, https://acme.example/scim/v2."
    )
    moved_from: str | None = Field(
        None,
        description="The base_url before, where the same service provider has moved to another address. To be taken out afterwards.",
    )
    token: Secret | None = Field(None, description="Bearer token (RFC 6750).")
    oauth2: OAuth2Settings | None = Field(None, description="OAuth2 client credentials, instead of a token.")
    ca_file: Path | None = Field(
        None,
        description="PEM file of the only authorities to trust for TLS; none: the public ones (certifi's), or `SSL_CERT_FILE`.",
    )
    matching: tuple[str, ...] = Field(
        ("externalId", "userName"),
        description="SCIM attributes by which an account of an unlinked user is looked for, in order.",
    )
    adopt: Literal["unclaimed", "always", "never"] = Field(
        "unclaimed",
        description="What to do with an account found by matching. `unclaimed`: take it when it has no externalId or this "
        "user's; `always`: also when it has another one that no Drupal user has; `never`: only with this user's externalId.",
    )
    update_method: Literal["auto", "patch", "put"] = Field(
        "auto", description="`auto`: PATCH where the target can, else PUT."
    )
    bulk: Literal["auto", "off"] = Field(
        "auto",
        description="`auto`: writes of several users at once go together in Bulk requests, where the target offers them.",
    )
    scope: str = Field("", description="Expression that says who is provisioned; empty means everybody.")
    allow_insecure: Switch = Field(False, description="Permits http:// to anything but loopback.")
    mapping: Mapping[str, MappedValue] = Field(description="SCIM path = expression over Drupal fields.")
    leavers: LeaverSettings = LeaverSettings()
    manual: TriggerSettings | None = None
    automatic: TriggerSettings | None = None
    scheduled: ScheduledSettings | None = None
    limits: LimitSettings = LimitSettings()
    guard: GuardSettings = GuardSettings()

    def trigger(self, trigger: Trigger) -> TriggerSettings | None:
        """The settings of a trigger; None when it has no section or is switched off."""
        section: TriggerSettings | None = getattr(self, trigger.value)
        return section if section is not None and section.enabled else None

    def operations(self, trigger: Trigger) -> frozenset[OperationName]:
        """What a trigger may do to accounts; empty for one that is off."""
        section = self.trigger(trigger)
        return frozenset(map(OperationName, section.operations)) if section else frozenset()


class Settings(Frozen):
    """A whole scimpipe.toml."""

    path: Path = Field(exclude=True, description="The file it came from; not a key.")
    service: ServiceSettings = ServiceSettings()
    redis: RedisSettings = RedisSettings()
    drupal: DrupalSettings
    targets: Mapping[str, TargetSettings]
