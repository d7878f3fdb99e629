"""Calls that stand one after another between the marks of a section: DeepSeek's, Kimi's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated


@dataclass(frozen=True, slots=True)
class Section:
    """Models leave out the outer marks, and a call's end mark, now and then."""

    begin: str
    end: str
    call: str
    end_call: str

    @property
    def starts(self) -> tuple[str, ...]:
        return (self.begin, self.call)

    def read(
        self, source: Source, start: str, read_call: Callable[[Source, Calls], Reading[None]],
        calls: Calls,
    ) -> Reading[None]:  # fmt: skip
        """`read_call` begins after a call's mark; it need not take the end mark."""
        yield from source.skip()
        if start == self.begin:
            yield from source.expect(self.call)
        while True:
            yield from read_call(source, calls)
            yield from source.skip()
            yield from source.accepts(self.end_call)
            yield from source.skip()
            source.mark()
            if not (yield from source.accepts(self.call)):
                break
        yield from source.accepts(self.end)
        source.mark()

    def rule(self, rules: Rules, each: Sequence[str], separator: str, parallel: bool) -> str:
        """`each`: the rules of whole calls, one a tool."""
        calls = repeated(rules, rules.either(each), separator, parallel)
        return rules.add(f"{rules.text(self.begin)} {calls} {rules.text(self.end)}")
