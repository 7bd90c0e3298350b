"""The texts of the pages for people: none is missing, none is left over."""

import re

from app.config import ROOT
from app.detection.annotations import PageStatus
from app.exports import FORMATS
from app.jobs import State
from app.jobs.job_kinds import KINDS
from app.similarity.verified_pairs import Verdict
from app.web.rendering import load_texts

WEB = ROOT / "app" / "web"
# Sections and texts that the pages look up by a value of the result.
BY_VALUE = {
    "states": {*State},
    "kinds": {*KINDS},
    "formats": {*FORMATS},
    "verdicts": {*Verdict},
}
OUTCOMES = {("detection", status) for status in (*PageStatus, "waiting", "corrected")}
ORDERS = {("similarity", "score"), ("similarity", "probability")}


def test_every_value_of_a_result_has_a_text() -> None:
    for section, values in BY_VALUE.items():
        assert set(load_texts()[section]) == values


def test_every_text_is_used_and_every_used_text_exists() -> None:
    sources = "".join(path.read_text() for path in [*WEB.glob("templates/*.html"), *WEB.glob("*.py")])
    used = set(re.findall(r"texts\.(\w+)\.(\w+)", sources))
    used |= set(re.findall(r'texts\.(\w+)\["(\w+)"\]', sources)) | set(re.findall(r'\["(\w+)"\]\["(\w+)"\]', sources))
    used |= {("jobs", name) for name in re.findall(r'texts\["(\w+)"\]', sources)}  # in job_list.py
    texts = {(section, name) for section, names in load_texts().items() for name in names if section not in BY_VALUE}
    assert texts - used - OUTCOMES - ORDERS == set()
    assert {each for each in used if each[0] in load_texts() and each[0] not in BY_VALUE} - texts == set()
