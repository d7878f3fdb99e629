"""What the documents say to type does what they say: every command and every program in README.md
and docs/, typed in their order by someone without network."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
from certificates import FOLDER
from cli_runs import DEMO_PATH, SHARED_MODELS, Home
from gguf_files import with_keys
from pictures import png
from projector_files import audio_projector_bytes, projector_bytes
from shown import DOCUMENTS, README_ZH, blocks, commands, without_remark
from sound_files import wav

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here"),
]

ADDRESS = "http://127.0.0.1:8484"
NOT_TYPED = {
    "scripts/run": "makes an environment",
    "scripts/test": "runs this very test",
    ". .venv/bin/activate": "this environment is active",
    "edgellm serve qwen3:8b": "downloads",
    "edgellm serve gemma3:4b": "downloads",
    "edgellm serve ggml-org/ultravox-v0_5-llama-3_2-1b-GGUF": "downloads",
    "openssl req": "not every machine has it; the reader is given what it makes",
    "pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36": "downloads",
    "cmake -S llama_cpp_python-0.3.36/vendor/llama.cpp -B build": "compiles for minutes",
    "cmake --build build --target llama-server": "compiles for minutes",
    "python scripts/bench/vs_llama_server.py": "measures for minutes",
}
MAY_NOT_FIT = {"edgellm plan qwen3:8b"}  # a small machine says so, with its own exit code
DOES_NOT_FIT = 5


def demo() -> bytes:
    return DEMO_PATH.read_bytes()


def demo_to_sign() -> bytes:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen here")
    return demo()


def shared(name: str) -> Callable[[], bytes]:
    def content() -> bytes:
        if not SHARED_MODELS.is_dir():
            pytest.skip("no folder shared/models beside the repository")
        return (SHARED_MODELS / name).read_bytes()

    return content


def coder() -> bytes:
    """The demo, told that three of its tokens are for filling in the middle."""
    marks = {"fim_pre": 300, "fim_suf": 301, "fim_mid": 302}
    return with_keys(demo(), {f"tokenizer.ggml.{k}_token_id": v for k, v in marks.items()})


LORA = shared("stories260K-lora-random.gguf")
QWEN3_8B = f"hf/hub/models--Qwen--Qwen3-8B-GGUF/snapshots/{'0' * 40}"  # as if it were downloaded
HEARING = {"model.gguf": demo, "mmproj-F16.gguf": audio_projector_bytes, "note.wav": wav}
FILES = {  # that lie in the reader's folder, by document and section
    ("images", ""): {
        "model.gguf": demo, "mmproj-F16.gguf": projector_bytes, "photo.jpg": png,
    },
    ("audio", ""): HEARING,
    ("audio", "Transcriptions"): HEARING,
    ("api", "Embeddings"): {"embedding.gguf": shared("all-minilm-l6-v2-q8_0.gguf")},
    ("api", "Rerank"): {"reranker.gguf": shared("bert-mini-rerank-q8_0.gguf")},
    ("api", "LoRA adapters"): {
        "model.gguf": shared("stories260K-f16.gguf"), "style.gguf": LORA, "facts.gguf": LORA,
        "adapters/more.gguf": LORA,
    },
    ("api", "Infill"): {"coder.gguf": coder},
    ("security", "People on the network"): {
        "box.pem": (FOLDER / "server.pem").read_bytes,
        "box.key": (FOLDER / "server.key").read_bytes,
    },
    ("offline", "Models in a bundle"): {f"{QWEN3_8B}/Qwen3-8B-Q4_K_M.gguf": demo},
    ("offline", "Signed bundles"): {f"{QWEN3_8B}/Qwen3-8B-Q4_K_M.gguf": demo_to_sign},
}  # fmt: skip


def is_typed(step: str) -> bool:
    return not any(without_remark(step).startswith(name) for name in NOT_TYPED)


def sections() -> dict[tuple[str, str], list[str]]:
    """What is typed in each; a program is one step. Where a section starts no server, it means the
    one that the document had running."""
    found: dict[tuple[str, str], list[str]] = {}
    for document in DOCUMENTS:
        if document == README_ZH:  # tests/test_docs.py: it has README.md's blocks, which are typed
            continue
        server: list[str] = []
        for section, language, text in blocks(document):
            if language not in ("bash", "python"):
                continue
            steps = [text] if language == "python" else [*commands(text)]
            steps = [step for step in steps if language == "python" or is_typed(step)]
            if steps:
                before = [] if starts_a_server(steps[0]) else server
                found.setdefault((document.stem, section), [*before]).extend(steps)
            server = [step for step in steps if starts_a_server(step)][-1:] or server
    return found


def starts_a_server(step: str) -> bool:
    return step.startswith("edgellm serve ")


class Reader:
    """Types what a document shows, in a folder of their own."""

    def __init__(self, home: Home, running: contextlib.ExitStack) -> None:
        self._home, self._running, self._url = home, running, ADDRESS
        (home.folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
        program = home.folder / "bin" / "edgellm"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m edgellm "$@"\n')
        program.chmod(0o755)
        self._env = home.env | {
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "CURL_HOME": str(home.folder),
        }

    def type(self, step: str) -> None:
        if starts_a_server(step):
            self._running.close()
            words = shlex.split(step, comments=True)[1:]
            self._url = self._running.enter_context(self._home.serving(*words, "--port", "0")).url
            return
        here = step.replace(ADDRESS, self._url)
        is_program = "import " in step and not step.startswith("edgellm ")
        done = subprocess.run(
            (sys.executable, "-c", here) if is_program else ("bash", "-c", here),
            capture_output=True, text=True, timeout=300, env=self._env, cwd=self._home.folder,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        fits = done.returncode != DOES_NOT_FIT or without_remark(step) not in MAY_NOT_FIT
        assert done.returncode == (0 if fits else DOES_NOT_FIT), (
            f"{step}\n{done.stdout}{done.stderr}"
        )
        assert (done.stdout if fits else done.stderr).strip(), f"{step}\nsays nothing"


@pytest.mark.parametrize("place", sections(), ids=lambda place: "-".join(filter(None, place)))
def test_what_a_section_says_to_type_works(place, home):
    for name, content in FILES.get(place, {}).items():
        path = home.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content())
    with contextlib.ExitStack() as running:
        reader = Reader(home, running)
        for step in sections()[place]:
            reader.type(step)


def test_nothing_is_excused_that_no_document_shows():
    steps = {
        without_remark(step)
        for document in DOCUMENTS
        for _, language, text in blocks(document)
        if language == "bash"
        for step in commands(text)
    }
    assert {name for name in NOT_TYPED if not any(step.startswith(name) for step in steps)} == set()
    assert steps >= MAY_NOT_FIT
    assert set(FILES) <= set(sections())


def test_the_readme_is_typed_whole():
    """A document whose blocks nobody finds would pass everything."""
    typed = sections()["README", "First steps"]
    assert [step for step in typed if step.startswith("curl ")]
    assert len([step for step in typed if step.startswith("edgellm ")]) >= 4
    assert len([step for step in typed if step.startswith("import ")]) == 2
