"""Answers with a Warning header (RFC 7234), which says what is other than it was asked for."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Warned:
    """`words` may grow until the answer begins."""

    def __init__(self, app: ASGIApp, words: Sequence[str]) -> None:
        self._app, self._words = app, words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_warnings(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(b"warning", _value(words)) for words in self._words]
                message = {**message, "headers": [*message.get("headers", ()), *ours]}
            await send(message)

        await self._app(scope, receive, with_warnings)


def _value(words: str) -> bytes:
    quoted = words.replace("\\", "\\\\").replace('"', '\\"')
    return f'199 edgellm "{quoted}"'.encode("latin-1", "replace")
