"""The Tab key in a real bash, and how long it takes."""

import re
import shutil

import pytest
from cli_runs import EDGELLM, processor_s, typer_s, wait_for

COMMIT = "0" * 40


class Bash:
    """An interactive shell with edgellm's completion, as `--show-completion` writes it."""

    def __init__(self, home, terminal):
        folder = home.folder / "bin"
        folder.mkdir()
        (folder / "edgellm").write_text(f'#!/bin/sh\nexec {" ".join(EDGELLM)} "$@"\n')
        (folder / "edgellm").chmod(0o755)
        path = f"{folder}:{home.env['PATH']}"
        options = ("--norc", "--noprofile", "-i")
        self.terminal = terminal(*options, program=("bash",), PATH=path, TERM="xterm", PS1="$ ")
        self._n_asked = 0
        self.terminal.type('eval "$(_EDGELLM_COMPLETE=source_bash edgellm)"\n')
        self.terminal.type("bind 'set bell-style none' 'set enable-bracketed-paste off'\n")
        self.terminal.type("""bind -x '"\\C-g": echo "[$((++n)):$READLINE_LINE]"'\n""")

    def tab(self, line):
        """What the line is after Tab has been pressed at its end."""
        self._n_asked += 1
        self.terminal.type(f"{line}\t\x07")
        shown = re.compile(rf"\[{self._n_asked}:(.*?)\]")
        found = wait_for(lambda: shown.search(self.terminal.text))
        self.terminal.type("\x15")  # the line is thrown away
        return found[1]


@pytest.fixture
def bash(home, terminal):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    snapshot = home.folder / "hf" / "hub" / "models--org--repo" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "m-Q8_0.gguf").write_bytes(b"GGUF")
    return Bash(home, terminal)


def test_bash_completes_commands_models_boards_and_words(bash):
    assert bash.tab("edgellm reco") == "edgellm reco"  # recommend, record
    assert bash.tab("edgellm recom") == "edgellm recommend "
    assert bash.tab("edgellm run qwen3:30") == "edgellm run qwen3:30b-a3b"
    assert bash.tab("edgellm run dem") == "edgellm run demo "
    assert bash.tab("edgellm serve org/re") == "edgellm serve org/repo:Q8_0 "
    assert bash.tab("edgellm rm hf.co/org/repo:") == "edgellm rm hf.co/org/repo:Q8_0 "
    assert bash.tab("edgellm plan demo --on rp") == "edgellm plan demo --on rpi5 "
    assert bash.tab("edgellm plan demo --use ag") == "edgellm plan demo --use agent "
    assert bash.tab("edgellm plan demo --use=ag") == "edgellm plan demo --use=agent "
    assert bash.tab("edgellm serve demo -ctk iq") == "edgellm serve demo -ctk iq4_nl "
    assert bash.tab("edgellm recommend --goal en") == "edgellm recommend --goal energy "


def test_a_path_is_completed_by_the_shell(bash, home):
    (home.folder / "mine.gguf").write_bytes(b"GGUF")

    assert bash.tab("edgellm run ./mi") == "edgellm run ./mine.gguf "


@pytest.mark.slow
@pytest.mark.parametrize("line", ["edgellm run ", "edgellm run qwen3:", "edgellm plan demo --on "])
def test_an_answer_takes_less_than_three_times_what_its_framework_alone_takes(home, line):
    def ask():
        n = str(line.count(" "))
        done = home.run(_EDGELLM_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=n)
        assert done.out.split()

    assert processor_s(ask) < 3 * typer_s()
