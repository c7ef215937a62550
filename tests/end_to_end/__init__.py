"""The whole: monitoring programs at one end, a phone at the other."""

import pytest

# What a story asserts is explained when it isn't so.
pytest.register_assert_rewrite("tests.end_to_end.story")
