"""The border to the model hub.

huggingface-hub answers what it is good at: which files, which commit, which token. The bytes come
by our own ranged HTTP, because its download neither resumes after a kill nor checks a digest.
Both libraries are imported at the first use: they cost more time than the whole command line.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, Self, TypeAlias, TypeVar

import msgspec

from edgellm.errors import (
    ConfigError,
    EdgellmError,
    ModelNotFound,
    NetworkError,
    Offline,
    TransientError,
)
from edgellm.models.hubs import (
    DEFAULT_HUB,
    SITES,
    HubName,
    Site,
    address_of,
    endpoint_of,
    server_of,
)
from edgellm.models.names import MAIN, is_safe_path
from edgellm.models.repo_files import Listing, RepoFile, group_files
from edgellm.values import frozen

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

    from edgellm.models.fetching.http_range import RangeClient
    from edgellm.models.fetching.policy import DownloadPolicy

T = TypeVar("T")

_TRUE: Final = frozenset({"1", "on", "true", "yes"})
LISTING_TIMEOUT_S: Final = 15.0
_MAX_QUOTED: Final = 200  # letters of what a hub says to an error
_IS_IT_ON: Final = "is it on? --offline works with what is on this disk"


@frozen
class Repository:
    """One commit of a repository. The files' addresses are pinned to it."""

    repo: str
    revision: str  # as asked for: "main"
    commit: str
    license: str | None
    files: tuple[RepoFile, ...]
    hub: HubName = DEFAULT_HUB  # whose commit it is

    @property
    def listing(self) -> Listing:
        return group_files(self.files)


_Bytes: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class _Lfs(msgspec.Struct):
    sha256: str
    size: _Bytes | None = None


class _File(msgspec.Struct):
    rfilename: str
    size: _Bytes | None = None
    blob_id: str | None = None
    lfs: _Lfs | None = None

    @property
    def size_bytes(self) -> int:
        """Raises NetworkError for a model that has none."""
        size = self.lfs.size if self.size is None and self.lfs else self.size
        if size is None and self.rfilename.endswith(".gguf"):
            raise NetworkError(f"the hub states no size for {self.rfilename}")
        return size or 0


class _Info(msgspec.Struct):
    """What is taken of huggingface_hub's ModelInfo, which checks no kinds."""

    sha: str | None = None
    siblings: list[_File] | None = None
    card_data: Any = None


# What huggingface_hub raises while it takes apart JSON of another shape, or a login page.
_NOT_A_HUBS: Final = (ValueError, KeyError, TypeError, AttributeError)


class Hub(Protocol):
    def list_files(self, repo: str, revision: str = MAIN) -> Repository: ...

    def read_range(self, url: str, start: int, end: int) -> bytes:
        """Bytes [start, end), fewer where the file ends."""
        ...

    def stream(self, url: str, start: int, end: int | None = None) -> Iterator[bytes]:
        """Bytes [start, end) as they come in. A cut ends it early or raises TransientError."""
        ...


class HttpHub(ABC):
    """What all hubs share: an endpoint, a token, the offline switch, files read by range. Raises
    Offline before any socket is opened."""

    name: HubName
    policy: "DownloadPolicy | None" = None  # of what is asked before a download; None: INTERACTIVE

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        offline: bool | None = None,
        stall_timeout_s: float = 30.0,
    ) -> None:
        named, self._variable = endpoint_of(self.name, os.environ)
        self.endpoint = (endpoint or named).rstrip("/")
        self.offline = offline_by_environment() if offline is None else offline
        self._given_token, self._stall_timeout_s = token, stall_timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the connections; the next question opens new ones."""
        ranges = self.__dict__.pop("_ranges", None)
        if ranges is not None:
            ranges.close()

    def read_range(self, url: str, start: int, end: int) -> bytes:
        self._forbid_offline(url)
        return self._ranges.read(url, start, end)

    def stream(self, url: str, start: int, end: int | None = None) -> Iterator[bytes]:
        self._forbid_offline(url)
        return self._ranges.stream(url, start, end)

    def _with_retries(self, ask: Callable[[], T]) -> T:
        """Tries again where the hub is busy or hangs up, but not where it can't be reached."""
        from edgellm.models.fetching.http_client import Unreachable
        from edgellm.models.fetching.policy import INTERACTIVE

        n_tries = 0
        while True:
            try:
                return ask()
            except Unreachable:
                raise
            except TransientError as failure:
                n_tries += 1
                (self.policy or INTERACTIVE).rest(failure, n_tries)

    def _check_endpoint(self, repo: str) -> None:
        """Raises Offline, and ConfigError where the environment names no valid address."""
        self._forbid_offline(address_of(repo, self.name))
        server_of(self.endpoint, self._variable)

    def _forbid_offline(self, what: str) -> None:
        if self.offline:
            raise Offline(
                f"{what} is not on this disk, and network is forbidden",
                hint="drop --offline (or HF_HUB_OFFLINE), or copy the file here and serve its path",
            )

    def _no_hub(self) -> NetworkError:
        return NetworkError(
            f"{self._host} does not answer as a model hub does",
            hint=f"does this network want a login? Open a web page; or look at {self._variable}",
        )

    @cached_property
    def _ranges(self) -> "RangeClient":
        from edgellm.models.fetching.http_range import RangeClient

        return RangeClient(self.endpoint, self._token, self._stall_timeout_s, self._site)

    @property
    def _site(self) -> Site:
        return SITES[self.name]

    @property
    @abstractmethod
    def _token(self) -> str | None: ...

    @property
    def _host(self) -> str:
        """Without the password that may stand before it."""
        return self.endpoint.partition("://")[2].rpartition("@")[2]


