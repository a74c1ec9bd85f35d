"""Files of targets: what is right is read back, what is wrong is named with the fix; secrets never are."""

from __future__ import annotations

import json

import pytest

from timeline_workers.errors import Code, SettingsError, TargetError
from timeline_workers.targets.secrets import Address, SecretReference, Secrets
from timeline_workers.targets.target import KINDS, place_of, read_target
from timeline_workers.targets.target_files import load_target, target_file

FILES = {
    "webhook": "url: https://pager.example/hook\nsecret: {env: PAGER}\n"
    "token: {file: /run/token}\ntimeout: 5s",
    "alertmanager": "url: http://127.0.0.1:9093\nlabels: {team: video}\ngive_up: 2h",
    "apprise": "url: {env: SLACK}",
    "pulsar": "topic: alerts",
    "kafka": "servers: k1:9092,k2:9092\ntopic: alerts\nconfig: {linger.ms: 5}\n"
    "secrets: {sasl.password: {env: KAFKA}}",
    "postgres": "url: postgresql://me@db/x\ntable: ops.alerts",
    "file": "path: /var/log/alerts.jsonl\nmost: 5",
    "stdout": "at_once: 3",
    "temporal": "workflow: Freeze\ntask_queue: bank\nsignal: told",
}


@pytest.mark.parametrize("what", KINDS)
def test_a_file_of_each_kind_is_read_and_written(what: str) -> None:
    target = load_target(f"kind: target\nname: t\nwhat: {what}\n{FILES[what]}\n")
    assert target.what == what
    assert load_target(target_file(target)) == target
    assert read_target(json.loads(target.model_dump_json())) == target
    assert place_of(target)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("what: webhok", "what: 'webhok' is none; did you mean webhook?"),
        ("description: x", "what: this field is missing; write one of webhook, alertmanager"),
        ("what: webhook", "url: this field is missing"),
        ("what: webhook, url: 'ftp://x'", "url: 'ftp://x' is no address of HTTP"),
        (
            "what: webhook, url: 'http://x', at_onc: 3",
            "at_onc: there is no such field; did you mean at_once?",
        ),
        ("what: webhook, url: 'http://x', give_up: 5", "give_up: 5 has no unit; write 5s"),
        ("what: webhook, url: 'http://x', most: 0", "most: 0 is too small"),
        ("what: webhook, url: {env: A, file: /x}", "url: env and file is given, and one place is wanted"),
        ("what: webhook, url: 'http://x', secret: {envi: A}", "secret.envi: there is no such field; did you"),
        ("what: webhook, url: {env: TIMELINE_CODEC_KEYS}", "is a setting of this system"),
        ("what: postgres, url: 'http://x'", "is no address of PostgreSQL"),
        ("what: postgres, url: 'postgres://x/y', table: 'a;b'", "table: 'a;b'"),
        ("what: file, path: alerts.jsonl", "is no absolute path"),
        ("what: pulsar, topic: 'a/b'", "is not a topic name"),
    ],
)
def test_what_is_wrong_is_named(fields: str, said: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(f"{{kind: target, name: t, {fields}}}")
    assert said in str(caught.value)
    assert caught.value.code is Code.WRONG_TARGET


@pytest.mark.parametrize(
    "fields",
    [
        "what: webhook, url: 'http://x', secret: hunter2",
        "what: webhook, url: 'http://x', secret: [hunter2]",
        "what: webhook, url: 'http://x', token: {env: hunter2!}",
        "what: webhook, url: 'http://x', token: {file: hunter2}",
        "what: webhook, url: 'http://me:hunter2@x'",
        "what: apprise, url: 'slack://hunter2'",
        "what: postgres, url: 'postgres://me:hunter2@x/y'",
        "what: kafka, servers: k, topic: t, secrets: hunter2",
        "what: kafka, servers: k, topic: t, secrets: {sasl.password: hunter2}",
        "what: kafka, servers: k, topic: t, config: {sasl.password: hunter2}",
    ],
)
def test_a_secret_in_a_file_is_refused_unrepeated(fields: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(f"{{kind: target, name: t, {fields}}}")
    assert "hunter2" not in str(caught.value)
    assert "{env: " in str(caught.value) or "begins with /" in str(caught.value)


def test_what_is_said_hides_what_was_resolved(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Also as a URL has it; of an address that is named every part but the host."""
    file = tmp_path / "secret"
    file.write_text(" whsec_new whsec_old\n")
    secrets = Secrets({"URL": "https://hooks.example:8443/T00/B11/x%2Fy?token=abcd", "P": "p@ss/word"})
    assert secrets.secret(SecretReference(file=str(file))) == "whsec_new whsec_old"
    assert secrets.address(Address(env="URL")).startswith("https://hooks.example")
    assert secrets.secret(SecretReference(env="P")) == "p@ss/word"
    said = "hooks.example: x%2Fy abcd whsec_old p@ss/word p%40ss%2Fword refused"
    assert secrets.hidden(said) == "hooks.example: *** *** *** *** *** refused"
    for place in (SecretReference(env="NONE"), SecretReference(file=str(tmp_path / "none"))):
        with pytest.raises(SettingsError, match=r"put one there"):
            secrets.secret(place)
