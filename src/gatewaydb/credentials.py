"""Secrets: how an API key's is made and hashed, and how a provider's are encrypted."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from gatewaydb.errors import ConfigurationError

SECRET_PREFIX = "sk-"
_SECRET_BYTES = 32


def new_secret() -> str:
    """`sk-` and 256 random bits in 43 characters that are safe in a URL."""
    return SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def hash_secret(secret: str) -> str:
    """SHA-256 as hex text. A secret of 256 random bits needs no salt and no slow hash; LiteLLM hashes alike."""
    return hashlib.sha256(secret.encode()).hexdigest()


class CredentialCipher:
    """Encrypts what a provider's credentials are, with Fernet (AES-128-CBC and HMAC-SHA-256).

    `keys` is comma-separated: the first encrypts, all of them decrypt, so that a new key goes in front and the old one
    leaves after `rotated` has been over every row. Without keys, encrypting and decrypting are ConfigurationErrors.
    """

    def __init__(self, keys: str | None) -> None:
        texts = [key.strip() for key in (keys or "").split(",") if key.strip()]
        try:
            self._fernet = MultiFernet([Fernet(key) for key in texts]) if texts else None
        except ValueError:
            raise ConfigurationError(
                "encryption_keys: each must be 32 bytes in URL-safe base64; `gatewaydb providers new-key` makes one"
            ) from None

    def encrypt(self, credentials: Mapping[str, Any]) -> bytes:
        """The credentials as an encrypted token."""
        return self._cipher.encrypt(msgspec.json.encode(credentials))

    def decrypt(self, token: bytes) -> dict[str, Any]:
        """The credentials of a token. ConfigurationError if no key fits it."""
        try:
            return msgspec.json.decode(self._cipher.decrypt(token), type=dict[str, Any])
        except InvalidToken:
            raise ConfigurationError("encryption_keys: none of them fits the stored credentials") from None

    def rotated(self, token: bytes) -> bytes:
        """The same credentials, encrypted with the first key."""
        try:
            return self._cipher.rotate(token)
        except InvalidToken:
            raise ConfigurationError("encryption_keys: none of them fits the stored credentials") from None

    @property
    def _cipher(self) -> MultiFernet:
        if self._fernet is None:
            raise ConfigurationError("encryption_keys: set GATEWAYDB_ENCRYPTION_KEYS to store or read credentials")
        return self._fernet


def new_encryption_key() -> str:
    """A key for `encryption_keys`."""
    return Fernet.generate_key().decode()
