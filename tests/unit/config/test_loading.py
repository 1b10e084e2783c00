"""Every mistake in scimpipe.toml is told plainly, with file, key and what to write; all of them at once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.loading import ConfigError, load
from config.reference import render as render_reference
from config.settings import OperationName, Trigger
from config.template import Answers, render

ROOT = Path(__file__).parents[3]
GOOD = """
[drupal]
url = "sqlite:///site.sqlite"
[targets.acme]
base_url = "https://acme.example/scim/v2"
token = { env = "ACME_TOKEN" }
[targets.acme.mapping]
userName = "name"
nickName = { value = "name", on = "create" }
[targets.acme.manual]
operations = ["create", "update"]
"""


@pytest.fixture
def problems(tmp_path):
    def of(text: str, environ: dict[str, str] | None = None) -> str:
        file = tmp_path / "scimpipe.toml"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as raised:
            load(file, environ or {})
        return str(raised.value)

    return of


def good(tmp_path: Path, text: str = GOOD, environ: dict[str, str] | None = None):
    file = tmp_path / "scimpipe.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ or {})


def test_a_good_file_loads_with_its_defaults(tmp_path):
    settings = good(tmp_path)
    target = settings.targets["acme"]
    assert target.name == "acme"
    assert target.mapping["userName"].value == "name"
    assert target.mapping["nickName"].on == "create"
    assert target.operations(Trigger.MANUAL) == {OperationName.CREATE, OperationName.UPDATE}
    assert target.operations(Trigger.AUTOMATIC) == frozenset()
    assert settings.service.data_dir == tmp_path / ".scimpipe"
    assert settings.drupal.url == f"sqlite:///{tmp_path}/site.sqlite"


def test_a_trigger_that_is_disabled_does_nothing(tmp_path):
    text = GOOD.replace("[targets.acme.manual]", "[targets.acme.manual]\nenabled = false")
    assert good(tmp_path, text).targets["acme"].operations(Trigger.MANUAL) == frozenset()


def test_the_environment_overrides_any_value(tmp_path):
    environ = {
        "SCIMPIPE__REDIS__URL": "redis://cache/3",
        "SCIMPIPE__TARGETS__ACME__LIMITS__CONCURRENCY": "8",
        "SCIMPIPE__TARGETS__ACME__MANUAL__OPERATIONS": '["delete"]',
        "SCIMPIPE__targets__acme__scope": "mail",
    }
    settings = good(tmp_path, GOOD, environ)
    assert settings.redis.url == "redis://cache/3"
    assert settings.targets["acme"].limits.concurrency == 8
    assert settings.targets["acme"].operations(Trigger.MANUAL) == {OperationName.DELETE}
    assert settings.targets["acme"].scope == "mail"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"SCIMPIPE__TARGETS__OKTA__SCOPE": "mail"}, ["has no targets.okta): targets.okta: one way", "has no targets.okta): targets.okta.mapping: is missing"]),
        ({"SCIMPIPE__TARGETS__ACME__TOKEN__FILE": "/x"}, ["scimpipe.toml with environment variable", ": targets.acme.token: exactly one of env and file"]),
        ({"SCIMPIPE__TARGETS__ACME__OAUTH2__CLIENT_ID": "x"}, ["scimpipe.toml with environment variable", ": targets.acme: two ways", "has no targets.acme.oauth2): targets.acme.oauth2.token_url: is missing"]),
        ({"SCIMPIPE__TARGETS__ACME__MAPPING": "{}"}, [": targets.acme.mapping: userName is not mapped"]),
    ],
    ids=lambda value: next(iter(value)),
)  # fmt: skip
def test_a_mistake_that_a_variable_makes_is_told_with_the_variable(problems, environ, words):
    told = problems(GOOD, environ)
    for line in told.splitlines():
        assert f"environment variable {next(iter(environ))}" in line
    for word in words:
        assert word in told


def test_a_variable_elsewhere_in_the_section_is_not_what_is_wrong(problems):
    text = GOOD.replace('token = { env = "ACME_TOKEN" }', "")
    told = problems(text, {"SCIMPIPE__TARGETS__ACME__SCOPE": "mail"})
    assert "SCIMPIPE__" not in told


def test_the_file_is_found_through_the_environment(tmp_path):
    good(tmp_path)
    assert load(None, {"SCIMPIPE_CONFIG": str(tmp_path / "scimpipe.toml")}).targets


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("userName", "userNam"), ["targets.acme.mapping", "userName"]),
        (("base_url", "base_ulr"), ["targets.acme.base_ulr", "unknown key", "did you mean base_url?"]),
        (("[targets.acme.manual]", "[targets.acme.manuel]"), ["targets.acme.manuel", "did you mean manual?"]),
        (('"update"', '"updat"'), ["targets.acme.manual.operations", "did you mean update?"]),
        (("https://", "http://"), ["targets.acme.base_url", "https://", "allow_insecure"]),
        (("https://acme", "acme"), ["targets.acme.base_url", "not a web address"]),
        (("https://acme.example", "https://acme..example"), ["targets.acme.base_url", "not a web address"]),
        (("https://acme", f"https://{64 * 'a'}"), ["targets.acme.base_url", "not a web address"]),
        (('{ env = "ACME_TOKEN" }', '"canary-secret"'), ["targets.acme.token", "must not stand here", "env"]),
        (("{ env =", "{ evn ="), ["targets.acme.token.evn", "did you mean env?"]),
        (('token = { env = "ACME_TOKEN" }', ""), ["targets.acme", "token or oauth2"]),
        (("sqlite:///site.sqlite", "oracle://db"), ["drupal.url", "mysql+pymysql"]),
        (("sqlite:///site", "mysql+pymysql://u@db..example/site"), ["drupal.url", "cannot be one", "account@host"]),
        (("sqlite:///site", "postgresql+psycopg://u@db:54320000/site"), ["drupal.url", "cannot be one"]),
        (("sqlite:///", "mysql+pymysql://u:canary-secret@h/"), ["drupal.url", "must not stand here", "password"]),
        (("[drupal]", "[drupal]\npoll_seconds = -1"), ["drupal.poll_seconds", "greater than or equal"]),
        (("[drupal]", '[drupal]\npoll_seconds = "often"'), ["drupal.poll_seconds", "number"]),
        (("[drupal]", '[drupal]\nkind = "csv"'), ["drupal.kind", "database"]),
        (("[drupal]", '[redis]\nurl = "redis://:canary-secret@h"\n[drupal]'), ["redis.url", "must not stand"]),
        (("[drupal]", '[redis]\nurl = "memcached://h"\n[drupal]'), ["redis.url", "embedded"]),
        (("[drupal]", '[redis]\nurl = "redis://cache..example"\n[drupal]'), ["redis.url", "not an address"]),
        (("[targets.acme]", '[targets.acme]\nadopt = "sometimes"'), ["targets.acme.adopt", "unclaimed"]),
        (("[targets.acme]", '[targets.acme]\nmatching = ["emails.value"]'), ["targets.acme.matching", "not mapped"]),
        (("[targets.acme]", '[targets.acme]\nmatching = ["email"]'), ["targets.acme.matching: email is not mapped; did you mean emails?"]),
        (("[targets.acme]", '[targets.acme]\nmatching = ["emails"]'), ["targets.acme.matching: emails is not mapped; map emails, or"]),
        (("[targets.acme]", '[targets.acme]\nmatching = ["nickname"]'), ["targets.acme.matching: nickname is not mapped; did you mean nickName?"]),
        (("[targets.acme]\n", '[targets."A B"]\n'), ["targets.A B", "no name for a target"]),
        (("[drupal]", "[service]\ndata_dri = 'x'\n[drupal]"), ["service.data_dri", "data_dir"]),
        (("[targets.acme.manual]", '[targets.acme.scheduled]\noperations = []\ncron = "0 0 31 2 *"\n[targets.acme.manual]'), ["scheduled.cron", "never fires"]),
        (("[targets.acme.manual]", '[targets.acme.scheduled]\noperations = []\ncron = "often"\n[targets.acme.manual]'), ["scheduled.cron", "not a cron line"]),
        (("[targets.acme.manual]", '[targets.acme.limits]\nconcurrency = 0\n[targets.acme.manual]'), ["limits.concurrency", "greater"]),
        (("[drupal]", "[drupal"), ["not valid TOML", "line 2"]),
        (("[drupal]", "[drupal]\nurl = 'x'"), ["is not valid TOML: a key or section stands there twice at line 4, column", "; take one out"]),
        (("[targets.acme]", "[drupal]\n[targets.acme]"), ["stands there twice at line 4"]),
        (("{ env =", "{ env = 'A', env ="), ["stands there twice"]),
        (("[targets.acme.mapping]", "[targets.acme.token]"), ["stands there twice"]),
    ],
    ids=lambda value: None if isinstance(value, list) else value[1][:40],
)  # fmt: skip
def test_a_mistake_is_told_with_key_and_remedy(problems, change, words):
    text = GOOD.replace(*change, 1)
    assert text != GOOD
    told = problems(text)
    for word in ["scimpipe.toml", *words]:
        assert word in told
    assert "canary-secret" not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["drupal", "is missing"]),
        ("[drupal]\nurl='sqlite:///x'", ["targets", "is missing"]),
        ("[drupal]\nurl='sqlite:///x'\n[targets]", ["targets", "there is no target"]),
        ('[drupal]\nkind="jsonapi"\nbase_url="https://x"\n[targets]', ["drupal", "username and password"]),
        ('[drupal]\nkind="jsonapi"\nbase_url="http://x.example"\nusername="u"\npassword={env="P"}\n', ["drupal.base_url", "https"]),
        ('[drupal]\nkind="jsonapi"\nbase_url="https://x"\nusername="u"\n', ["drupal.password", "is missing"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_told(problems, text, words):
    told = problems(text)
    for word in words:
        assert word in told


def test_all_mistakes_are_told_at_once(problems):
    told = problems(
        GOOD.replace("base_url", "base_ulr")
        .replace('"update"', '"updat"')
        .replace("[drupal]", "[drupal]\npoll = 3")
    )
    assert len(told.splitlines()) >= 4
    assert "drupal.poll" in told
    assert "updat" in told


def test_a_file_that_is_not_there_says_how_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match="scimpipe init"):
        load(tmp_path / "none.toml", {})


def test_a_folder_is_no_file_and_one_in_it_is_to_be_named(tmp_path):
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, {})
    assert str(raised.value) == f"{tmp_path}: is a folder; name the file, such as {tmp_path}/scimpipe.toml"


@pytest.mark.parametrize(
    "answers",
    [
        Answers(),
        Answers(kind="jsonapi"),
        Answers(database_url="sqlite:////srv/site.sqlite", target="my-okta"),
    ],
)
def test_what_init_writes_loads(tmp_path, answers):
    settings = good(tmp_path, render(answers))
    assert list(settings.targets) == [answers.target]
    for name in answers.variables:
        assert name in render(answers)


def test_the_example_loads():
    assert load(ROOT / "scimpipe.example.toml", {}).targets["miniorange"].scheduled.cron == "*/30 * * * *"


def test_the_reference_in_docs_is_generated_from_the_models():
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == render_reference()


TOML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "token", "mapping", "x"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["drupal", "redis", "targets", "service", "nonsense"]), TOML_VALUES, max_size=4
    )
)
def test_no_document_gives_anything_but_settings_or_problems(tmp_path_factory, document):
    import tomlkit

    file = tmp_path_factory.mktemp("fuzz") / "scimpipe.toml"
    file.write_text(tomlkit.dumps(_without_none(document)), encoding="utf-8")
    with contextlib.suppress(ConfigError):
        assert load(file, {}).targets


def _without_none(value):
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_none(each) for each in value if each is not None]
    return value


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_give_anything_but_problems(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("fuzz") / "scimpipe.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError):
        load(file, {})


TWICE = GOOD.replace("[targets.acme.mapping]", "scope = \"'staff' in roles\"\n[targets.acme.mapping]") + GOOD[
    GOOD.index("[targets.acme]") :
].replace("acme]", "guests]").replace("acme.m", "guests.m").replace("/v2", "/v2/")


def test_one_service_provider_under_two_names_must_not_lose_the_accounts_of_one_by_the_other(
    problems, tmp_path
):
    """The user whom one scope leaves out is a leaver there, and found by the externalId that the other one wrote."""
    said = problems(TWICE)
    assert "targets.guests.base_url" in said
    assert "is that of targets.acme, too" in said
    keeping = TWICE + '[targets.acme.leavers]\nout_of_scope = "keep"\n'
    assert set(good(tmp_path, keeping).targets) == {"acme", "guests"}
    assert set(good(tmp_path, TWICE.replace("'staff' in roles", "")).targets) == {"acme", "guests"}
    start, end = TWICE.rsplit("token = ", 1)
    by_token = start + 'token = { file = "token" }' + end[end.index("\n") :]
    (tmp_path / "token").write_text("another customer's")
    assert set(good(tmp_path, by_token).targets) == {"acme", "guests"}
