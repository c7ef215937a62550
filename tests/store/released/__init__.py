"""For each schema that was released, the data of an installation in the middle of its work.

`NNNN.sql` is what a daemon of that schema left when it was killed: see `story`, and
tests/store/test_released.py, which takes every one of them up to the newest schema.

A new migration needs a new file. `HOTPOTATO_WRITE_RELEASED=1 pytest tests/store/test_released.py`
plays the story with the daemon as it is now, and writes it. Never change one that was released.
"""
