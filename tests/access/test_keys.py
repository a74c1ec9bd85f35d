"""Settings of credentials and keys: what is wrong is named, what is secret is not; and the keyring."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from tests.access.test_encrypted import NEW, OLD, key
from timeline_workers.errors import CodecError, SettingsError
from timeline_workers.servers.temporal import encryption
from timeline_workers.servers.temporal.encryption import Keyring
from timeline_workers.settings.credentials import CodecAccess, PulsarAccess, parse_keys

SECRET = base64.b64encode(b"s" * 31).decode()


def test_keys_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    """Written either way they are the same keys, the first of which encrypts; none mean no encryption."""
    file = tmp_path / "keys"
    file.write_text(f"# changed in November\n{NEW}  # since then\n\n{OLD}\n")
    from_file = CodecAccess.from_env({"TIMELINE_CODEC_KEY_FILE": str(file)}).read()
    assert [k.id for k in from_file] == ["2026-11", "2026-05"]
    assert CodecAccess.from_env({"TIMELINE_CODEC_KEYS": f"{NEW},{OLD}"}).read() == from_file
    assert CodecAccess.from_env({"TIMELINE_CODEC_KEYS": ""}).read() == ()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (SECRET, "key 1 is not written id:base64"),
        (f"{NEW} :{SECRET}", "key 2 is not written id:base64"),
        (f"a:{SECRET}", "key 'a' has 31 bytes, and AES-256 needs 32"),
        ("a:!!!!", "key 'a' is not base64"),
        (f"{NEW} {NEW}", "key '2026-11' is there twice"),
        (" , # nothing", "there is no key in it"),
    ],
)
def test_wrong_keys_are_refused_without_showing_them(tmp_path: Path, keys: str, said: str) -> None:
    """The message names the variable, the key by its id or place, and the fix; never a secret."""
    file = tmp_path / "keys"
    file.write_text(keys)
    for variable, given_value in (
        ("TIMELINE_CODEC_KEYS", keys),
        ("TIMELINE_CODEC_KEY_FILE", str(file)),
    ):
        with pytest.raises(SettingsError) as refused:
            CodecAccess.from_env({variable: given_value})
        assert variable in str(refused.value)
        assert said in str(refused.value)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TOKEN": "t", "TOKEN_FILE": "FILE"}, "TOKEN and TIMELINE_PULSAR_TOKEN_FILE are both set"),
        ({"TLS_CERT": "FILE"}, "TIMELINE_PULSAR_TLS_CERT is set and TIMELINE_PULSAR_TLS_KEY is not"),
        ({"TLS_KEY": "FILE"}, "TIMELINE_PULSAR_TLS_KEY is set and TIMELINE_PULSAR_TLS_CERT is not"),
        ({"TLS_CA": "/no/such/file"}, "TLS_CA='/no/such/file': the file cannot be read: No such file"),
        ({"TLS_VERIFY_HOSTNAME": "perhaps"}, "TIMELINE_PULSAR_TLS_VERIFY_HOSTNAME='perhaps'"),
        (
            {"URL": "pulsar://there:6650", "TLS_CA": "FILE"},
            "TLS_CA is set, and TIMELINE_PULSAR_URL='pulsar://there:6650' is not encrypted",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    """A half of a pair, two tokens, a file that is not there, TLS for an address without it."""
    file = tmp_path / "file"
    file.write_text("x")
    given_values = {f"TIMELINE_PULSAR_{k}": str(file) if v == "FILE" else v for k, v in environment.items()}
    with pytest.raises(SettingsError) as refused:
        PulsarAccess.from_env(given_values)
    assert said in str(refused.value)


def test_a_token_in_a_file_is_read_anew(tmp_path: Path) -> None:
    """What is in the file when a connection is made counts; a file that has none is an error then."""
    file = tmp_path / "token"
    file.write_text("first\n")
    source = PulsarAccess.from_env({"TIMELINE_PULSAR_TOKEN_FILE": str(file)}).token_source()
    assert source is not None
    assert source() == "first"
    file.write_text("second")
    assert source() == "second"
    file.write_text("")
    with pytest.raises(SettingsError, match=r"TIMELINE_PULSAR_TOKEN_FILE=.*the file is empty"):
        source()


def test_secrets_are_not_shown() -> None:
    """Neither settings nor keys repeat a secret when they are printed."""
    access = PulsarAccess.from_env({"TIMELINE_PULSAR_TOKEN": "do-not-tell"})
    assert "do-not-tell" not in repr(access)
    codec = CodecAccess.from_env({"TIMELINE_CODEC_KEYS": NEW})
    assert NEW.partition(":")[2] not in f"{codec!r} {codec.read()!r}"


@given(plain=st.binary(max_size=200))
def test_a_box_opens_with_its_key_only(plain: bytes) -> None:
    """It opens to the same bytes with any keyring that has the key, wherever it stands in it."""
    box = Keyring(parse_keys(OLD)).encrypt(plain)
    assert Keyring(parse_keys(f"{NEW} {OLD}")).decrypt("2026-05", box) == plain
    with pytest.raises(CodecError, match="encrypted with the key '2026-05', and the keys given are 2026-11"):
        Keyring(parse_keys(NEW)).decrypt("2026-05", box)
    with pytest.raises(CodecError, match="that id stands for another secret here"):
        Keyring(parse_keys(key("2026-05", 9))).decrypt("2026-05", box)


@given(plain=st.binary(min_size=1, max_size=40), data=st.data())
@settings(max_examples=200)
def test_a_box_that_was_changed_does_not_open(plain: bytes, data: st.DataObject) -> None:
    """One bit anywhere, or a piece missing: an error, never other bytes."""
    ring = Keyring(parse_keys(NEW))
    box = bytearray(ring.encrypt(plain))
    bit = data.draw(st.integers(0, 8 * len(box) - 1))
    cut = bytes(box[: data.draw(st.integers(0, len(box) - 1))])
    box[bit // 8] ^= 1 << bit % 8
    for wrong in (bytes(box), cut):
        with pytest.raises(CodecError):
            ring.decrypt("2026-11", wrong)


def test_no_two_boxes_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes never look the same, and the derived key changes after its number of boxes."""
    monkeypatch.setattr(encryption, "BOXES_PER_SALT", 10)
    ring = Keyring(parse_keys(NEW))
    boxes = [ring.encrypt(b"the same") for _ in range(40)]
    assert len(set(boxes)) == 40
    assert len({box[1:17] for box in boxes}) == 4
    assert {ring.decrypt("2026-11", box) for box in boxes} == {b"the same"}


@pytest.mark.parametrize(
    "program",
    [
        ("feeder",),
        ("producer", "worked-example"),
        ("timeline_workers", "get"),
        ("timeline_workers", "worker"),
    ],
)
def test_programs_end_with_the_code_for_wrong_settings(program: tuple[str, ...]) -> None:
    """A wrong setting ends every program at once, with its message and exit code 2."""
    wrong = {"TIMELINE_PULSAR_TLS_KEY": "/no/such/key", "TIMELINE_CODEC_KEYS": "none"}
    environment = {**os.environ, **wrong, "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    ended = subprocess.run(
        [sys.executable, "-m", *program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: TIMELINE_")
