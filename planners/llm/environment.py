"""Environment variables for an endpoint: keys, proxies, certificates. No secret is shown."""

import os
import ssl
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from lerl.envs.text import plain

QUOTES = "\u2018\u2019\u201c\u201d\u00ab\u00bb\u201e\u201a"
SCHEMES = ("http", "https", "socks5", "socks5h")


def key_name(provider: str) -> str:
    """The environment variable that a provider's key is read from."""
    return f"{provider.upper()}_API_KEY"


def obstacle(provider: str) -> str:
    """What in the environment no request can be sent with, and what to do; empty where nothing is."""
    names = [key_name(provider)]
    if provider == "openai":
        names += ["OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID"]
        if os.environ.get("OPENAI_PROXY"):
            return "OPENAI_PROXY is set, which lerl does not use; unset it, and set HTTPS_PROXY (or HTTP_PROXY) instead"
    wrong = (*map(_unsendable, names), _lost_certificates(), *map(_unusable_proxy, ("http", "https", "all")))
    return next(filter(None, wrong), "")


def _unsendable(name: str) -> str:
    """Why no HTTP header can carry a key."""
    key = os.environ.get(name, "")
    key = key.strip() if name == "OPENAI_API_KEY" else key  # others are read by clients, as they are
    odd = next((character for character in key if not "!" <= character <= "~"), "")
    if not odd:
        return ""
    if odd in QUOTES:
        what = "a typographic quotation mark, as a word processor makes them"
    elif odd in "\r\n":
        what = "a line break"
    elif odd.isspace():
        what = "a blank"
    else:
        what = "a character beyond ASCII" if odd > "~" else "a control character"
    return f"{name} holds {what}, which no HTTP header can carry; set it anew, with nothing but the key"


def _lost_certificates() -> str:
    """Which certificates cannot be read; HTTP clients would end with an error that names no file."""
    for name, there in (("SSL_CERT_FILE", Path.is_file), ("SSL_CERT_DIR", Path.is_dir)):
        given = os.environ.get(name)
        if given and not there(Path(given)):
            kind = "file" if name == "SSL_CERT_FILE" else "folder"
            return f"{name} is {plain(given, 200)}, and there is no such {kind}; unset it, or name one that is there"
    given = os.environ.get("SSL_CERT_FILE", "")
    if given and not _readable(given):
        return f"SSL_CERT_FILE is {plain(given, 200)}, which holds no certificates that can be read; unset it"
    return ""


@cache
def _readable(path: str) -> bool:
    """Whether a file holds certificates; looked at once, as it takes a while."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError:  # that of SSL is one, too
        return False
    return True


def _unusable_proxy(scheme: str) -> str:
    """What is wrong with a proxy of the environment."""
    given = getproxies().get(scheme, "")
    name = _variable(scheme)
    if not given:
        return ""
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not given.isascii() or not given.isprintable():
        return f"{name} is no address of a proxy; its form is http://HOST:PORT; mend or unset it"
    if parts.scheme not in SCHEMES:
        return f"{name} names no proxy of a known kind ({', '.join(SCHEMES)}); mend or unset it"
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        return f"{name} names a SOCKS proxy, which needs the package socksio: pip install socksio, or unset {name}"
    return ""


def _variable(scheme: str) -> str:
    """The variable that a proxy comes from; the one in small letters goes before."""
    lower = f"{scheme}_proxy"
    return lower if lower in os.environ else lower.upper()


def proxy_in_the_way(address: str) -> str:
    """The proxy through which requests to an address go, the variable that names it, without user and password, and
    how to go past it; empty where they go straight."""
    parts = urlsplit(address)
    given = getproxies()
    scheme = next((scheme for scheme in (parts.scheme, "all") if given.get(scheme)), "")
    if not scheme or not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    proxy = given[scheme]
    place = urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]
    return f"the proxy {place} of {_variable(scheme)}; NO_PROXY={parts.hostname} goes past it"


def certificates_hint(said: str) -> str:
    """What to do about a certificate that was not believed; empty where it is about something else."""
    if "CERTIFICATE_VERIFY_FAILED" not in said and "certificate verify failed" not in said:
        return ""
    other = next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), "")
    aside = f"; {other} is not read" if other else ""
    return f"; SSL_CERT_FILE must name its signer's certificate{aside}"
