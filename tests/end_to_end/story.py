"""What happens at night, told through a monitoring program and seen on a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .monitoring import CRITICAL, DOWN, HOST, OK, SERVICE, UP, Monitoring, until

_PAGE_SECONDS = 15.0


class Pages:
    """The texts that arrive at a phone."""

    def __init__(self, texts: Callable[[], Sequence[str]]) -> None:
        """`texts` tells all that arrived so far, oldest first."""
        self._texts = texts

    async def wait_for(self, is_wanted: Callable[[str], bool]) -> str:
        """The first text that is wanted, once it has come; AssertionError if none does."""

        def wanted() -> list[str]:
            return [text for text in self._texts() if is_wanted(text)]

        try:
            await until(lambda: bool(wanted()), _PAGE_SECONDS, "the page")
        except AssertionError as error:
            raise AssertionError(f"{error}; there were {list(self._texts())}") from None
        return wanted()[0]


async def a_night_with_two_problems(program: Monitoring, pages: Pages) -> None:
    """A service fails and recovers, then its host: each of the four reaches the phone in words."""
    program.service(CRITICAL, """CRITICAL - "12" isn't < 10""")
    await pages.wait_for(_says("CRITICAL", SERVICE, """CRITICAL - "12" isn't < 10"""))
    program.service(OK, "OK - 3 < 10")
    await pages.wait_for(_says("OK", SERVICE, "OK - 3 < 10"))
    program.host(DOWN, "no answer to 5 pings")
    await pages.wait_for(_says("DOWN", "no answer to 5 pings"))
    program.host(UP, "answers again")
    await pages.wait_for(_says("UP", "answers again"))


def _says(state: str, *words: str) -> Callable[[str], bool]:
    return lambda text: text.startswith(f"{state} {HOST}") and all(word in text for word in words)
