"""Encrypting bytes with keys that change: AES-256-GCM under keys that are derived from named ones.

A box is ``version, salt, nonce, ciphertext and tag`` (1, 16, 12 and n + 16 bytes). The key that encrypts is
derived from the named one and the salt (HKDF-SHA256); the salt is drawn anew by each process, and after
``BOXES_PER_SALT`` boxes. So random nonces stay safe however many boxes are made under one named key, where
AES-GCM by itself would want another key after 2**32 of them. The name of the key is bound to the box.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from timeline_workers.errors import CodecError, SettingsError
from timeline_workers.settings.credentials import KEY_BYTES, CodecKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

BOXES_PER_SALT = 1 << 20
_VERSION = b"\x01"
_SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 12, 16
_HEADER_BYTES = len(_VERSION) + _SALT_BYTES + _NONCE_BYTES
_PURPOSE = b"timeline-workers payload codec"


class Keyring:
    """Keys by their ids: the first of ``keys`` encrypts, each of them decrypts.

    Raises SettingsError when the library ``cryptography`` is not installed.
    """

    def __init__(self, keys: Sequence[CodecKey]) -> None:
        try:
            import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401  # only whether it is there
        except ImportError:
            raise SettingsError(
                "encrypted payloads (TIMELINE_CODEC_KEYS, TIMELINE_CODEC_KEY_FILE) need the package "
                "cryptography; pip install 'timeline-workers[codec]'"
            ) from None
        self._secrets = {key.id: key.secret.get_secret_value() for key in keys}
        self.key_id = keys[0].id
        self._salt = b""
        self._boxes = 0
        self._derived = lru_cache(maxsize=1024)(self._derive)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the one that encrypts first."""
        return tuple(self._secrets)

    def encrypt(self, plain: bytes) -> bytes:
        """Return a box of ``plain``, made with the key ``key_id``."""
        if not self._salt or self._boxes >= BOXES_PER_SALT:
            self._salt, self._boxes = os.urandom(_SALT_BYTES), 0
        self._boxes += 1
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._derived(self.key_id, self._salt)
        return _VERSION + self._salt + nonce + cipher.encrypt(nonce, plain, self.key_id.encode())

    def decrypt(self, key_id: str, box: bytes) -> bytes:
        """Return what is in a box.

        Raises CodecError when the key is not among those given, when the box has been changed or is of a
        newer version, or when another secret goes by that id.
        """
        from cryptography.exceptions import InvalidTag

        if key_id not in self._secrets:
            raise CodecError(
                f"a payload is encrypted with the key {key_id!r:.80}, and the keys given are "
                f"{', '.join(self._secrets)}; add it to TIMELINE_CODEC_KEYS or TIMELINE_CODEC_KEY_FILE, "
                "after the first"
            )
        if len(box) < _HEADER_BYTES + _TAG_BYTES or box[:1] != _VERSION:
            raise CodecError(
                f"{len(box)} bytes encrypted with the key {key_id!r} are not in the format of this release"
            )
        salt, nonce = box[1 : 1 + _SALT_BYTES], box[1 + _SALT_BYTES : _HEADER_BYTES]
        try:
            return self._derived(key_id, salt).decrypt(nonce, box[_HEADER_BYTES:], key_id.encode())
        except InvalidTag:
            raise CodecError(
                f"a payload cannot be decrypted with the key {key_id!r}: it was changed since it was "
                "encrypted, or that id stands for another secret here"
            ) from None

    def _derive(self, key_id: str, salt: bytes) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derivation = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=_PURPOSE)
        return AESGCM(derivation.derive(self._secrets[key_id]))