class HuggingFaceHub(HttpHub):
    """huggingface.co, or the mirror in HF_ENDPOINT."""

    name: HubName = "huggingface"

    def list_files(self, repo: str, revision: str = MAIN) -> Repository:
        """One request. Raises Offline, ModelNotFound, NetworkError, ConfigError."""
        self._check_endpoint(repo)
        return self._with_retries(lambda: self._listed(repo, revision))

    def _listed(self, repo: str, revision: str) -> Repository:
        import httpx2
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        from edgellm.models.fetching.http_client import connection_error

        _ = self._ranges  # whose settings huggingface_hub's client has too, and can't tell apart
        _share_certificates()
        api = HfApi(endpoint=self.endpoint, token=self._token or False)
        try:
            info = api.model_info(
                repo, revision=revision, files_metadata=True, timeout=LISTING_TIMEOUT_S
            )
        except HFValidationError as error:
            raise ModelNotFound(f"{repo!r} is not the name of a repository") from error
        except HfHubHTTPError as error:
            found = _listing_error(repo, self._host, error, has_token=bool(self._token))
            raise self._of_mirror(found, _words(error)) from error
        except (httpx2.HTTPError, OSError) as error:
            unheard = connection_error(
                error, httpx2.URL(self.endpoint), self._site, LISTING_TIMEOUT_S
            )
            raise self._of_mirror(unheard) from error
        except _NOT_A_HUBS as error:
            raise self._no_hub() from error
        try:
            told = msgspec.convert(info, _Info, from_attributes=True)
            return self._repository(repo, revision, told)
        except (msgspec.ValidationError, UnicodeError) as error:  # JSON may hold half a character
            raise self._no_hub() from error

    def _of_mirror(self, error: EdgellmError, words: str = "") -> EdgellmError:
        """What its keeper says, or that it may be off, helps more there than what is usual at the
        hub in whose place it is."""
        if self.endpoint != self._site.endpoint:
            usual = _IS_IT_ON if error.hint == self._site.other_ways else error.hint
            told = f"it says: {words[:_MAX_QUOTED]}" if words else usual
            error.hint = f"{self._variable} names this hub; {told}{self._around_proxy()}"
        return error

    def _around_proxy(self) -> str:
        """A company's proxy often doesn't know the company's own hosts."""
        import httpx2

        from edgellm.models.fetching.http_client import proxy_to

        url = httpx2.URL(self.endpoint)
        if proxy := proxy_to(url):
            return f"; the proxy {proxy} is on the way, NO_PROXY={url.host} leads around it"
        return ""

    def _repository(self, repo: str, revision: str, info: "_Info") -> Repository:
        from huggingface_hub import hf_hub_url

        commit = info.sha or revision
        files = tuple(
            RepoFile(
                path=one.rfilename,
                size_bytes=one.size_bytes,
                sha256=one.lfs.sha256 if one.lfs else None,
                git_oid=one.blob_id,
                url=hf_hub_url(repo, one.rfilename, revision=commit, endpoint=self.endpoint),
            )
            for one in info.siblings or ()
            if is_safe_path(one.rfilename)  # the others can't be fetched; some make no address
        )
        card = info.card_data
        named = card.get("license") if hasattr(card, "get") else None
        return Repository(repo, revision, commit, named if isinstance(named, str) else None, files)

    @cached_property
    def _token(self) -> str | None:
        """The given one, HF_TOKEN, or that of `hf auth login`."""
        if self._given_token is not None:
            return self._given_token
        from huggingface_hub import get_token

        token = get_token()
        if token and not token.isascii():
            raise ConfigError(
                "HF_TOKEN, or what hf auth login has kept, holds letters that no token has",
                hint="copy it once more: it is hf_ and letters and digits, without quotes",
            )
        return token


def _share_certificates() -> None:
    """Gives huggingface_hub's client, which heeds SSL_CERT_FILE only, our certificates."""
    import httpx2
    from huggingface_hub import set_client_factory

    from edgellm.models.fetching.http_client import trusted_certificates

    if trusted := trusted_certificates():
        set_client_factory(
            lambda: httpx2.Client(verify=trusted, follow_redirects=True, timeout=None)
        )


def offline_by_environment() -> bool:
    """Whether EDGELLM_OFFLINE, or one of Hugging Face's variables, forbids the network."""
    names = ("EDGELLM_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").lower() in _TRUE for name in names)


def _words(error: "HfHubHTTPError") -> str:
    """The hub's own, of what isn't there or isn't allowed; a wrong token is told better here."""
    if error.response.status_code == 401:
        return ""
    return (error.server_message or "").partition("\n")[0]  # of its header, or of its JSON


def _listing_error(
    repo: str, host: str, error: "HfHubHTTPError", *, has_token: bool
) -> NetworkError | ModelNotFound:
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    from edgellm.models.fetching.http_range import status_error

    response = error.response
    match error:
        case GatedRepoError():
            return NetworkError(
                f"{repo} wants its licence accepted",
                hint=f"accept it on https://{host}/{repo}, then set HF_TOKEN",
            )
        case RepositoryNotFoundError():
            return ModelNotFound(
                f"{host} has no {repo}, or not for everyone",
                hint="check the name; a private repository needs HF_TOKEN",
            )
        case RevisionNotFoundError():
            return ModelNotFound(f"{repo} has no such revision")
    if response.status_code == 401 and not has_token:
        return NetworkError(f"{host} wants a token", hint="set HF_TOKEN to one that it knows")
    if response.status_code == 401:  # of a repository it would be one of the kinds above
        return NetworkError(
            f"{host} does not know the token that it was shown",
            hint="HF_TOKEN, or what hf auth login has kept, is old or wrong: replace or unset it",
        )
    return status_error(host, response.status_code, response.headers.get("Retry-After"))
