import pytest

from edgellm.keys import ANYBODY
from edgellm.server.door.access import Access, Head, own_names, refusal

KEYS = Access.of(keys=["s3cret"], host_names=["Box.lan"])


def head(method="GET", path="/v1/models", *, n_headers=3, by_unix_socket=False, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head(method, path, {"host": "127.0.0.1:8484"} | named, n_headers, by_unix_socket)


def status(head, access=None):
    access = access or Access()
    problem = refusal(head, access, access.key_of(head.headers))
    return problem and problem.http_status


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8484", "127.0.0.1", "localhost:8484", "LOCALHOST", "app.localhost", "[::1]:8484",
     "192.168.1.5:8484", "localhost.", "host.docker.internal:8484", "host.containers.internal",
     "edgellm:8484", "GPU_box-1", "box."],
)  # fmt: skip
def test_addresses_localhost_and_for_programs_names_of_no_web_are_hosts(host):
    assert status(head(host=host)) is None


@pytest.mark.parametrize(
    "host",
    ["evil.com", "127.0.0.1.evil.com", "localhost.evil.com", "", ".", ":8484", "evil.com:8484",
     "[evil.com]", "[evil]", "evil@com", "e vil", "x" * 64, "[::1].evil.com",
     "[::1]evil", "[::1]:80.evil.com", "box.lan",
     "127.0.0.1@evil.com", "evil.internal", "host.docker.internal.evil.com"],
)  # fmt: skip
def test_names_are_not_hosts_for_anyone_can_point_them_here(host):
    assert status(head(host=host)) == 403


_CHROME = {"user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0"}


@pytest.mark.parametrize(
    "name", ["host.docker.internal:8484", "host.containers.internal:8484", "edgellm:8484"]
)
def test_what_containers_call_a_host_is_none_for_a_browser(name):
    page = {"host": name, "content_type": "application/json"}
    for method, trace in (
        ("GET", _CHROME), ("GET", {"sec_fetch_site": "same-origin"}),
        ("POST", {"origin": f"http://{name}"}), ("POST", {"referer": f"http://{name}/"}),
    ):  # fmt: skip
        assert status(head(method, **page, **trace)) == 403
    assert status(head("POST", **page, user_agent="python-httpx/0.28")) is None
    allowed = Access.of(host_names=[name.partition(":")[0]])
    assert status(head("POST", **page, origin=f"http://{name}", **_CHROME), allowed) is None


def test_a_page_that_calls_itself_a_program_is_known_by_its_language():
    page = {"host": "evil:8484", "user_agent": "curl/8.5.0", "accept": "*/*"}
    for language in ("en-US,en;q=0.5", "*", ""):
        assert status(head(accept_language=language, **page)) == 403
    assert status(head(**page)) is None
    assert status(head(accept_language="*", sec_fetch_mode="cors", **page)) is None  # Node's
    denos = {"accept_language": "*", "content_type": "application/json"}
    assert status(head("POST", **page, **denos)) is None
    assert status(head("POST", origin="http://evil:8484", **page, **denos)) == 403


def test_a_name_that_the_configuration_allows_is_a_host():
    assert status(head(host="box.LAN:8484", x_api_key="s3cret"), KEYS) is None


def test_of_two_ways_to_write_a_name_neither_is_another():
    dotted = Access.of(host_names=["box.lan."])
    for host in ("box.lan", "BOX.lan.:8484"):
        assert status(head(host=host), dotted) is None


def test_the_machines_own_names_are_what_its_system_and_mdns_call_it():
    assert own_names("0.0.0.0", "RaspberryPi") == {"0.0.0.0", "raspberrypi", "raspberrypi.local"}
    assert own_names("llm.Lan.", "gpu1.corp.example.") == {
        "llm.lan", "gpu1.corp.example", "gpu1", "gpu1.local",
    }  # fmt: skip
    assert own_names("::", "Mac.local") == {"::", "mac", "mac.local"}
    assert own_names("::", "") == {"::"}


def test_a_page_of_the_machine_itself_may_ask_and_its_neighbours_may_not():
    lan = Access.of(host_names=own_names("0.0.0.0", "raspberrypi"))
    for host in ("raspberrypi.local:8484", "RaspberryPi.Local.", "raspberrypi"):
        assert status(head(host=host, **_CHROME), lan) is None
        assert status(head(host=host, origin=f"http://{host}", **_CHROME), lan) is None
        assert status(head(host=host, **_CHROME)) == 403
    for host in ("local", "other.local", "raspberrypi.evil.com", "x.raspberrypi.local"):
        assert status(head(host=host, **_CHROME), lan) == 403


