"""`python -m hotpotato.commands`."""

from hotpotato.commands import main

main()
