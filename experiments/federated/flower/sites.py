"""What Flower starts: ``client`` at each site, ``server`` where their weights are summed."""

from ehrsynth.study.federate.flower import client_app
from ehrsynth.study.federate.flower_server import server_app

client = client_app()
server = server_app()
