"""Where a database is, as text: what a URL may hold, and what of it people may see."""

import difflib
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from gatewaydb.errors import ConfigurationError

# What libpq takes in a URL and we hand on as it is; everything else there has to be a setting of ours.
_LIBPQ_OPTIONS = re.compile(
    "host|hostaddr|port|dbname|user|password|passfile|service|servicefile|connect_timeout|application_name|options|"
    "sslmode|sslcert|sslkey|sslrootcert|sslcrl|sslpassword|sslnegotiation|ssl_min_protocol_version|"
    "ssl_max_protocol_version|target_session_attrs|krbsrvname|gsslib"
)
_SCHEMES = ("sqlite", "postgresql", "postgres")


def without_password(url: str) -> str:
    """The URL for people's eyes: whatever could be a secret is `***`."""
    url = re.sub(r"(://[^/?#]*?):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"(\w*(?:password|encryption_keys)=)[^&]*", r"\1***", url)


def split_query(url: str, known: list[str]) -> tuple[str, dict[str, str]]:
    """The URL with what is libpq's in its query, and our settings from there. Raises ConfigurationError."""
    place, _, query = url.partition("?")
    ours: dict[str, str] = {}
    theirs: list[tuple[str, str]] = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in known:
            ours[name] = value
        elif _LIBPQ_OPTIONS.fullmatch(name) and not place.startswith("sqlite:"):
            theirs.append((name, value))
        else:
            raise ConfigurationError(f"unknown setting {name!r} in the URL{hint(name, known)}")
    return (f"{place}?{urlencode(theirs, quote_via=quote)}" if theirs else place), ours


def check_url(url: str) -> None:
    """Raises ConfigurationError where it names no database."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError("url: is none") from None
    if parts.scheme not in _SCHEMES or "://" not in url:
        raise ConfigurationError("url: must begin with sqlite:// or postgresql://")
    if parts.scheme == "sqlite" and parts.netloc:
        raise ConfigurationError(
            "url: a file is sqlite:///relative.db or sqlite:////absolute.db, three slashes or four"
        )
    try:
        _ = "," in parts.netloc or parts.port
    except ValueError:
        raise ConfigurationError("url: its port must be a number from 0 to 65535") from None


def check_read_url(url: str, is_sqlite: bool) -> None:
    """Raises ConfigurationError where it names no replica."""
    if is_sqlite:
        raise ConfigurationError("read_url: a file has no replicas; leave it out on SQLite")
    try:
        refuse_open_password(url)
        split_query(url, [])
        check_url(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"read_url: {str(error).removeprefix('url: ')}") from None
    if urlsplit(url).scheme == "sqlite":
        raise ConfigurationError("read_url: must begin with postgresql://")


def refuse_open_password(url: str) -> None:
    """Raises ConfigurationError where a password would be cut off, and its rest shown."""
    # A / ? or # in a password would end it, and the rest would be shown as a host, a path or an unknown setting.
    place = url.partition("://")[2] or url
    authority = re.split("[/?#]", place, maxsplit=1)[0]
    if ":" in authority and "@" not in authority and "@" in place:
        raise ConfigurationError("url: percent-encode what is special in the user's name and the password")


def hint(name: str, known: Iterable[str]) -> str:
    """What was probably meant, for the end of an error."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
