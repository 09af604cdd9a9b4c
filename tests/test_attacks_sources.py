"""Where a team may send this server for a repository."""

import base64
import http.server
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from swarms import projects
from swarms.models import Project
from swarms.workspace import repos, sources
from swarms.workspace.git import GitError, configured, git
from tenants.models import Team
from tenants.reachable import is_public
from tests.conftest import user_of

PRIVATE = [
    *("http://127.0.0.1/x.git", "http://127.1/x.git", "http://2130706433/x.git", "http://0x7f.1/x.git"),
    *("http://0/x.git", "http://0.0.0.0/x.git", "http://localhost/x.git", "http://LOCALHOST:8000/x.git"),
    *("http://169.254.169.254/latest/meta-data/", "http://10.1.2.3/x.git", "http://192.168.0.1/", "http://100.64.0.1/"),
    *("http://[::1]/x.git", "http://[::ffff:127.0.0.1]/x.git", "http://[::ffff:7f00:1]/x.git", "http://[fe80::1]/x"),
    *("http://[fd00::1]/x.git", "http://[64:ff9b::7f00:1]/x.git", "http://[2002:7f00:1::]/x", "http://224.0.0.1/x"),
    *("https://public.example@127.0.0.1/x.git", "https://8.8.8.8:443@127.0.0.1/x.git"),
]
NO_ADDRESS = [
    *("ext::sh -c touch% /tmp/x", "ext::sh -c x://", "file:///etc", "FILE:///etc", "http::http://127.0.0.1/", "-u x"),
    *("--upload-pack=touch /tmp/x", "http:///x", "http://", "http://a b/x", "https://127.0.0.1\\@8.8.8.8/x"),
    *("https://8.8.8.8#@127.0.0.1/x", "https://8.8.8.8?@127.0.0.1/x", "http://8.8.8.8:99999/x", "http://[::1/x"),
    *("http://8.8.8.8/x\nhost: y", "ftp://8.8.8.8/x", "gopher://8.8.8.8/x", "javascript://8.8.8.8/%0aalert(1)"),
    *("/etc", "/var/../etc", "~root", "git@127.0.0.1:x.git", "ssh://git@8.8.8.8/x.git", "git://8.8.8.8/x.git"),
    *("ssh://-oProxyCommand=touch/x", "http://127.0.0.1%2f@8.8.8.8/x y", "http://０.0.0.0/x"),
]


@pytest.mark.parametrize("source", [*PRIVATE, *NO_ADDRESS])
def test_a_server_for_many_teams_goes_to_public_addresses_only(source: str, settings: Any) -> None:
    settings.LOCAL_SOURCES, settings.SOURCE_HOSTS = False, frozenset()
    with pytest.raises(ValidationError):
        sources.check(source)
    if "://" in source:
        with pytest.raises(GitError):
            sources.reach(source)


def test_private_addresses_are_named_with_the_remedy(settings: Any) -> None:
    settings.LOCAL_SOURCES, settings.SOURCE_HOSTS = False, frozenset({"git.corp.example"})
    with pytest.raises(ValidationError, match=r"127\.0\.0\.1 to WAGGLE_SOURCE_HOSTS"):
        sources.check("https://127.0.0.1/x.git")
    for trusted in ("https://git.corp.example/x.git", "ssh://git@git.corp.example:2222/x.git"):
        sources.check(trusted)
    settings.LOCAL_SOURCES = True
    sources.check("http://127.0.0.1:3000/x.git")


def test_git_is_held_to_the_addresses_that_were_looked_at(settings: Any) -> None:
    settings.LOCAL_SOURCES, settings.SOURCE_HOSTS = False, frozenset()
    way = sources.reach("https://8.8.8.8/x.git")
    assert way.config["http.curloptResolve"] == "8.8.8.8:443:8.8.8.8"
    assert way.config["http.followRedirects"] == "false"
    assert way.protocols == "https:http"


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


class Site(http.server.ThreadingHTTPServer):
    """A web server that notes what it is asked and answers everything in one way."""

    def __init__(self, location: str = "") -> None:
        self.asked: list[tuple[str, str]] = []
        self.location = location
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        self.send_response(302 if self.server.location else 404)
        if self.server.location:
            self.send_header("Location", self.server.location + self.path)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(location: str = "") -> Site:
        made.append(Site(location))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()
        one.server_close()