def test_a_unix_socket_has_no_host_to_check():
    assert status(head(host="anything", by_unix_socket=True)) is None


@pytest.mark.parametrize(
    "origin",
    ["http://evil.com", "null", "http://localhost:3000", "http://127.0.0.1:8485", "file://", "",
     "http://127.0.0.1:8484.evil.com"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_another_origin_are_refused(method, origin):
    assert status(head(method, origin=origin, content_type="application/json")) == 403


PAGE = "http://localhost:3000"
FOR_PAGE = Access.of(keys=["s3cret"], origins=[PAGE, "app://Obsidian.md"])


def test_pages_that_the_configuration_allows_are_answered():
    assert status(head(origin=PAGE, x_api_key="s3cret"), FOR_PAGE) is None
    assert status(head(origin="app://obsidian.md", x_api_key="s3cret"), FOR_PAGE) is None
    assert status(head(origin=PAGE), FOR_PAGE) == 401
    assert status(head(origin=PAGE, host="evil.com", x_api_key="s3cret"), FOR_PAGE) == 403
    for other in ("http://localhost:3001", "https://localhost:3000", "null", f"{PAGE}.evil.com"):
        assert status(head(origin=other, x_api_key="s3cret"), FOR_PAGE) == 403


def test_a_star_is_every_page_that_has_the_key():
    every = Access.of(keys=["s3cret"], origins=["*"])
    assert status(head(origin="http://evil.com", x_api_key="s3cret"), every) is None
    assert status(head(origin="http://evil.com"), every) == 401


def test_a_browsers_question_needs_no_key():
    asked = {"origin": PAGE, "access_control_request_method": "POST"}
    assert status(head("OPTIONS", **asked), FOR_PAGE) is None
    assert status(head("OPTIONS", origin=PAGE), FOR_PAGE) == 401
    assert status(head("GET", **asked), FOR_PAGE) == 401
    assert status(head("OPTIONS", **asked | {"origin": "http://evil.com"}), FOR_PAGE) == 403
    assert status(head("OPTIONS", **asked), KEYS) == 403


def test_a_page_of_our_own_is_not():
    assert status(head(origin="http://127.0.0.1:8484")) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic s3cret"},
        {"authorization": "s3cret"},
        {"x_api_key": "wrong"},
        {"x_api_key": ""},
        {"authorization": "Bearer wrong", "x_api_key": "s3cret"},
    ],
)
def test_without_the_key_nothing_is_answered(headers):
    for path in ("/", "/v1/models", "/metrics", "/edgellm/status", "/no/such/route"):
        assert status(head(path=path, **headers), KEYS) == 401


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"x_api_key": ""}])
def test_no_key_is_not_the_empty_key(headers):
    assert status(head(**headers), Access.of(keys=[""])) == 401


@pytest.mark.parametrize(
    "headers", [{"authorization": "Bearer s3cret"}, {"authorization": "bearer s3cret"},
                {"x_api_key": "s3cret"}],
)  # fmt: skip
def test_both_headers_carry_the_key(headers):
    assert status(head(**headers), KEYS) is None


def test_a_key_may_have_any_letters_which_headers_carry_as_utf_8():
    carried = "schlüssel".encode().decode("latin-1")
    assert status(head(x_api_key=carried), Access.of(keys=["schlüssel"])) is None
    assert status(head(x_api_key=carried), Access.of(keys=[carried])) == 401


def test_health_needs_no_key():
    assert status(head(path="/health"), KEYS) is None


def test_keys_are_not_kept():
    assert "s3cret" not in repr(KEYS)


FORM = "application/x-www-form-urlencoded"
CURL = {"user_agent": "curl/8.5.0", "accept": "*/*"}


@pytest.mark.parametrize("kind", ["text/html", "multipart/form-data", "application/jsonx",
                                  "application/reports+json", "text/ping"])  # fmt: skip
def test_a_post_must_be_declared_as_json(kind):
    assert status(head("POST", content_type=kind, **CURL)) == 415


@pytest.mark.parametrize("headers", [{"content_type": FORM}, {"content_type": ""}, {}])
def test_what_a_tool_sends_unasked_is_read_as_json(headers):
    assert status(head("POST", **CURL, **headers)) is None
    assert status(head("POST", content_type=f"{FORM}; charset=utf-8")) is None
    assert status(head("POST", **CURL, **headers), KEYS) == 401


