"""The scimpipe.toml that `scimpipe init` writes: complete, commented, and right as it stands."""

from __future__ import annotations

import json
from dataclasses import dataclass

from config.rules import TARGET_NAME


@dataclass(frozen=True, slots=True)
class Answers:
    """What `scimpipe init` asks. kind: database or jsonapi."""

    kind: str = "database"
    database_url: str = "mysql+pymysql://drupal@localhost/drupal"
    site_url: str = "https://www.example.org"
    target: str = "miniorange"
    base_url: str = "https://acme.example/scim/v2"

    @property
    def token_variable(self) -> str:
        name = "".join(char if char.isascii() and char.isalnum() else "_" for char in self.target).upper()
        # No shell sets a variable that begins with a digit.
        return f"TARGET_{name}_TOKEN" if name[:1].isdigit() else f"{name}_TOKEN"

    @property
    def password_variable(self) -> str | None:
        """None where the database needs none (SQLite)."""
        if self.kind == "database" and self.database_url.startswith("sqlite"):
            return None
        return "DRUPAL_DB_PASSWORD" if self.kind == "database" else "DRUPAL_PASSWORD"

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables the file refers to."""
        return tuple(name for name in (self.password_variable, self.token_variable) if name)


def render(answers: Answers) -> str:
    return "\n".join([_HEAD, _drupal(answers), _target(answers)])


_HEAD = """\
# scimpipe.toml: what scimpipe reads, where it writes, and what it may do. docs/configuration.md explains every key.
# A secret never stands in this file: { env = "NAME" } or { file = "PATH" } says where it is.

[redis]
url = "embedded"                      # a Valkey of scimpipe's own, in .scimpipe/; or redis:// rediss:// unix://
"""


def _drupal(answers: Answers) -> str:
    if answers.kind == "jsonapi":
        return f"""\
[drupal]
kind = "jsonapi"
base_url = {_quoted(answers.site_url)}
username = "scimpipe"                 # the account's name, not its e-mail address; needs 'administer users'
password = {{ env = "{answers.password_variable}" }}
poll_seconds = 5                      # change detection, in seconds; 0 switches it off
"""
    password = f'password = {{ env = "{answers.password_variable}" }}\n' if answers.password_variable else ""
    return f"""\
[drupal]
kind = "database"
url = {_quoted(answers.database_url)}  # mysql+pymysql:// postgresql+psycopg:// sqlite:///
{password}table_prefix = ""
poll_seconds = 5                      # change detection, in seconds; 0 switches it off
"""


def _target(answers: Answers) -> str:
    # A name that will not do still makes a readable file, in which `check` says what is wrong with it.
    name = answers.target if TARGET_NAME.fullmatch(answers.target) else _quoted(answers.target)
    return f"""\
[targets.{name}]
base_url = {_quoted(answers.base_url)}  # the SCIM base URL, as the service provider shows it
token = {{ env = "{answers.token_variable}" }}
matching = ["externalId", "userName"] # how an account that is there already is recognised, in this order
adopt = "unclaimed"                   # unclaimed | always | never: whether such an account is taken over
scope = ""                            # who is provisioned, e.g. "mail and 'member' in roles"; empty: everybody

# SCIM attribute = expression over Drupal fields. `scimpipe fields` and `scimpipe attributes` list both sides.
[targets.{name}.mapping]
userName = "name"
externalId = "uuid"
active = "status"
displayName = "name"
'emails[type eq "work"].value' = "mail | lower"
# 'name.givenName' = "field_first_name"
# 'name.familyName' = "field_last_name"

# What happens to the account of a user who is blocked, deleted, or no longer in scope: deactivate | delete | keep
[targets.{name}.leavers]
blocked = "deactivate"
deleted = "deactivate"
out_of_scope = "deactivate"

# The three triggers, each with its own switches. A trigger without a section does nothing.
[targets.{name}.manual]
operations = ["create", "update", "deactivate", "delete"]
[targets.{name}.automatic]
operations = ["create", "update", "deactivate"]
[targets.{name}.scheduled]
operations = ["create", "update", "deactivate"]
cron = "*/30 * * * *"                 # minute hour day month weekday

# More removals than this within an hour, or in one full sync, wait for your approval: `scimpipe held list`
[targets.{name}.guard]
max_removals = 50
max_removal_percent = 10              # of the active accounts; the smaller of the two holds
"""


def _quoted(text: str) -> str:
    """As a TOML string, which is a JSON one without surrogate pairs and with U+007F escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
