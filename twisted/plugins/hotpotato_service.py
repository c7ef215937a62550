"""The `hotpotato` command of twistd. A pointer only: Twisted reads it before there is a reactor."""

from twisted.application.service import ServiceMaker

hotpotato = ServiceMaker(
    "Hot Potato",
    "hotpotato.service",
    "between monitoring and the people on call",
    "hotpotato",
)
