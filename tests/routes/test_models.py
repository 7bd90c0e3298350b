import os
import time

from flask import Flask
from flask.testing import FlaskClient


def test_models_are_listed_with_the_time_of_their_change(app: Flask, client: FlaskClient) -> None:
    folder = app.extensions["models"].folder
    (folder / "best_eida.pt").touch()
    (folder / "illustrations.md").touch()
    os.utime(folder / "best_eida.pt", (1712065196, 1712065196))
    answer = client.get("/models")
    assert answer.status_code == 200
    assert answer.json["best_eida.pt"] == time.ctime(1712065196)
    assert answer.json.keys() == {"best_eida.pt", "illustrations.pt"}
