import httpx2

from edgellm.tui.told.auth import bearer


def test_a_key_goes_with_the_requests_for_which_there_is_one():
    """One's own server may end, and somebody else's take its port."""
    keys = iter(["secret", None, "secret"])
    told = []

    def answer(request):
        told.append(request.headers.get("authorization"))
        return httpx2.Response(200)

    transport = httpx2.MockTransport(answer)
    with httpx2.Client(auth=bearer(lambda: next(keys)), transport=transport) as client:
        for _ in range(3):
            client.get("http://127.0.0.1:8484/health")

    assert told == ["Bearer secret", None, "Bearer secret"]
