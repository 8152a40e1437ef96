"""URLs without what nobody may see: passwords, tokens and signatures, wherever a text has one.

A URL with credentials is good for connecting, and for nothing else: `masked` stands at every door through which text
leaves (messages, output, rows, manifests, notes), `bare` gives what still leads there for those who know the rest by
themselves, and `name_of` gives files names that tell nothing.
"""

import re
from typing import Any

_HIDDEN = "***"

_SHOWN = frozenset(
    {
        "sslmode",
        "options",
        "host",
        "port",
        "application_name",
        "connect_timeout",
        "name",
        "page",
        "size",
        "width",
        "height",
        "w",
        "h",
        "v",
        "version",
        "versionid",
        "format",
        "raw",
        "dl",
        "download",
        "user",
        "dbname",
        "hostaddr",
        "service",
        "client_encoding",
        "target_session_attrs",
        "channel_binding",
        "keepalives",
        "keepalives_idle",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslcrl",
    }
)
"""Parameters of a query whose values are no secret; of all others nobody knows."""

_DATABASE = re.compile(r"((?:postgres\w*|mysql|mariadb)(?:\+\w+)?://[^\s/:@]*):(\S*)@", re.IGNORECASE)
"""As SQLAlchemy reads them: a password may contain anything but whitespace."""

_PASSWORD = re.compile(r"([a-z][a-z0-9+.-]*://[^\s/?#@:]*):([^\s/?#]*)@", re.IGNORECASE)
_SLASHED = re.compile(r"([a-z][a-z0-9+.-]*://[^\s/?#@:\[]*):(?!\d*(?:[/?#\s]|$))(\S*)@", re.IGNORECASE)
"""A password that should have been encoded, for it has a slash in it; a port is a number."""
_TOKEN = re.compile(r"(https?://)[^\s/?#@:]+@", re.IGNORECASE)
_QUERY = re.compile(r"(://[^\s?#'\"]*)([?#][^\s'\"]*)")
_PAIR = re.compile(r"(?<=[?&#;])([\w.%~-]+)=(?:\"[^\s\"]*\"|'[^\s']*'|[^\s&#;'\"]*)")
"""What is a parameter wherever a URL stands before it: paths have spaces and quotes in them that nobody encoded."""
_BARE = re.compile(r"(https?://[^\s?#'\"]*[?#])[^\s=&'\"]+(?=[\s&'\"]|$)", re.IGNORECASE)
"""A query or fragment without a name, which can be a token as a whole."""
_HOLDER = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/?#@]*)@", re.IGNORECASE)
_KNOWS_USERS = re.compile(r"(postgres|mysql|mariadb|oracle|mssql)", re.IGNORECASE)
"""A database's user is no secret, and its password can come from elsewhere; other URLs' users may be tokens."""
_GONE = re.compile(rf"(?<=[?&;#])(?:[^\s=&;#?]*=)?{re.escape(_HIDDEN)}(?:[&;]|(?=[#\s'\"]|$))")
_VALUE = re.compile(r"([?#&;])([^=&;#?]*)=([^&;#]*)")


def masked(text: str) -> str:
    """`text` with the passwords, tokens and signatures of all URLs in it replaced by `***`."""
    if "://" not in text:
        return text
    text = _DATABASE.sub(rf"\1:{_HIDDEN}@", text)
    text = _PASSWORD.sub(rf"\1:{_HIDDEN}@", text)
    text = _SLASHED.sub(rf"\1:{_HIDDEN}@", text)
    text = _TOKEN.sub(rf"\1{_HIDDEN}@", text)
    text = "\n".join(map(_masked_pairs, text.split("\n")))
    text = _BARE.sub(rf"\1{_HIDDEN}", text)
    return _QUERY.sub(lambda found: found[1] + _VALUE.sub(_value, found[2]), text)


def _masked_pairs(line: str) -> str:
    before, mark, after = line.partition("://")
    return before + mark + _PAIR.sub(_pair, after)


def _pair(found: "re.Match[str]") -> str:
    fragment = found.string[found.start() - 1] == "#"
    return found[0] if found[1].lower() in _SHOWN and not fragment else f"{found[1]}={_HIDDEN}"


def _value(found: "re.Match[str]") -> str:
    shown = found[2].lower() in _SHOWN and found[1] != "#"
    return found[0] if shown else f"{found[1]}{found[2]}={_HIDDEN}"


def bare(text: str) -> str:
    """`text` without what `masked` hides, and without users, but of databases: URLs that may be stored by others."""
    if "://" not in text:
        return text
    found = _HOLDER.sub(_holder, masked(text))
    kept = _GONE.sub("", found)
    return found if kept == found else re.sub(r"[?&;#]+(?=[\s'\"]|$)", "", kept)


def _holder(found: "re.Match[str]") -> str:
    user = found[2].partition(":")[0]
    return f"{found[1]}://{user}@" if user and _KNOWS_USERS.match(found[1]) else f"{found[1]}://"


def masked_all(value: Any) -> Any:
    """Plain data with all texts in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {masked_all(key): masked_all(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(masked_all(one) for one in value)
    return value


def secret(text: str) -> bool:
    """Whether a URL has something in it that `masked` hides."""
    return masked(text) != text


def name_of(url: str) -> str:
    """What a file at a URL is called: host and path, without user, password, query and fragment."""
    rest = re.split(r"[?#]", url.partition("://")[2])[0]
    authority, slash, path = rest.partition("/")
    return (authority.rpartition("@")[2] + slash + path).strip("/")
