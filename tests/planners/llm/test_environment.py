"""Keys, proxies and certificates that stand in the way."""

from pathlib import Path

import certifi
import pytest

from lerl.planners.llm.environment import certificates_hint, obstacle, proxy_in_the_way

PROXIES = [name for scheme in ("http", "https", "all", "no") for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper())]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["OPENAI_API_KEY", "OTHER_API_KEY", "OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID"]
    for name in (
        *names,
        *PROXIES,
        "OPENAI_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("\u201csk-abc\u201d", "a typographic quotation mark"),
        ("sk-\u2019abc", "a typographic quotation mark"),
        ("sk-abc\n123", "a line break"),
        ("sk-abc\r123", "a line break"),
        ("sk-abc 123", "a blank"),
        ("sk-abc\u00a0123", "a blank"),
        ("sk-abc\t123", "a blank"),
        ("sk-\u00e4bc", "a character beyond ASCII"),
        ("sk-abc\u200b", "a character beyond ASCII"),
        ("sk-abc\x1b123", "a control character"),
    ],
)
@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_ORG_ID"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_given(
    monkeypatch: pytest.MonkeyPatch, key: str, what: str, name: str
):
    monkeypatch.setenv(name, key)
    said = obstacle("openai")
    assert said.startswith(f"{name} holds {what}")
    assert "no HTTP header can carry; set it anew" in said
    assert not {"sk-", "abc", "123"} & {said[start : start + 3] for start in range(len(said))}


def test_space_around_a_key_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", " sk-abc\n")
    assert obstacle("openai") == ""
    monkeypatch.setenv("OTHER_API_KEY", "abc\n")  # which that provider's own client reads as it is
    assert obstacle("other").startswith("OTHER_API_KEY holds a line break")
    assert obstacle("openai") == ""


def test_certificates_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name, kind in (("SSL_CERT_DIR", "folder"), ("SSL_CERT_FILE", "file")):
        gone = str(tmp_path / "gone")
        monkeypatch.setenv(name, gone)
        assert (
            obstacle("openai") == f"{name} is {gone}, and there is no such {kind}; unset it, or name one that is there"
        )
        monkeypatch.setenv(name, str(tmp_path) if kind == "folder" else certifi.where())
        assert obstacle("openai") == ""
    monkeypatch.setenv("SSL_CERT_FILE", __file__)
    assert obstacle("openai").startswith(f"SSL_CERT_FILE is {__file__}, which holds no certificates that can be read")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("http://me:secret@proxy:notaport", "is no address of a proxy; its form is http://HOST:PORT"),
        ("http://me:secret@", "is no address of a proxy"),
        ("ftp://me:secret@proxy", "names no proxy of a known kind (http, https, socks5, socks5h)"),
        ("socks5://me:secret@proxy:1080", "names a SOCKS proxy, which needs the package socksio"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str, said: str
):
    monkeypatch.setattr("lerl.planners.llm.environment.find_spec", lambda _: None)
    monkeypatch.setenv(name, given)
    named = obstacle("openai")
    assert named.startswith(f"{name} {said}")
    assert "secret" not in named


def test_a_proxy_of_the_clients_own_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_PROXY", "http://me:secret@proxy:1")
    assert obstacle("openai").startswith("OPENAI_PROXY is set, which lerl does not use; unset it, and set HTTPS_PROXY")
    assert "secret" not in obstacle("openai")


def test_the_proxy_that_a_request_goes_through_is_named(monkeypatch: pytest.MonkeyPatch):
    assert proxy_in_the_way("https://there/v1") == ""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:3128")
    assert proxy_in_the_way("https://there/v1") == "the proxy proxy:3128 of HTTPS_PROXY; NO_PROXY=there goes past it"
    assert proxy_in_the_way("http://there/v1") == ""
    monkeypatch.setenv("all_proxy", "proxy:1")
    assert proxy_in_the_way("http://there/v1").startswith("the proxy proxy:1 of all_proxy")
    monkeypatch.setenv("NO_PROXY", "there,127.0.0.1")
    assert proxy_in_the_way("http://there/v1") == proxy_in_the_way("http://127.0.0.1:8000/v1") == ""
    assert proxy_in_the_way("") == ""


def test_a_certificate_that_is_not_believed_has_a_mend(monkeypatch: pytest.MonkeyPatch):
    said = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"
    assert certificates_hint("connection refused") == ""
    assert certificates_hint(said) == "; SSL_CERT_FILE must name its signer's certificate"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/x")
    assert certificates_hint(said).endswith("certificate; REQUESTS_CA_BUNDLE is not read")
