"""A stand-in for a Drupal site's JSON:API that behaves as the captures do, identity traps included (FACTS.md)."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from provisioning.model import SourceUser

ANONYMOUS = "0a000000-0000-4000-8000-0000000000ff"
ME = "0a000000-0000-4000-8000-000000000001"
CAP = 50
_TEXT_FIELDS = frozenset({"name", "mail", "langcode", "timezone"})
_TIMES = frozenset({"created", "changed", "access", "login"})


@dataclass
class Account:
    """Who can sign in. sees: all ("administer users"), mail ("user email addresses"), profiles, nothing."""

    name: str
    password: str
    sees: str = "all"
    blocked: bool = False
    failures: int = 0


@dataclass
class JsonApiSite:
    """Serves users over real HTTP. requests: (method, path without query, how signed in: basic, session, token, none).
    unlisted: uuids that something in between takes out of listings. refuses_tokens: 401 for a token that is unknown, as
    simple_oauth has it, instead of the anonymous user's answer. nobody: every token is the anonymous user's. hidden: attributes
    that a module of the site's (jsonapi_extras, a hook_entity_field_access) shows to nobody. translated: uuid -> `changed` of that
    user's row in another language: a filter means any row of a user (Drupal's entity query without a langcode), and what is
    shown is that of the URL's language. sign_in_seconds: how long a sign-in takes (a password's hash is
    slow on purpose). sign_ins_refused: how many something before the site refuses.
    """

    users: list[SourceUser]
    accounts: list[Account] = field(default_factory=lambda: [Account("reader", "right")])
    client: tuple[str, str] = ("client", "client-secret")
    maintenance: bool = False
    html: bool = False
    json_login: bool = True
    unlisted: frozenset[str] = frozenset()
    refuses_tokens: bool = False
    nobody: bool = False
    hidden: frozenset[str] = frozenset()
    sign_in_seconds: float = 0.0
    sign_ins_refused: int = 0
    translated: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    sessions: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, Account] = field(default_factory=dict)

    def __enter__(self) -> Self:
        site = self

        class Handler(_Handler):
            pass

        Handler.site = site
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def sign_in(self, name: str, password: str) -> Account | None:
        """As Drupal does: after five failures the right password is not taken either."""
        account = next((each for each in self.accounts if each.name == name), None)
        if account is None:
            return None
        if account.failures >= 5 or account.blocked or account.password != password:
            account.failures += 1
            return None
        return account


class _Handler(BaseHTTPRequestHandler):
    site: JsonApiSite
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        site = self.site
        parts = urlsplit(self.path)
        account = self._account()
        if site.refuses_tokens and account is None and "authorization" in self.headers:
            self._answer(401, {"message": "The resource owner or authorization server denied the request."})
        elif site.maintenance:
            self._answer(503, {"errors": [{"status": "503"}]}, {"Retry-After": "10"})
        elif site.html:
            self._answer(200, "<!DOCTYPE html><p>zoe is not here</p>")
        elif parts.path == "/jsonapi":
            links: dict[str, Any] = {"data": []}
            if account is not None:
                links["meta"] = {"links": {"me": {"meta": {"id": ME}}}}
            self._answer(200, links)
        elif parts.path == "/jsonapi/user/user":
            self._users(dict(parse_qsl(parts.query)), account)
        elif parts.path.startswith("/jsonapi/user/user/"):
            self._user(parts.path.rpartition("/")[2], account)
        else:
            self._answer(404, "<!DOCTYPE html>")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urlsplit(self.path).path
        self.site.requests.append(("POST", path, "none"))
        time.sleep(self.site.sign_in_seconds)
        if self.site.sign_ins_refused:
            self.site.sign_ins_refused -= 1
            self._answer(403, "<!DOCTYPE html>")
            return
        if path == "/user/login" and self.site.json_login:
            given = json.loads(body)
            account = self.site.sign_in(given["name"], given["pass"])
            if account is None:
                self._answer(400, {"message": "Sorry, unrecognized username or password."})
                return
            session = secrets.token_hex(8)
            self.site.sessions[session] = account
            self._answer(200, {"current_user": {}}, {"Set-Cookie": f"SESSabc={session}; path=/; HttpOnly"})
        elif path == "/oauth/token":
            form = dict(parse_qsl(body.decode()))
            if (form.get("client_id"), form.get("client_secret")) != self.site.client:
                self._answer(401, {"error": "invalid_client"})
                return
            token = secrets.token_hex(8)
            self.site.tokens[token] = self.site.accounts[0]
            self._answer(200, {"access_token": token, "expires_in": 300, "token_type": "Bearer"})
        else:
            self._answer(404, {"message": "no route"})

    def _account(self) -> Account | None:
        """Whoever Drupal takes us for; None: the anonymous user, without a word."""
        header, cookie = self.headers.get("authorization", ""), self.headers.get("cookie", "")
        kind, account = "none", None
        if header.startswith("Basic "):
            kind = "basic"
            name, _, password = base64.b64decode(header[6:]).decode().partition(":")
            account = self.site.sign_in(name, password)
        elif header.startswith("Bearer "):
            kind, account = "token", None if self.site.nobody else self.site.tokens.get(header[7:])
        elif cookie.startswith("SESSabc="):
            kind, account = "session", self.site.sessions.get(cookie[8:])
        self.site.requests.append(("GET", urlsplit(self.path).path, kind))
        return account

    def _user(self, uuid: str, account: Account | None) -> None:
        found = next((user for user in self.site.users if user.uuid == uuid), None)
        if found is None:
            self._answer(404, {"errors": [{"status": "404", "title": "Not Found"}]})
            return
        self._answer(200, {"data": _row(found, account.sees if account else "nothing", None)})

    def _users(self, query: Mapping[str, str], account: Account | None) -> None:
        sees = account.sees if account else "nothing"
        try:
            accepted = _Filter(query, sees).accepts
            found = [
                (user, [row for row in self._in_all_languages(user) if accepted(row)])
                for user in self.site.users
            ]
        except PermissionError as error:
            self._answer(403, {"errors": [{"status": "403", "detail": str(error)}]})
            return
        except (LookupError, ValueError) as error:
            self._answer(400, {"errors": [{"status": "400", "detail": str(error)}]})
            return
        if not any(key.startswith("filter") for key in query):
            anonymous = SourceUser(0, ANONYMOUS, {})
            found = [(anonymous, [anonymous]), *found]
        names = [_plain(key) for key in query.get("sort", "uid").split(",")]
        order = [
            (min([row.values.get(name, 0) for name in names] for row in matching), user)
            for user, matching in found
            if matching
        ]
        rows = [user for _, user in sorted(order, key=lambda each: each[0])]
        limit = min(int(query.get("page[limit]", CAP)), CAP)
        rows = [user for user in rows if user.uuid not in self.site.unlisted]
        offset = int(query.get("page[offset]", 0))
        links = {"next": {"href": "..."}} if len(rows) > offset + limit else {}
        wanted = query.get("fields[user--user]")
        shown = [
            _row(user, sees, set(wanted.split(",")) if wanted else None)
            for user in rows[offset : offset + limit]
        ]
        for row in shown:
            for name in self.site.hidden:
                row.get("attributes", {}).pop(name, None)
        self._answer(200, {"data": shown, "links": links})

    def _in_all_languages(self, user: SourceUser) -> list[SourceUser]:
        changed = self.site.translated.get(user.uuid)
        other = (
            [] if changed is None else [SourceUser(user.uid, user.uuid, {**user.values, "changed": changed})]
        )
        return [user, *other]

    def _answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        raw = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/vnd.api+json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


def _plain(path: str) -> str:
    return {"drupal_internal__uid": "uid", "id": "uuid"}.get(path, path)


class _Filter:
    """Conditions and groups, as Drupal understands them."""

    def __init__(self, query: Mapping[str, str], sees: str) -> None:
        self.conditions: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, str]] = {}
        for key, value in query.items():
            found = re.fullmatch(r"filter\[(\w+)\]\[(condition|group)\]\[(\w+)\](?:\[(\d+)\])?", key)
            if not found:
                continue
            name, kind, part, index = found.groups()
            holder = (self.conditions if kind == "condition" else self.groups).setdefault(name, {})
            if index is None:
                holder[part] = value
            else:
                holder.setdefault(part, []).append(value)
        for condition in self.conditions.values():
            path = condition["path"]
            if path in {"status", "mail", "roles"} and sees != "all":
                raise PermissionError(f"not authorized to filter by the `{path}` field")

    def accepts(self, user: SourceUser) -> bool:
        return self._group(None, user)

    def _group(self, name: str | None, user: SourceUser) -> bool:
        members = [
            self._condition(each, user) for each in self.conditions.values() if each.get("memberOf") == name
        ]
        members += [
            self._group(key, user) for key, each in self.groups.items() if each.get("memberOf") == name
        ]
        either = name is not None and self.groups[name].get("conjunction") == "OR"
        return any(members) if either else all(members)

    @staticmethod
    def _condition(condition: Mapping[str, Any], user: SourceUser) -> bool:
        path = _plain(condition["path"])
        if path not in user.values:
            raise LookupError(f"The field `{path}` does not exist")
        actual, value, operator = user.values[path], condition["value"], condition.get("operator", "=")
        if operator == "IN":
            return str(actual) in value
        if operator == "CONTAINS":
            return value.casefold() in str(actual or "").casefold()
        if isinstance(actual, int):
            number = int(value)
            return {"=": actual == number, ">": actual > number, ">=": actual >= number}[operator]
        return operator == "=" and str(actual) == value


def _row(user: SourceUser, sees: str, wanted: set[str] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "user--user", "id": user.uuid}
    if user.uid == 0:
        return row
    attributes: dict[str, Any] = {"display_name": user.values["name"]}
    profile_hidden = sees == "nothing" or (sees != "all" and not user.active)
    if not profile_hidden:
        attributes["drupal_internal__uid"] = user.uid
        attributes |= {name: value for name, value in user.values.items() if name.startswith("field_")}
        attributes |= {name: user.values[name] for name in ("langcode", "name", "timezone")}
        attributes |= {name: _iso(user.values[name]) for name in _TIMES}
        if sees in {"all", "mail"}:
            attributes["mail"] = user.values["mail"]
    relationships: dict[str, Any] = {}
    if sees == "all":
        attributes["status"] = user.active
        roles = [
            {"type": "user_role--user_role", "id": role, "meta": {"drupal_internal__target_id": role}}
            for role in user.values["roles"]
        ]
        relationships["roles"] = {"data": roles}
    if wanted is not None:
        attributes = {name: value for name, value in attributes.items() if name in wanted}
        relationships = {name: value for name, value in relationships.items() if name in wanted}
    return {**row, "attributes": attributes, "relationships": relationships}


def _iso(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()
