"""Where an endpoint is and how it is let in: only the address that the user names, and no secret in any record."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, urlsplit

from robustnoise.errors import BadParameter


def check_url(url: str) -> str:
    """`url`, if it may stand in records. What is refused isn't repeated: it may be a secret.

    Raises:
        BadParameter: no http or https address, or with a user, a query or a fragment.
    """
    try:
        parts: SplitResult = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadParameter("the address of the HTTP target can't be read: expected http://host/path.") from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f\\]", url):
        raise BadParameter("the address of the HTTP target: expected http://host/path or https://host/path.")
    if "@" in parts.netloc or parts.query or parts.fragment or "?" in url or "#" in url:
        raise BadParameter(
            f"the address of the HTTP target at {host}: expected no user, password, query or fragment, since it is "
            "written into records. Put a credential into an environment variable and name that as auth_env."
        )
    return url


def check_auth(auth_env: str | None, auth_header: str) -> None:
    """Refuse names that can't be those of an environment variable and a header.

    Raises:
        BadParameter: they can't.
    """
    if auth_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", str(auth_env)):
        raise BadParameter("auth_env: expected the name of an environment variable, not the credential itself.")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,99}", str(auth_header)):
        raise BadParameter(f"auth_header = {auth_header!r}: expected the name of a header, such as Authorization.")


def auth_headers(auth_env: str | None, auth_header: str) -> dict[str, str]:
    """The header with the credential, read from the environment now and kept nowhere.

    Raises:
        BadParameter: the variable is empty, or holds what no header may.
    """
    if auth_env is None:
        return {}
    value = os.environ.get(auth_env, "")
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value):
        raise BadParameter(
            f"the environment variable {auth_env}, the credential of the HTTP target, is empty or holds line breaks, "
            "spaces at an end or other than ASCII. Expected the whole value of the header, such as 'Bearer abc'."
        )
    return {auth_header: value}