_WINDOWS = "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1682"
_DEBIAN = "Mozilla/5.0 (Linux; Linux 4.19.0 #1 SMP Debian (2019-11-11); ) PowerShell/7.4.0"


@pytest.mark.parametrize(
    "sent",
    [
        {"content_type": "text/plain;charset=UTF-8", "user_agent": "node", "accept_language": "*",
         "sec_fetch_mode": "cors"},
        {"content_type": "text/plain;charset=utf-8", "user_agent": "Bun/1.2.0"},
        {"content_type": FORM, "user_agent": _WINDOWS},
        {"content_type": FORM, "user_agent": _DEBIAN},
    ],
)  # fmt: skip
def test_what_fetch_outside_a_browser_and_powershell_send_is_read_as_json(sent):
    assert status(head("POST", **sent)) is None
    for trace in ({"sec_fetch_site": "cross-site"}, {"origin": "http://127.0.0.1:8484"}):
        assert status(head("POST", **sent, **trace)) == 415


@pytest.mark.parametrize(
    "trace",
    [
        {"origin": "http://127.0.0.1:8484"},  # a page of ours: strangers' are refused before
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_mode": "no-cors"},
        {"sec_ch_ua": '"Chromium";v="140"'},
        {"referer": "http://evil.com/"},
        {"cookie": ""},
        {"ping_from": "http://evil.com/"},
        {"access_control_request_method": "POST"},
        {"user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:60.0) Gecko/20100101 Firefox/60.0"},
        {"user_agent": "Opera/9.80 (Windows NT 6.1) Presto/2.12.388 Version/12.18"},
    ],
)
def test_a_post_that_a_page_could_send_unasked_is_refused(trace):
    for kind in (FORM, "", "text/plain", "multipart/form-data"):
        assert status(head("POST", **CURL | {"content_type": kind} | trace)) == 415
    assert status(head("POST", **CURL | {"content_type": "application/json"} | trace)) is None


@pytest.mark.parametrize("origin", ["http://evil.com", "null", "http://localhost:3000", ""])
def test_a_form_of_another_origin_is_refused_whatever_it_calls_itself(origin):
    assert status(head("POST", content_type=FORM, origin=origin, **CURL)) == 403


def test_pages_that_may_ask_declare_json_like_all_others():
    for access in (FOR_PAGE, Access.of(keys=["s3cret"], origins=["*"])):
        sent = head("POST", content_type=FORM, origin=PAGE, x_api_key="s3cret")
        assert status(sent, access) == 415


def test_a_form_with_a_file_is_taken_where_one_may_go_and_of_no_page_without_its_origin():
    path, kind = "/v1/audio/transcriptions", "multipart/form-data; boundary=x"
    assert status(head("POST", path, content_type=kind, **CURL)) is None
    assert status(head("POST", content_type=kind, **CURL)) == 415
    assert status(head("POST", path, content_type="application/json", **CURL)) == 415
    for trace in ({"referer": "http://evil.com/"}, {"cookie": ""}, {"origin": "http://evil.com"}):
        assert status(head("POST", path, **CURL | {"content_type": kind} | trace)) == 403
    own = {"origin": "http://127.0.0.1:8484"}
    assert status(head("POST", path, **CURL | {"content_type": kind} | own)) is None


def test_what_ends_the_server_is_always_declared():
    assert status(head("POST", "/edgellm/shutdown", content_type=FORM, **CURL)) == 415
    assert status(head("POST", "/edgellm/shutdown", content_type="application/json")) is None


def test_a_body_that_is_packed_is_refused_as_such():
    packed = {"content_type": "application/json", "content_encoding": "gzip"}
    problem = refusal(head("POST", **packed), Access(), ANYBODY)
    assert (problem.http_status, "gzip" in str(problem)) == (415, True)
    assert status(head("POST", **packed | {"content_encoding": "Identity"})) is None


def test_json_may_name_its_charset():
    assert status(head("POST", content_type="Application/JSON; charset=utf-8")) is None


def test_a_body_that_says_it_is_too_large_is_not_even_read():
    access = Access(max_body_bytes=10)
    for length, expected in (("10", None), ("11", 413), ("9" * 30, 413), ("x", None)):
        sent = head("POST", content_type="application/json", content_length=length)
        assert status(sent, access) == expected


def test_headers_are_counted():
    assert status(head(n_headers=101)) == 431
