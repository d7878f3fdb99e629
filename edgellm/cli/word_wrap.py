"""An answer that comes in pieces, broken between words where the terminal's lines end.

A word is held back until it is whole. A block of code keeps its lines as they are: who copies it
gets no breaks that are not in it. Pure.
"""

from collections.abc import Callable

from edgellm.tui.terminal import n_cells

_FENCE = "```"


class WordWrap:
    """`columns` is asked at each word: a terminal changes its size meanwhile."""

    def __init__(self, columns: Callable[[], int]) -> None:
        self._columns = columns
        self._n_written = 0  # cells of the line
        self._blanks, self._word, self._n_word = "", "", 0
        self._line_begin = ""  # as much of it as tells a fence
        self._in_code = False

    def feed(self, text: str) -> str:
        """What can be written so far."""
        return "".join(self._take(char) for char in text)

    def rest(self) -> str:
        """What was held back. What is fed next goes on behind it."""
        return self._placed()

    def _take(self, char: str) -> str:
        if char == "\n":
            return self._broken()
        if len(self._line_begin) < len(_FENCE):
            self._line_begin = (self._line_begin + char).lstrip()
        if char == " ":
            done = self._placed()
            self._blanks += char
            return done
        n_char = n_cells(char)
        done = self._placed() if n_char == 2 else ""  # Chinese has no blanks
        self._word += char
        self._n_word += n_char
        return done + (self._placed() if self._n_word >= self._columns() else "")

    def _placed(self) -> str:
        """The held word. Where the line has no room for it, a break takes the blanks' place."""
        if not self._word:
            return ""
        n_needed = self._n_written + len(self._blanks) + self._n_word
        if self._blanks and self._n_written and n_needed > self._columns() and not self._in_code:
            placed, self._n_written = f"\n{self._word}", 0
            self._advance(self._word)
        else:
            placed = self._blanks + self._word
            self._advance(placed)
        self._blanks, self._word, self._n_word = "", "", 0
        return placed

    def _advance(self, text: str) -> None:
        """As the terminal does, which breaks a line where it is full."""
        n_columns = self._columns()
        for char in text:
            n_char = n_cells(char)
            self._n_written = n_char + (
                self._n_written if self._n_written + n_char <= n_columns else 0
            )

    def _broken(self) -> str:
        done = self._placed()
        if self._line_begin == _FENCE:
            self._in_code = not self._in_code
        self._n_written, self._blanks, self._line_begin = 0, "", ""
        return f"{done}\n"
