"""`edgellm launch APP`: a coding agent or a chat program, told where the server is."""

import shutil
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgellm.cli.flags import completing, options
from edgellm.cli.flags.coercion import HANDED_ON
from edgellm.units import DASH

if TYPE_CHECKING:
    from edgellm.cli.launching.apps import App
    from edgellm.cli.launching.wiring import Place
    from edgellm.status import ModelStatus

_HEADINGS = ("NAME", "PROGRAM", "INSTALLED", "SPEAKS", "CONTEXT", "TOOLS")


def launch(
    app: Annotated[
        str | None,
        typer.Argument(
            metavar="APP",
            help="What to start; without it, a table of what is known.",
            autocompletion=completing.apps,
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar=HANDED_ON, help="Handed to the program.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Which model; without it, what is served.",
            metavar="MODEL",
            autocompletion=completing.models,
        ),
    ] = None,
    ctx: Annotated[
        int | None,
        typer.Option(
            "--ctx",
            help="Tokens of one conversation, of a model that is loaded for it.",
            metavar="N",
            min=1,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--print", "--dry-run", help="Print it for a shell, and start nothing."),
    ] = False,
    host: options.Host = None,
    as_json: options.AsJSON = False,
    offline: options.Offline = False,
) -> None:
    """Start a coding agent or a chat program with a local model.

    The program is told where the server is for this one time, by its environment, its flags or a
    file; your own settings for it stay as they are. A server that runs here answers. With --model,
    a model that isn't served is loaded for as long as the program runs. The exit code is the
    program's.

    --print shows what would be started, as lines for a shell, without the API key.

    \b
      edgellm launch
      edgellm launch claude
      edgellm launch aider --model qwen3:8b
      edgellm launch codex -- exec "What does this program do?"
      edgellm launch opencode --print >> opencode.sh
    """
    from edgellm.cli.launching import apps
    from edgellm.errors import BadRequest

    if app is None and model:
        raise BadRequest("which app is to be started?", hint="edgellm launch APP --model MODEL")
    if app is None:
        _show(apps.load(), as_json=as_json)
    elif as_json:
        own = f"the program's own stands behind --: edgellm launch {app} -- --json"
        raise BadRequest("--json is of the table", hint=f"edgellm launch --json; {own}")
    else:
        known = apps.named(app)
        if dry_run and ctx:
            raise BadRequest("--ctx is of a model that is loaded, and --print loads none")
        if dry_run:
            _print(known, arguments or [], model, host)
        else:
            _start(known, arguments or [], model, host, ctx, offline=offline)


def _start(
    app: "App",
    arguments: list[str],
    model: str | None,
    host: str | None,
    ctx: int | None,
    *,
    offline: bool,
) -> None:
    import tempfile

    from edgellm.cli.launching import starting
    from edgellm.cli.launching.place import place_for
    from edgellm.cli.launching.wiring import wired
    from edgellm.errors import ConfigError

    if not shutil.which(app.program):
        raise ConfigError(f"{app.title} ({app.program}) is not on your PATH", hint=app.install)
    config = options.config_from(offline=offline)
    with (
        place_for(app, model, host, ctx, config) as (place, served),
        tempfile.TemporaryDirectory(prefix="edgellm-") as folder,
    ):
        _warn(app, place, served)
        code = starting.run(wired(app, place, arguments, folder), place.host)
    raise typer.Exit(code)


def _print(app: "App", arguments: list[str], model: str | None, host: str | None) -> None:
    import platformdirs

    from edgellm.cli.launching.place import place_here
    from edgellm.cli.launching.wiring import as_shell, wired
    from edgellm.errors import NotServing

    found = place_here(app, model, host)
    if found is None:
        hint = f"edgellm serve {model} --use {app.use}"
        raise NotServing(f"no server here has {model}: there is no address to print", hint=hint)
    place, served = found
    _warn(app, place, served)
    folder = f"{platformdirs.user_config_dir('edgellm')}/launch"
    print(as_shell(wired(app, place, arguments, folder), asks_for_key=place.key is not None))


def _warn(app: "App", place: "Place", served: "ModelStatus") -> None:
    from edgellm.cli.launching.fitness import shortcomings
    from edgellm.cli.output import say

    found = [*shortcomings(app, served, is_served=not place.is_private)]
    for one in found:
        say(one.text)
    for mend in dict.fromkeys(one.mend for one in found):
        say(f"  → {mend}")


def _show(apps: "tuple[App, ...]", *, as_json: bool) -> None:
    from edgellm.cli.output import print_json
    from edgellm.tables import table

    if as_json:
        print_json([_facts(app) for app in apps])
        return
    rows = [
        (
            app.name,
            app.title,
            "yes" if shutil.which(app.program) else DASH,
            app.dialect,
            str(app.needs_ctx),
            "yes" if app.needs_tools else DASH,
        )
        for app in apps
    ]
    print(table(_HEADINGS, rows, right="CONTEXT"))
    print("\nCONTEXT is what it needs of a model; TOOLS: it works by calling them")


def _facts(app: "App") -> dict[str, Any]:
    return {
        "name": app.name,
        "title": app.title,
        "program": app.program,
        "path": shutil.which(app.program),
        "dialect": app.dialect,
        "needs_ctx": app.needs_ctx,
        "needs_tools": app.needs_tools,
        "install": app.install,
    }
