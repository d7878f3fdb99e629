"""ModelScope as a hub, over the addresses that its own tools ask.

    /api/v1/models/ORG/REPO/repo/files?Revision=REV&Recursive=True   the files, sizes, digests
    /api/v1/models/ORG/REPO/commits?Ref=REV&PageSize=1               the commit, if these don't tell
    /api/v1/models/ORG/REPO                                          the licence
    /api/v1/models/ORG/REPO/repo?Revision=COMMIT&FilePath=FILE       a file, or the way to it

From modelscope (hub/file_download.py: get_file_download_url) and modelscope_hub (_legacy_api.py:
_list_files_page, _headers). `commits` is in no document (GPUStack's operator, modelartifact:
resolveRevision) and tells of the default branch where it doesn't understand, so its answer counts
only where the files' agrees. A file comes with status 200 or by a redirect to a content network,
which takes no token; both read by range. "Recursive" in other letters is passed over in silence.

The default branch is `master` there; a reference's `main` means that. The commit, 40 digits of git
as on Hugging Face, names the snapshot; the files' sha256 name the blobs, so the same file from
both hubs is here once.
"""

import os
from functools import cached_property
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

from edgellm.errors import ConfigError, EdgellmError, NetworkError
from edgellm.models.fetching import modelscope_api as api
from edgellm.models.fetching.cache_layout import is_commit
from edgellm.models.fetching.http_range import status_error
from edgellm.models.fetching.hub import LISTING_TIMEOUT_S, HttpHub, Repository
from edgellm.models.hubs import HubName
from edgellm.models.names import MAIN, is_safe_path

_MAX_ANSWER_BYTES: Final = 16 << 20  # 3,000 files take less than 2 MiB

T = TypeVar("T")


class ModelScopeHub(HttpHub):
    """www.modelscope.cn, or what MODELSCOPE_ENDPOINT names."""

    name: HubName = "modelscope"

    def list_files(self, repo: str, revision: str = MAIN) -> Repository:
        """Two requests. Raises Offline, ModelNotFound, NetworkError, ConfigError."""
        self._check_endpoint(repo)
        wanted = "master" if revision == MAIN else revision
        asked = {"Revision": wanted, "Recursive": "True"}
        tree = self._with_retries(
            lambda: self._asked(repo, wanted, api.Tree, "/repo/files", **asked)
        )
        if tree.files is None:
            raise api.no_revision(repo, wanted)
        if len(tree.files) >= api.MAX_FILES:
            raise NetworkError(
                f"{repo} has more files than {self._host} lists: {api.MAX_FILES}",
                hint="download the model by other means and serve its path",
            )
        commit = self._commit(repo, wanted, tree)
        files = tuple(
            api.repo_file(file, self._address(repo, commit, file.path))
            for file in tree.files
            if file.type != "tree" and is_safe_path(file.path)
        )
        return Repository(repo, revision, commit, self._license(repo), files, self.name)

    def _commit(self, repo: str, revision: str, tree: api.Tree) -> str:
        if is_commit(revision):
            return revision
        if tree.commit:
            return tree.commit
        found = self._asked(repo, revision, api.Commits, "/commits", Ref=revision, PageSize="1")
        commit = found.commit[0].id if found.commit else ""
        if not api.is_full(commit, tree.short_commit):
            raise NetworkError(f"{self._host} does not tell which commit {revision} of {repo} is")
        return commit

    def _license(self, repo: str) -> str | None:
        """Nobody fails to get a model because of it."""
        try:
            return self._asked(repo, "", api.About, "").license or None
        except EdgellmError:
            return None

    def _asked(self, repo: str, revision: str, kind: type[T], path: str, **query: str) -> T:
        asked = f"?{urlencode(query)}" if query else ""
        url = f"{self.endpoint}/api/v1/models/{quote(repo)}{path}{asked}"
        answer = self._ranges.ask(url, LISTING_TIMEOUT_S, _MAX_ANSWER_BYTES)
        envelope = api.envelope_in(answer.body)
        if envelope and (answer.status != 200 or envelope.is_refusal):
            if told := api.refusal(envelope, self._host, repo, revision):
                raise told
            status = answer.status if answer.status != 200 else envelope.code
            if status == 404:
                raise api.no_repository(self._host, repo)
            raise status_error(self._host, status, answer.retry_after, self._site)
        if answer.status not in (200, 404):
            raise status_error(self._host, answer.status, answer.retry_after, self._site)
        found = api.data_in(envelope, kind) if envelope else None
        if found is None:
            raise self._no_hub()
        return found

    def _address(self, repo: str, commit: str, path: str) -> str:
        asked = urlencode({"Revision": commit, "FilePath": path})
        return f"{self.endpoint}/api/v1/models/{quote(repo)}/repo?{asked}"

    @cached_property
    def _token(self) -> str | None:
        """The given one, or MODELSCOPE_API_TOKEN."""
        token = self._given_token
        if token is None:
            token = os.environ.get(self._site.token_variable, "").strip()
        if not token.isascii():
            raise ConfigError(
                f"{self._site.token_variable} holds letters that no token has",
                hint="copy it once more, without quotes: modelscope.cn/my/myaccesstoken has it",
            )
        return token or None
