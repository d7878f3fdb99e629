import os
import shutil

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One for all tests here: what llama.cpp was asked once need not be asked again."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path, cache):
    """No setting, no server and no terminal of whoever runs the tests. What was measured on one
    test's machine is no other's, though both may have the same device."""
    for name in list(os.environ):
        if name.startswith(("EDGELLM_", "HF_", "MODEL_", "MODELSCOPE_", "XDG_")):
            monkeypatch.delenv(name)
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama.cpp"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    (tmp_path / "run").mkdir()
    yield
    learnt = cache / "edgellm"
    for name in ("calibration.json", "hangs.json"):
        (learnt / name).unlink(missing_ok=True)
    shutil.rmtree(learnt / "tuned", ignore_errors=True)
