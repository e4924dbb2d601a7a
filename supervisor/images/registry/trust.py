"""Whom TLS trusts for a registry, and through which proxy the way leads."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.request import getproxies_environment, proxy_bypass

from yarl import URL

from hawse.supervisor.core.errors import UserError


def context(host: str, directory: Path, *, insecure: bool) -> ssl.SSLContext:
    """The TLS for host[:port]: the system's authorities and those that docker's directory of certificates has for it.

    That is DIRECTORY/HOST[:PORT] with *.crt, authorities, and *.cert and *.key, who we are.  Raises UserError for files
    there that do not fit.
    """
    made = ssl.create_default_context()
    files = sorted((directory / host).glob("*"))
    try:
        for file in files:
            if file.suffix == ".crt":
                made.load_verify_locations(file)
            elif file.suffix == ".cert":
                if (key := file.with_suffix(".key")) not in files:
                    raise UserError(f"missing key {key} for client certificate {file}", hint="authorities end in .crt")
                made.load_cert_chain(file, key)
            elif file.suffix == ".key" and file.with_suffix(".cert") not in files:
                raise UserError(f"missing client certificate {file.with_suffix('.cert')} for key {file}")
    except (OSError, ssl.SSLError) as e:
        raise UserError(f"{file}: cannot be used for {host}: {e}", hint="certificates and keys are PEM") from e
    if insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def proxy(url: URL) -> URL | None:
    """The proxy that the daemon's environment names for it.  The loopback has none, as in Go and so in docker.

    aiohttp's `trust_env` would do the same and read ~/.netrc as well, whose passwords nobody meant for a registry.
    """
    host = url.host or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    proxies = getproxies_environment()
    if proxy_bypass(host, proxies):
        return None
    named = proxies.get(url.scheme) or proxies.get("all")
    return URL(named if "://" in named else f"http://{named}") if named else None
