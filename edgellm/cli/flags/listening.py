"""Where a server listens and who may ask it: the same flags for `serve` and `up`."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from edgellm.cli.flags import options
from edgellm.values import frozen

if TYPE_CHECKING:
    from edgellm.config import Config


@frozen(kw_only=True)
class Listening:
    HEADINGS: ClassVar = {"host": "Where it listens"}

    host: Annotated[str | None, typer.Option(help="Address to listen on.", metavar="ADDRESS")] = (
        None
    )
    port: Annotated[
        int | None,
        typer.Option(
            help="Port to listen on (8484); 0 takes any free one.", metavar="N", min=0, max=65535
        ),
    ] = None
    unix_socket: Annotated[
        str | None, typer.Option(help="Listen on this unix socket instead.", metavar="PATH")
    ] = None
    ssl_cert_file: Annotated[
        str | None, typer.Option(help="Speak TLS (https://) by this certificate.", metavar="FILE")
    ] = None
    ssl_key_file: Annotated[
        str | None, typer.Option(help="That certificate's key.", metavar="FILE")
    ] = None
    api_key: Annotated[
        list[str] | None,
        typer.Option(help="A key that clients must send; repeatable.", metavar="KEY"),
    ] = None
    alias: Annotated[
        list[str] | None,
        typer.Option(
            help="A further name for the model; repeatable. * stands for any.",
            metavar="NAME",
        ),
    ] = None
    max_queue: Annotated[
        int | None,
        typer.Option(help="Requests that may wait; one more gets a 429.", metavar="N", min=0),
    ] = None
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a non-loopback address without a key.")
    ] = False

    def config(self, **flags: Any) -> "Config":
        """Raises ConfigError."""
        return options.config_from(
            host=self.host,
            port=self.port,
            unix_socket=self.unix_socket,
            ssl_cert_file=self.ssl_cert_file,
            ssl_key_file=self.ssl_key_file,
            api_keys=tuple(self.api_key) if self.api_key else None,
            aliases=tuple(self.alias) if self.alias else None,
            max_queue=self.max_queue,
            **flags,
        )

    def check(self, config: "Config") -> None:
        """What can be known before anything is downloaded. Raises AddressInUse
        (AlreadyServing, where it is a server of this user's), ConfigError."""
        from edgellm.cli.serving.already import check_place

        check_place(config, insecure=self.insecure)