def added(source: str, settings: Any, tmp_path: Any) -> Project:
    settings.DATA_DIR = tmp_path / "data"
    return projects.add_project(name="Far", slug="far", source=source, by=user_of("alice", "acme"))


def test_a_redirect_leads_nowhere(team: Team, broker: Any, site: Any, settings: Any, tmp_path: Any) -> None:
    inside = site()
    outside = site(location=inside.url)
    settings.LOCAL_SOURCES, settings.SOURCE_HOSTS = False, frozenset({"127.0.0.1"})
    project = added(f"{outside.url}/x.git", settings, tmp_path)
    projects.fetch(project.pk)
    project.refresh_from_db()
    assert project.state == "failed"
    assert outside.asked
    assert inside.asked == []


def test_a_second_answer_of_the_name_server_changes_nothing(site: Any, tmp_path: Any) -> None:
    held = site()
    config = {"http.curloptResolve": f"public.example:{held.server_port}:127.0.0.1"}
    with pytest.raises(GitError):
        git(
            None,
            *("ls-remote", f"http://public.example:{held.server_port}/x.git"),
            env=configured(config) | {"GIT_ALLOW_PROTOCOL": "http"},
        )
    assert held.asked, "git did not go where it was told to"


def test_a_password_in_an_address_reaches_its_server_and_nobody_else(
    team: Team, broker: Any, site: Any, settings: Any, tmp_path: Any, client_for: Callable[..., Client]
) -> None:
    far = site()
    settings.LOCAL_SOURCES = True
    secret = "hunter2-of-far"
    source = far.url.replace("http://", f"http://robot:{secret}@") + "/x.git"
    project = added(source, settings, tmp_path)
    assert secret not in sources.reach(source).address
    projects.fetch(project.pk)
    project.refresh_from_db()
    assert far.asked[0][1] == "Basic " + base64.b64encode(f"robot:{secret}".encode()).decode()
    assert project.state == "failed"
    client = client_for(user_of("alice", "acme"), team)
    for path in (
        *("/projects/", "/projects/far/", "/projects/far/state/"),
        *("/admin/swarms/project/", f"/admin/swarms/project/{project.pk}/change/"),
    ):
        page = client.get(path)
        assert page.status_code == 200
        assert secret not in page.content.decode(), path
    assert secret not in project.because
    config = repos.path_of(project.pk) / "config"
    assert secret not in config.read_text()


@pytest.mark.parametrize(
    "branch",
    ["-x", "--upload-pack=x", "a..b", "a b", "x.lock", "a:b", "swarm/x", "attempt", "^main", "@{u}", ""],
)
def test_a_branch_has_a_name_that_git_takes_and_that_is_not_ours(
    branch: str, team: Team, broker: Any, settings: Any, tmp_path: Any
) -> None:
    settings.LOCAL_SOURCES = True
    with pytest.raises(ValidationError):
        projects.add_project(
            name="B", slug="b", source=str(tmp_path), target_branch=branch, by=user_of("alice", "acme")
        )


def test_the_repositories_of_this_server_are_no_sources_and_closed_to_others(
    team: Team, broker: Any, settings: Any, tmp_path: Any
) -> None:
    settings.DATA_DIR, settings.LOCAL_SOURCES = tmp_path / "data", True
    ours = tmp_path / "data" / "repos" / "t_other" / "x.git"
    ours.mkdir(parents=True)
    (tmp_path / "link").symlink_to(ours)
    for source in (ours, tmp_path / "link", ours / ".." / "x.git", tmp_path / "data" / "repos"):
        with pytest.raises(ValidationError, match="belongs to this server"):
            sources.check(str(source))
    git(None, "init", "-q", "--bare", "-b", "main", str(tmp_path / "mine.git"))
    project = added(str(tmp_path / "mine.git"), settings, tmp_path)
    projects.fetch(project.pk)
    assert (tmp_path / "data" / "repos").stat().st_mode & 0o777 == 0o700
