"""A machine for the set-up scripts: the programs that it has, and a folder with its files."""

from pathlib import Path

from edgellm.probe.sources import NoAnswer, Output, SysrootSources, capture_name


class FakeSources(SysrootSources):
    """Programs by their command, name or module. Of those it was not given it has none."""

    def __init__(self, root: Path, system="Linux", programs=None, files=None):
        super().__init__(root)
        self.system = system
        self.programs = programs or {}
        self.asked = []
        for path, text in (files or {}).items():
            place = root / "files" / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def run(self, argv, timeout_s):
        assert timeout_s > 0
        self.asked.append(argv)
        keys = (argv, argv[0], capture_name(argv))
        said = next((self.programs[key] for key in keys if key in self.programs), None)
        if said is None:
            return NoAnswer("absent", "No such file or directory")
        return said if isinstance(said, Output) else Output(said)
