"""Settings that every site has."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from biddable.label import site
from biddable.serve import api
from biddable.web.settings import SiteSettings


@pytest.mark.parametrize("config", [site.Config, api.Config])
def test_the_sites_differ_in_their_port_alone(config: type[SiteSettings]) -> None:
    shared = {"title", "host", "port", "address", "proxies", "store"}
    assert shared <= set(config.model_fields) and issubclass(config, SiteSettings)
    assert config().port == {site.Config: 8100, api.Config: 8200}[config]  # type: ignore[index]
    assert config().host == "127.0.0.1"


@pytest.mark.parametrize("address", ["label.example.org", "ftp://label.example.org", "https://", "//x", ""])
def test_an_address_is_an_http_url(address: str) -> None:
    with pytest.raises(ValidationError, match=r"must be an address such as https://label\.example\.org"):
        SiteSettings(address=address)


def test_an_address_says_which_host_is_asked_for() -> None:
    assert SiteSettings(address="https://label.example.org/").address == "https://label.example.org"
    assert SiteSettings(address="https://Label.example.org:8443").hosts == {"label.example.org"}
    assert SiteSettings().hosts is None


def test_proxies_are_believed_only_where_there_is_one() -> None:
    """Without an address of its own anybody could claim any client's address."""
    assert SiteSettings().uvicorn_settings()["proxy_headers"] is False
    settings = SiteSettings(address="http://x.org", proxies="10.1.2.3", port=1234).uvicorn_settings()
    assert (settings["proxy_headers"], settings["forwarded_allow_ips"]) == (True, "10.1.2.3")
    assert (settings["host"], settings["port"], settings["server_header"]) == ("127.0.0.1", 1234, False)


def test_the_store_is_in_the_runs_folder_unless_it_is_named() -> None:
    assert SiteSettings().store_address(Path("runs/one")) == str(Path("runs/one/store.db"))
    assert SiteSettings(store="postgresql://x/y").store_address(Path("runs/one")) == "postgresql://x/y"
