"""The hubs that models come from: what people call them, and by which variables they set them.

    hf.co/ORG/REPO, huggingface.co/…, hf://…           Hugging Face, or a mirror of it
    modelscope.cn/ORG/REPO, ms://…, modelscope://…     ModelScope, as RamaLama and Ollama write it

The variables are those of each hub's own tools: huggingface_hub, modelscope (hub/utils/utils.py,
get_domain) and modelscope_hub (config.py, HubConfig). MODEL_ENDPOINT is llama.cpp's (common.cpp,
common_get_model_endpoint), which means either hub by it.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

from edgellm.errors import BadRequest, ConfigError
from edgellm.values import frozen

HubName: TypeAlias = Literal["huggingface", "modelscope"]

_LLAMA_CPPS: Final = "MODEL_ENDPOINT"
_MODELSCOPES_HOST: Final = re.compile(r"(?:.+\.)?modelscope\.(?:cn|ai)")
_OTHER_SITE: Final = re.compile(r"(?:https?://)?(?:www\.)?modelscope\.ai/", re.IGNORECASE)


@frozen
class Site:
    title: str
    prefix: str  # before ORG/REPO
    endpoint: str  # where no variable names another
    variables: tuple[str, ...]  # that do, the first that is set
    token_variable: str
    another: str  # where this one can't be reached
    written: re.Pattern[str]  # how an address of it begins

    @property
    def other_ways(self) -> str:
        return f"check the network; {self.another}; --offline works with what is on this disk"


SITES: Final[Mapping[HubName, Site]] = {
    "huggingface": Site(
        "Hugging Face",
        "hf.co",
        "https://huggingface.co",
        ("HF_ENDPOINT",),
        "HF_TOKEN",
        "where Hugging Face is blocked, HF_ENDPOINT names a mirror or EDGELLM_HUB=modelscope "
        "another hub",
        re.compile(r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/|hf://", re.IGNORECASE),
    ),
    "modelscope": Site(
        "ModelScope",
        "modelscope.cn",
        "https://www.modelscope.cn",
        ("MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN"),
        "MODELSCOPE_API_TOKEN",
        "MODELSCOPE_ENDPOINT names a mirror, EDGELLM_HUB=huggingface the other hub",
        re.compile(
            r"(?:https?://)?(?:www\.)?modelscope\.cn/(?:(?:api/v1/)?models/)?"
            r"|(?:ms|modelscope)://",
            re.IGNORECASE,
        ),
    ),
}
DEFAULT_HUB: Final[HubName] = "huggingface"


def address_of(repo: str, hub: HubName | None = None) -> str:
    """ "hf.co/ORG/REPO": as people and commands write it."""
    return f"{SITES[hub or DEFAULT_HUB].prefix}/{repo}"


def without_prefix(name: str) -> str:
    """ "hf.co/ORG/REPO:Q8_0" -> "ORG/REPO:Q8_0"."""
    for site in SITES.values():
        name = name.removeprefix(f"{site.prefix}/")
    return name


def is_address(name: str) -> bool:
    """Whether a name begins with a hub's: "hf.co/ORG/REPO"."""
    return without_prefix(name) != name


def split_address(text: str) -> tuple[HubName, str] | None:
    """The hub, and what stands behind its name: ORG/REPO, and what follows, as Hugging Face has it.
    None: no hub's name is before it. Raises BadRequest for a site that has to be set."""
    if _OTHER_SITE.match(text):
        raise BadRequest(
            f"{text!r} is on ModelScope's international site",
            hint="set MODELSCOPE_ENDPOINT=https://www.modelscope.ai, then write it like "
            "modelscope.cn/ORG/REPO",
        )
    for hub, site in SITES.items():
        if found := site.written.match(text):
            rest = text[found.end() :]
            return hub, _as_hugging_face(rest) if hub == "modelscope" else rest
    return None


def _as_hugging_face(rest: str) -> str:
    """ModelScope's pages (ORG/REPO/files, …/file/view/REV/FILE, …/file/view/REV?fileName=FILE) and
    what its own tools ask for (…/repo?Revision=REV&FilePath=FILE: modelscope,
    hub/file_download.py). Its "master" is the other's "main"."""
    path, _, query = rest.partition("#")[0].partition("?")
    parts, asked = path.strip("/").split("/"), parse_qs(query)
    repo, tail = parts[:2], parts[2:]
    match tail:
        case ["files" | "summary"]:
            return "/".join(repo)
        case ["repo"] if "FilePath" in asked:
            revision, file = asked.get("Revision", ["master"])[0], asked["FilePath"]
        case ["file", "view", revision] if "fileName" in asked:
            file = asked["fileName"]
        case ["file", "view", revision, *file] | ["resolve" | "tree", revision, *file]:
            pass
        case _:
            return "/".join(parts)
    return "/".join([*repo, "resolve", "main" if revision == "master" else revision, *file])


def endpoint_of(hub: HubName, environ: Mapping[str, str]) -> tuple[str, str]:
    """Where the hub is asked, and the variable that says so, or would."""
    site = SITES[hub]
    for variable in site.variables:
        if url := environ.get(variable, "").strip():
            return (_with_scheme(url) if hub == "modelscope" else url).rstrip("/"), variable
    url = environ.get(_LLAMA_CPPS, "").strip()
    if url and _is_modelscopes(url) == (hub == "modelscope"):
        return url.rstrip("/"), _LLAMA_CPPS
    return site.endpoint, site.variables[0]


def hub_by_environment(environ: Mapping[str, str]) -> HubName | None:
    """That llama.cpp was told to ask; None: nobody has told it."""
    return "modelscope" if _is_modelscopes(environ.get(_LLAMA_CPPS, "")) else None


def server_of(endpoint: str, variable: str) -> tuple[str, int]:
    """Host and port. Raises ConfigError for what is no address."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        if parts.hostname and port:
            return parts.hostname, port
    except ValueError:  # a port that is no number, a bracket without its other
        pass
    meant = (site for site in SITES.values() if variable in site.variables)
    like = next(meant, SITES[DEFAULT_HUB]).endpoint
    raise ConfigError(
        f"{variable} {endpoint!r} is no address that begins with http", hint=f"write it like {like}"
    )


def _with_scheme(url: str) -> str:
    """MODELSCOPE_DOMAIN is a bare host."""
    return url if "://" in url else f"https://{url}"


def _is_modelscopes(url: str) -> bool:
    try:
        return bool(_MODELSCOPES_HOST.fullmatch(urlsplit(_with_scheme(url)).hostname or ""))
    except ValueError:
        return False
