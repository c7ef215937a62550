"""Hot Potato for `twistd -ny`; $HOTPOTATO_CONFIG names the configuration file."""

import os

from twisted.application.service import Application

from hotpotato.service import Options, makeService

options = Options()
config = os.environ.get("HOTPOTATO_CONFIG", "/etc/hotpotato/hotpotato.toml")
options.parseOptions(["--config", config])
application = Application("hotpotato")
makeService(options).setServiceParent(application)
