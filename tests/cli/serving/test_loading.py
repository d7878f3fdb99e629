import io
import threading

from server.server_fakes import served

from edgellm.cli.serving.loading import LoadingLine, loading_text


class Screen(io.StringIO):
    def __init__(self, is_terminal=True):
        super().__init__()
        self.is_drawn = threading.Event()
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal

    def write(self, text):
        if "loading" in text:
            self.is_drawn.set()
        return super().write(text)


def loading(name, ratio, state="loading"):
    model = served(name=name)
    model.engine.state, model.engine.progress_ratio = state, ratio
    return model


def test_a_model_is_loaded_as_far_as_its_weights_are_read():
    assert loading_text([loading("m", 0.31)]) == "loading m ███████·················  31%"
    assert loading_text([loading("m", 0.99)]).endswith("█·  99%")


def test_when_all_weights_are_read_the_context_is_made():
    assert loading_text([loading("m", 1.0)]) == "loading m: making the context …"


def test_before_the_first_weights_there_is_no_bar():
    assert loading_text([]) == "loading …"
    assert loading_text([loading("m", None, "starting")]) == "loading m …"
    assert loading_text([loading("m", 0.0)]) == "loading m …"


def test_of_several_models_it_is_the_one_whose_turn_it_is():
    assert "loading b " in loading_text([loading("a", None, "ready"), loading("b", 0.5)])


def test_what_is_said_meanwhile_stands_above_the_line_and_in_the_end_it_is_gone(
    monkeypatch, capsys
):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    line = LoadingLine(screen)
    line.follow([loading("m", 0.5)])
    assert screen.is_drawn.wait(timeout=60)
    screen.is_drawn.clear()

    line.say("trying a smaller plan")
    assert screen.getvalue().endswith("\r\x1b[K")
    assert capsys.readouterr().err == "trying a smaller plan\n"
    assert screen.is_drawn.wait(timeout=60)

    line.end()
    line.say("ready")
    assert screen.getvalue().endswith("\r\x1b[K")
    assert capsys.readouterr().err == "ready\n"


def test_a_server_that_goes_on_after_the_end_draws_nothing(monkeypatch, capsys):
    """Ctrl-C may come before it has begun to load."""
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    line = LoadingLine(screen)
    line.end()
    line.follow([loading("m", 0.5)])
    line.say("stopping")

    assert not screen.is_drawn.wait(timeout=1.0)
    assert capsys.readouterr().err == "stopping\n"


def test_in_a_pipe_nothing_is_drawn():
    screen = Screen(is_terminal=False)
    line = LoadingLine(screen)
    line.follow([loading("m", 0.5)])
    assert not screen.is_drawn.wait(timeout=1.0)
    line.end()
    assert screen.getvalue() == ""
